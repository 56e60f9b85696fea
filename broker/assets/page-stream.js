// A subscription that comes back by itself: what EventSource does, and in addition every type, what goes on in between,
// and a watch over silence.

import { Problem, readProblem } from "./page-api.js";
import { endText } from "./page-rows.js";
import { SseParser } from "./page-sse.js";

const FIRST_RETRY_MS = 3000;
const LONGEST_BACKOFF_MS = 30000;
// The longest delay a browser's timer takes; beyond, it fires at once.
const LONGEST_TIMER_MS = 2 ** 31 - 1;
// Three heartbeats missed.
const SILENCE_MS = 50000;

class Lost extends Error {
  constructor(reason, { final = false, refused = false, retryAfterMs = null } = {}) {
    super(reason);
    this.final = final;
    this.refused = refused;
    this.retryAfterMs = retryAfterMs;
  }

  static by(problem) {
    const { status, title, detail, retry_after: seconds } = problem;
    return new Lost([status ? `${status} ${title}` : title, detail].filter(Boolean).join(": "), {
      // What was judged does not change by asking again. 429 asks to come later.
      final: status >= 400 && status < 500 && status !== 429,
      refused: status === 401 || status === 403,
      retryAfterMs: seconds > 0 ? seconds * 1000 : null,
    });
  }
}

export class EventStream {
  state = "closed";
  cursor = "";
  reconnects = 0;
  // Why the state is what it is, where there is something to say.
  reason = "";
  // When the next attempt comes, while waiting for it.
  retryAt = null;
  // Whether the broker refused the credential, or asked for one.
  refused = false;

  #address;
  #carrier;
  #handlers;
  #run = null;
  #retryMs = FIRST_RETRY_MS;
  #failures = 0;
  #everOpen = false;

  // address: absolute, without a cursor. carrier: puts the credential into requests. handlers: state(stream), event({type, data, cursor})
  constructor(address, carrier, handlers) {
    this.#address = address;
    this.#carrier = carrier;
    this.#handlers = handlers;
  }

  // Also ends a wait for the next attempt.
  open() {
    if (this.state === "open" || this.state === "connecting") return;
    this.#run?.abort();
    this.#failures = 0;
    this.refused = false;
    this.#run = new AbortController();
    this.#set("connecting");
    this.#keepOpen(this.#run.signal);
  }

  close(reason = "") {
    this.#run?.abort();
    this.#run = null;
    this.#set("closed", reason);
  }

  #set(state, reason = "", retryAt = null) {
    Object.assign(this, { state, reason, retryAt });
    this.#handlers.state(this);
  }

  async #keepOpen(signal) {
    while (!signal.aborted) {
      let lost;
      try {
        await this.#connection(signal);
        lost = new Lost("the stream ended");
      } catch (error) {
        if (error instanceof Lost) lost = error;
        else lost = error instanceof Problem ? Lost.by(error) : new Lost("the connection was lost");
      }
      if (signal.aborted) return;
      this.refused = lost.refused;
      if (lost.final) return this.close(lost.message);
      const delay = this.#delay(lost);
      this.#set("reconnecting", lost.message, Date.now() + delay);
      await sleep(delay, signal);
      if (!signal.aborted) this.#set("reconnecting", lost.message);
    }
    return undefined;
  }

  #delay(lost) {
    const asked = lost.retryAfterMs ?? this.#retryMs;
    const backoff = this.#failures > 1 ? Math.min(LONGEST_BACKOFF_MS, asked * 2 ** (this.#failures - 1)) : asked;
    // Never earlier than asked for, and not in step with everybody else.
    return Math.min(LONGEST_TIMER_MS, Math.max(asked, backoff) * (1 + Math.random() * 0.25));
  }

  async #connection(signal) {
    const connection = new AbortController();
    const stop = () => connection.abort();
    signal.addEventListener("abort", stop);
    let silence = null;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(stop, SILENCE_MS);
    };
    this.#failures += 1;
    try {
      const response = await this.#request(connection.signal);
      if (this.#everOpen) this.reconnects += 1;
      this.#everOpen = true;
      this.#set("open");
      heard();
      await this.#read(response.body, heard);
    } catch (error) {
      if (silence !== null && connection.signal.aborted && !signal.aborted) throw new Lost(`nothing was heard for ${SILENCE_MS / 1000} s`);
      throw error;
    } finally {
      clearTimeout(silence);
      signal.removeEventListener("abort", stop);
      connection.abort();
    }
  }

  async #request(signal) {
    let response = await this.#get(signal);
    // Its ticket may have ended where its token has not. EventSource would stop here, and its page would take another ticket.
    if (response.status === 401 && this.#carrier.forgetTicket()) response = await this.#get(signal);
    if (response.status === 204) throw new Lost("the broker has no more for us (204)", { final: true });
    if (response.status !== 200) throw Lost.by(await readProblem(response));
    if (!/^text\/event-stream\s*(;|$)/i.test(response.headers.get("content-type") ?? "")) {
      throw new Lost("the answer is not an event stream", { final: true });
    }
    return response;
  }

  async #get(signal) {
    const address = new URL(this.#address);
    const headers = await this.#carrier.prepare(address);
    if (this.cursor) address.searchParams.set("lastEventId", this.cursor);
    // no-store: two panes with one filter have one address, and the browser's cache would let the second wait for the first.
    return fetch(address, { headers: { accept: "text/event-stream", ...headers }, cache: "no-store", signal });
  }

  async #read(body, heard) {
    let closing = null;
    const parser = new SseParser(this.cursor, {
      retry: (milliseconds) => { this.#retryMs = milliseconds; },
      cursor: (cursor) => { this.cursor = cursor; },
      event: (event) => {
        if (event.type === "eventcast.closing") closing = closingReason(event.data);
        else this.#failures = 0;
        this.#handlers.event(event);
      },
    });
    const decoder = new TextDecoder("utf-8");
    const reader = body.getReader();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        heard();
        parser.push(decoder.decode(value, { stream: true }));
      }
    } catch (error) {
      // A broker that said good-bye and then cut the connection did say good-bye.
      if (closing === null) throw error;
    }
    // The broker named the time to come back itself, so our own growing delays have no place on top.
    if (closing !== null) throw new Lost(`the broker closed the stream: ${closing}`, { retryAfterMs: this.#retryMs });
  }
}

function closingReason(data) {
  try {
    return endText(JSON.parse(data).reason);
  } catch {
    return "no reason given";
  }
}

function sleep(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    }, { once: true });
  });
}
