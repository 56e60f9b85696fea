// One subscriber: its filters, its stream, and what came through.

import { subscribe } from "./client/index.js";
import { filterParameters, streamAddress } from "./page-api.js";
import { tokenOf, usesTicket } from "./page-credential.js";
import { duration, enable, isEnabled, setText } from "./page-dom.js";
import { grantText, secondsLeft } from "./page-grant.js";
import { endText, EventRows } from "./page-rows.js";

// Not an animation frame: browsers stop those in tabs behind, where somebody may be counting.
const FLUSH_MS = 60;
const SLOW_CONNECT_MS = 4000;
const NO_COUNTS = { events: 0, gaps: 0, reconnects: 0 };

export class Pane {
  #parts = {};
  #channel = null;
  #stream = null;
  #rows;
  #counts = NO_COUNTS;
  #everOpen = false;
  #heartbeatAt = null;
  #since = Date.now();
  #flush = null;

  constructor(template, label, onClose) {
    this.label = label;
    this.element = template.content.firstElementChild.cloneNode(true);
    const part = (name) => this.element.querySelector(`[data-testid="pane-${name}"], [data-part="${name}"]`);
    for (const name of ["name", "state", "connect", "disconnect", "close", "filters", "user", "topics", "types", "from",
      "count", "reconnects", "gaps", "heartbeat", "pulse", "until", "cursor", "detail", "events", "empty"]) this.#parts[name] = part(name);
    const { name, connect, disconnect, close, filters, events } = this.#parts;
    setText(name, label);
    this.element.setAttribute("aria-label", label);
    events.setAttribute("aria-label", `Events of ${label}, newest first`);
    close.setAttribute("aria-label", `Remove ${label}`);
    close.title = `Remove ${label}`;
    this.#rows = new EventRows(events);
    connect.addEventListener("click", () => isEnabled(connect) && this.#connect());
    disconnect.addEventListener("click", () => isEnabled(disconnect) && this.#stream?.pause());
    close.addEventListener("click", () => {
      this.end();
      onClose(this);
    });
    // A cursor says where in the channel we are, not what we have seen of it: another filter is another subscription.
    filters.addEventListener("change", () => this.#begin(this.#state !== "closed"));
    filters.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#begin(true);
    });
    this.#show();
  }

  use(channel) {
    this.#channel = channel;
    this.#begin(true);
  }

  // The channel has another token. The same client goes on where it is; another one must not see what this one saw.
  useToken(isSameClient) {
    if (!isSameClient) this.#begin(this.#state !== "closed" || this.#refused);
    else if (this.#refused) this.#stream.resume();
    else this.#stream?.renew();
  }

  // Streams carry their credential in another way.
  reconnect() {
    if (this.#state === "closed" && !this.#refused) return;
    const { cursor } = this.#stream;
    this.#stream.close();
    this.#stream = this.#newStream(cursor);
    this.#show();
  }

  end() {
    clearTimeout(this.#flush);
    this.#stream?.close();
    this.element.remove();
  }

  focus() {
    this.#parts.user.focus();
  }

  #begin(connect) {
    const stream = this.#stream;
    this.#stream = null;
    stream?.close();
    this.#rows.clear();
    this.#counts = { ...NO_COUNTS };
    this.#everOpen = false;
    this.#heartbeatAt = null;
    if (connect) this.#connect();
    this.#show();
  }

  get #state() {
    const state = this.#stream?.state ?? "closed";
    return state === "paused" ? "closed" : state;
  }

  // Whether the broker refused the credential, or asked for one.
  get #refused() {
    return this.#stream?.state === "closed" && [401, 403].includes(this.#stream.reason?.status);
  }

  #newStream(cursor = "") {
    const { user, topics, types, from } = this.#parts;
    const channel = this.#channel;
    const parameters = filterParameters({ user: user.value, topics: topics.value, types: types.value });
    if (from.value.trim()) parameters.set("from", from.value.trim());
    parameters.set("heartbeat", "event");
    // A stream that was replaced may still have a word to say, which is nobody's business any more.
    const current = (then) => (value, stream) => stream === this.#stream && then(value);
    return subscribe(streamAddress(channel, parameters), {
      cursor,
      token: () => tokenOf(channel),
      ticket: usesTicket(channel),
      onState: current(() => this.#stateChanged()),
      onGrant: current(() => this.#show()),
      onEvent: current((event) => this.#event(event)),
      onGap: current(() => { this.#counts.gaps += 1; }),
      onControl: current((event) => this.#control(event)),
    });
  }

  #connect() {
    if (this.#stream !== null) this.#stream.resume();
    else if (this.#channel) this.#stream = this.#newStream();
  }

  #stateChanged() {
    const { state } = this.#stream;
    this.#since = Date.now();
    if (state === "open") {
      if (this.#everOpen) this.#counts.reconnects += 1;
      this.#everOpen = true;
    } else this.#heartbeatAt = null;
    this.#show();
  }

  #event(event) {
    this.#counts.events += 1;
    this.#add(event);
  }

  #control(event) {
    if (event.type === "eventcast.heartbeat") {
      this.#heartbeatAt = Date.now();
      this.#beat();
      this.#flushSoon();
    } else this.#add(event);
  }

  #add(event) {
    this.#rows.add(event);
    this.#flushSoon();
  }

  #flushSoon() {
    this.#flush ??= setTimeout(() => {
      this.#flush = null;
      this.#rows.flush();
      this.#show();
    }, FLUSH_MS);
  }

  #beat() {
    const { pulse } = this.#parts;
    pulse.classList.remove("beat");
    // Without a layout in between the browser sees no change, and the animation does not start again.
    void pulse.offsetWidth;
    pulse.classList.add("beat");
  }

  // Once a second, for what changes by time alone.
  tick() {
    const { heartbeat, until, detail } = this.#parts;
    setText(heartbeat, this.#heartbeatAt === null ? "–" : `${duration(Math.max(0, (Date.now() - this.#heartbeatAt) / 1000))} ago`);
    const left = this.#state === "open" ? secondsLeft(this.#stream.grant) : null;
    until.parentElement.hidden = left === null;
    setText(until, left === null ? "–" : `in ${duration(left)}`);
    const text = this.#detail();
    detail.hidden = text === "";
    setText(detail, text);
  }

  #detail() {
    const state = this.#state;
    if (state === "connecting" && Date.now() - this.#since > SLOW_CONNECT_MS) {
      return "Still no answer. A browser opens at most 6 connections to one origin over HTTP/1.1; other tabs may hold them.";
    }
    if (state === "reconnecting") {
      const { retryAt } = this.#stream;
      const seconds = retryAt === null ? 0 : Math.ceil((retryAt - Date.now()) / 1000);
      return `${this.#reason()}. ${seconds > 0 ? `Next attempt in ${duration(seconds)}.` : "Trying again."}`;
    }
    if (state === "open") return grantText(this.#stream.grant);
    return state === "closed" ? this.#reason() : "";
  }

  #reason() {
    const { reason = null } = this.#stream ?? {};
    if (reason === null) return "";
    return capital(reason.closing === null ? reason.message : `the broker closed the stream: ${endText(reason.closing)}`);
  }

  #show() {
    const { state, connect, disconnect, count, reconnects, gaps, cursor, empty, events } = this.#parts;
    const now = this.#state;
    this.element.dataset.state = now;
    setText(state, now);
    enable(connect, now === "closed" || now === "reconnecting");
    enable(disconnect, now !== "closed");
    setText(count, this.#counts.events);
    setText(reconnects, this.#counts.reconnects);
    setText(gaps, this.#counts.gaps);
    gaps.classList.toggle("warn", this.#counts.gaps > 0);
    setText(cursor, this.#stream?.cursor || "–");
    events.hidden = this.#rows.isEmpty;
    // What the broker tells of itself does not fill the pane: the hint stays below until an event comes.
    empty.hidden = this.#counts.events > 0;
    setText(empty, EMPTY[now]);
    this.tick();
  }
}

const EMPTY = {
  connecting: "Waiting for the broker…",
  open: "Listening. Send an event or start the demo traffic.",
  reconnecting: "Waiting for the broker…",
  closed: "Not connected.",
};

const capital = (text) => text.slice(0, 1).toUpperCase() + text.slice(1);
