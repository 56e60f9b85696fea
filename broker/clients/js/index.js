// subscribe(): a channel as an async iterator, or by callbacks. README.md has the options.

import { Credential, hash, rightsOf, subjectOf } from "./credential.js";
import { Delivery } from "./delivery.js";
import { StreamProblem } from "./problem.js";
import { cursorStore } from "./remember.js";
import { canShare, SharedStream } from "./share.js";
import { Stream } from "./stream.js";

export { SseParser } from "./parser.js";
export { StreamProblem } from "./problem.js";

const DEFAULTS = {
  topics: [], types: [], from: "", cursor: "",
  token: null, ticket: false, cookie: false, subject: null,
  remember: false, share: false, transport: "fetch", signal: null,
  // Three heartbeats of the broker missed.
  silence: 50000,
  queue: 256,
  maxEventLength: 16 * 1024 * 1024,
  fetch: (...request) => globalThis.fetch(...request),
  onEvent: null, onGap: null, onState: null, onCursor: null, onControl: null, onGrant: null,
};
const FIRST_DELAY_MS = 1000;
const LONGEST_DELAY_MS = 30000;

export function subscribe(url, options = {}) {
  return new Subscription(url, options);
}

class Subscription {
  /** "connecting", "open", "reconnecting", "paused" or "closed" */
  state = "connecting";
  reason = null;
  retryAt = null;
  reconnects = 0;
  /** Of the newest event that the application has dealt with: where another subscription would continue. */
  cursor;

  #options;
  #address;
  #credential;
  #store = null;
  #stream = null;
  #delivery;
  // Events go to callbacks, not to an iterator.
  #called;
  #rights = "";
  #everOpen = false;
  #closed = false;
  #told = null;
  // Of the newest block that waits for the application: where the next stream continues.
  #position = null;
  #run = 0;
  #check = () => this.#stream?.check();
  #abort = () => this.close();

  constructor(url, options) {
    this.#options = checked(options);
    const { topics, types, from, cursor, signal, onEvent, onGap, queue } = this.#options;
    const address = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href);
    for (const topic of topics) address.searchParams.append("topic", topic);
    for (const type of types) address.searchParams.append("type", type);
    if (from) address.searchParams.set("from", from);
    this.#address = address;
    this.cursor = cursor;
    this.#credential = new Credential(address.origin + address.pathname.replace(/\/events$/, ""), {
      ...this.#options, token: this.#options.token === null ? null : (why) => this.#token(why),
    });
    this.#delivery = new Delivery(queue, {
      moved: (moved) => this.#moved(moved),
      control: (block) => this.#call("onControl", block),
      returned: () => this.close(),
    });
    globalThis.document?.addEventListener("visibilitychange", this.#check);
    globalThis.addEventListener?.("online", this.#check);
    signal?.addEventListener("abort", this.#abort, { once: true });
    this.#called = Boolean(onEvent || onGap);
    if (this.#called) this.#deliver(this.#delivery[Symbol.asyncIterator]());
    // Whoever called subscribe() has the subscription before the first callback.
    queueMicrotask(() => {
      if (signal?.aborted) this.close();
      else if (!this.#closed) this.#start();
    });
  }

  get grant() {
    return this.#stream?.grant ?? { endsAt: null, ending: false, renewing: false, problem: null };
  }

  [Symbol.asyncIterator]() {
    return this.#delivery[Symbol.asyncIterator]();
  }

  /** Ends the connection and keeps the place. */
  pause() {
    if (this.state === "closed" || this.state === "paused") return;
    this.#stop();
    this.#set("paused");
  }

  /** Connects again, also where the stream was refused, or waits for the next attempt. */
  resume() {
    if (this.#closed || this.state === "open" || this.state === "connecting") return;
    if (this.state === "reconnecting" && this.#stream !== null) this.#stream.open();
    else this.#start();
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    this.#stop();
    this.#delivery.end(null, true);
    globalThis.document?.removeEventListener("visibilitychange", this.#check);
    globalThis.removeEventListener?.("online", this.#check);
    this.#options.signal?.removeEventListener("abort", this.#abort);
    this.#set("closed");
  }

  /** Renews a grant that ends soon, now that there is a fresh token. Gives whether the stream goes on. */
  async renew() {
    return (await this.#stream?.renew()) ?? false;
  }

  #stop() {
    this.#run += 1;
    const stream = this.#stream;
    this.#stream = null;
    if (stream === null) return;
    this.#position = stream.cursor;
    stream.close();
  }

  async #start() {
    const run = (this.#run += 1);
    this.#set("connecting");
    if (!(await this.#identify(run))) return;
    const { share, from } = this.#options;
    const cursor = this.#position ?? this.cursor;
    const handlers = {
      state: () => run === this.#run && this.#streamState(),
      grant: () => run === this.#run && this.#call("onGrant", this.grant),
      control: (block) => run === this.#run && this.#call("onControl", block),
      blocks: (blocks) => (run === this.#run ? this.#delivery.push(blocks) : undefined),
    };
    this.#stream = share && canShare()
      ? new SharedStream({ name: this.#name(), cursor, from, newStream: (...now) => this.#newStream(...now) }, handlers)
      : this.#newStream(cursor, handlers);
    this.#stream.open();
  }

  #newStream(cursor, handlers) {
    const { transport, silence, maxEventLength, types, fetch } = this.#options;
    return new Stream({ address: this.#address, cursor, credential: this.#credential, transport, silence, maxEventLength, types, fetch }, handlers);
  }

  // Whose stream it is, for the names under which it is remembered and shared.
  async #identify(run) {
    const { remember, share, subject, token } = this.#options;
    if (!remember && !share) return true;
    let key = subject === null ? "" : hash(subject);
    this.#rights = key;
    for (let delay = FIRST_DELAY_MS; subject === null && token !== null; delay = Math.min(2 * delay, LONGEST_DELAY_MS)) {
      try {
        const early = await this.#credential.earlyToken();
        [key, this.#rights] = [subjectOf(early), rightsOf(early)];
        break;
      } catch (problem) {
        if (run !== this.#run) return false;
        const wait = delay * (1 + Math.random() * 0.25);
        this.#set("reconnecting", problem, Date.now() + wait);
        await new Promise((resolve) => { setTimeout(resolve, wait); });
        if (run !== this.#run) return false;
      }
    }
    if (run !== this.#run) return false;
    if (remember && this.#store === null) {
      this.#store = cursorStore(remember, `${this.#place()} ${key}`);
      this.cursor ||= this.#store.read();
    }
    return true;
  }

  // What is read, without where it begins.
  #place() {
    const address = new URL(this.#address);
    address.searchParams.delete("from");
    return hash(address.href);
  }

  #name() {
    return `${this.#place()} ${this.#rights}`;
  }

  async #token(why) {
    const { token, share, subject } = this.#options;
    const given = (typeof token === "function" ? await token(why) : token) || "";
    if (share && subject === null && this.#stream !== null && rightsOf(given) !== this.#rights) {
      // Tabs with other rights must not get what this one reads from now on.
      queueMicrotask(() => {
        if (this.#stream === null) return;
        this.#stop();
        this.#start();
      });
      throw new Error("it is of another client than those of the tabs that share this stream");
    }
    return given;
  }

  #streamState() {
    const { state, reason, retryAt } = this.#stream;
    if (state === "open") {
      if (this.#everOpen && this.state !== "open") this.reconnects += 1;
      this.#everOpen = true;
    }
    if (state === "closed") {
      this.#stop();
      // Callbacks may get more after resume(); a loop is over.
      if (!this.#called) this.#delivery.end(reason?.status === 204 ? null : reason);
    }
    this.#set(state, reason, retryAt);
  }

  #set(state, reason = null, retryAt = null) {
    if (state === this.#told && reason === this.reason && retryAt === this.retryAt) return;
    this.#told = state;
    Object.assign(this, { state, reason, retryAt });
    this.#call("onState", { state, reason, retryAt });
  }

  #moved(cursor) {
    if (cursor === this.cursor) return;
    this.cursor = cursor;
    this.#store?.write(cursor);
    this.#call("onCursor", cursor);
  }

  async #deliver(events) {
    for (let next = await events.next(); !next.done; next = await events.next()) {
      await this.#call(next.value.gap === null ? "onEvent" : "onGap", next.value);
    }
  }

  // An error of the application is told as that of any listener is, and ends nothing.
  #call(name, value) {
    const report = (error) => (globalThis.reportError ?? ((thrown) => queueMicrotask(() => { throw thrown; })))(error);
    try {
      return Promise.resolve(this.#options[name]?.(value, this)).catch(report);
    } catch (error) {
      report(error);
      return undefined;
    }
  }
}

function checked(options) {
  for (const name of Object.keys(options)) {
    if (!(name in DEFAULTS)) throw new TypeError(`subscribe() has no option ${name}`);
  }
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const all = { ...DEFAULTS, ...given };
  const { token, ticket, cookie, subject, share, remember, transport } = all;
  if (!["fetch", "eventsource"].includes(transport)) throw new TypeError("transport is \"fetch\" or \"eventsource\"");
  // A token cannot be in the URL, and EventSource has no headers.
  if (transport === "eventsource" && token !== null && !ticket) all.ticket = true;
  if (ticket === true && token === null) throw new TypeError("a ticket is taken with a token, or given by ticket()");
  if ((share || remember) && subject === null && (cookie || typeof ticket === "function")) {
    throw new TypeError("share and remember need to know whose stream it is: name the user in subject");
  }
  if (transport === "eventsource" && typeof EventSource !== "function") throw new TypeError("there is no EventSource here");
  if (share && transport === "eventsource") throw new TypeError("streams of EventSource are not shared");
  return all;
}
