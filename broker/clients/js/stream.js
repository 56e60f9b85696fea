// A stream that comes back by itself, from where it was: what EventSource does, with any credential, every type, and a watch over silence.

import { connectEventSource } from "./event-source.js";
import { connectFetch } from "./fetch-stream.js";
import { parseJson } from "./parser.js";
import { StreamProblem } from "./problem.js";

const FIRST_RETRY_MS = 3000;
const LONGEST_BACKOFF_MS = 30000;
// The longest delay that a timer takes; beyond, it fires at once.
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export class Stream {
  /** "closed", "connecting", "open" or "reconnecting" */
  state = "closed";
  /** Why the state is what it is: a StreamProblem, or null. */
  reason = null;
  /** When the next attempt comes, while waiting for it. */
  retryAt = null;
  /** Of the newest block that was handed on. */
  cursor;
  /** Of the grant: {endsAt, ending, renewing, problem}. */
  grant = { endsAt: null, ending: false, renewing: false, problem: null };

  #settings;
  #handlers;
  #run = null;
  #wake = null;
  #abortSilent = null;
  #heardAt = 0;
  #retryMs = FIRST_RETRY_MS;
  #failures = 0;
  #notice = null;

  /**
   * settings: {address, cursor, credential, transport, silence, maxEventLength, types, fetch}.
   * handlers: state(); grant(); blocks(list), which may give a promise: reading goes on once it is settled; control(block), for
   * `eventcast.*` blocks that do not move the cursor.
   */
  constructor(settings, handlers) {
    this.#settings = settings;
    this.#handlers = handlers;
    this.cursor = settings.cursor;
  }

  /** Also ends a wait for the next attempt. */
  open() {
    if (this.state === "open" || this.state === "connecting") return;
    this.#run?.abort();
    this.#failures = 0;
    this.#run = new AbortController();
    this.#set("connecting");
    this.#keepOpen(this.#run.signal);
  }

  close(reason = null) {
    this.#run?.abort();
    this.#run = null;
    this.#set("closed", reason);
  }

  /** Does what timers should have done: those of a tab in the background, or of a machine that slept, are late. */
  check() {
    if (this.retryAt !== null && Date.now() >= this.retryAt) this.#wake?.();
    if (this.#abortSilent !== null && Date.now() - this.#heardAt > this.#settings.silence) this.#abortSilent();
  }

  #set(state, reason = null, retryAt = null) {
    Object.assign(this, { state, reason, retryAt });
    if (state !== "open") this.#setGrant(null);
    this.#handlers.state();
  }

  async #keepOpen(signal) {
    while (!signal.aborted) {
      let problem;
      try {
        await this.#connection(signal);
        problem = new StreamProblem("the stream ended");
      } catch (error) {
        problem = error instanceof StreamProblem ? error : new StreamProblem("the connection was lost", { cause: error });
      }
      if (signal.aborted) return;
      if (problem.final) return this.close(problem);
      const delay = this.#delay(problem);
      this.#set("reconnecting", problem, Date.now() + delay);
      await this.#sleep(delay, signal);
      if (!signal.aborted) this.#set("reconnecting", problem);
    }
    return undefined;
  }

  #delay({ retryAfter, closing }) {
    // A broker that closes a stream names the time to come back itself: growing delays have no place on top.
    const asked = retryAfter ?? this.#retryMs;
    const backoff = closing === null && this.#failures > 1 ? Math.min(LONGEST_BACKOFF_MS, asked * 2 ** (this.#failures - 1)) : asked;
    // Never earlier than asked for, and not in step with everybody else.
    return Math.min(LONGEST_TIMER_MS, Math.max(asked, backoff) * (1 + Math.random() * 0.25));
  }

  #sleep(milliseconds, signal) {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        this.#wake = null;
        resolve();
      };
      const timer = setTimeout(done, milliseconds);
      signal.addEventListener("abort", done);
      this.#wake = done;
    });
  }

  async #connection(signal) {
    const { silence, transport } = this.#settings;
    const connection = new AbortController();
    const stop = () => connection.abort();
    signal.addEventListener("abort", stop);
    let timer = null;
    let silent = false;
    let closing = null;
    this.#failures += 1;
    const watch = {
      opened: () => {
        if (signal.aborted) return;
        this.#set("open");
        this.#setGrant(null);
        watch.heard();
      },
      heard: () => {
        this.#heardAt = Date.now();
        clearTimeout(timer);
        timer = setTimeout(() => this.#abortSilent?.(), silence);
        this.#abortSilent = () => {
          silent = true;
          connection.abort();
        };
      },
      // While nobody reads, nothing can be heard.
      paused: () => {
        clearTimeout(timer);
        this.#abortSilent = null;
      },
      retry: (milliseconds) => { this.#retryMs = milliseconds; },
      blocks: (list) => {
        if (signal.aborted) return undefined;
        closing ??= closingOf(list);
        return this.#received(list);
      },
    };
    try {
      const connect = transport === "eventsource" ? connectEventSource : connectFetch;
      await connect({ ...this.#settings, cursor: this.cursor, signal: connection.signal }, watch);
    } catch (error) {
      if (silent) throw new StreamProblem(`nothing was heard for ${silence / 1000} s`);
      // A broker that said good-bye and then cut the connection did say good-bye.
      if (closing === null) throw error;
    } finally {
      clearTimeout(timer);
      this.#abortSilent = null;
      signal.removeEventListener("abort", stop);
      connection.abort();
    }
    if (closing !== null) throw new StreamProblem(`the broker closed the stream: ${closing}`, { closing });
  }

  #received(list) {
    const moves = [];
    for (const block of list) {
      if (block.type === "eventcast.expiring") this.#expiring(block.data);
      if (block.type !== "eventcast.closing" && block.data !== null) this.#failures = 0;
      const control = block.type.startsWith("eventcast.");
      if (block.data === null || control) {
        if (block.data !== null && (block.cursor === this.cursor || !block.cursor)) this.#handlers.control(block);
        else if (block.cursor !== this.cursor) moves.push(block);
      } else moves.push(block);
      this.cursor = block.cursor;
    }
    return moves.length > 0 ? this.#handlers.blocks(moves) : undefined;
  }

  #expiring(data) {
    this.#notice = parseJson(data);
    if (this.#notice === null) return;
    this.#settings.credential.endsAt = Date.now() + this.#notice.in_ms;
    this.#setGrant({ ending: true });
    this.renew();
  }

  /** Renews a grant that ends soon, with a token that was not used for it yet. Gives whether the stream goes on. */
  async renew() {
    const notice = this.#notice;
    if (notice === null || this.grant.renewing) return false;
    this.#setGrant({ renewing: true, problem: null });
    let [extended, problem] = [false, null];
    try {
      extended = await this.#settings.credential.renew(notice);
    } catch (error) {
      problem = error;
    }
    if (this.#notice !== notice) return false;
    if (extended) this.#notice = null;
    this.#setGrant({ ending: !extended, renewing: false, problem });
    return extended;
  }

  #setGrant(change) {
    if (change === null) this.#notice = null;
    const kept = change === null ? { ending: false, renewing: false, problem: null } : { ...this.grant, ...change };
    this.grant = { ...kept, endsAt: this.#settings.credential.endsAt };
    this.#handlers.grant();
  }
}

function closingOf(list) {
  const block = list.find(({ type }) => type === "eventcast.closing");
  return block ? String(parseJson(block.data)?.reason ?? "no reason given") : null;
}
