// One subscriber: its filters, its stream, and what came through.

import { filterParameters, streamAddress } from "./page-api.js";
import { Carrier } from "./page-carrier.js";
import { duration, enable, isEnabled, setText } from "./page-dom.js";
import { Ending } from "./page-ending.js";
import { EventRows } from "./page-rows.js";
import { EventStream } from "./page-stream.js";

// Not an animation frame: browsers stop those in tabs behind, where somebody may be counting.
const FLUSH_MS = 60;
const SLOW_CONNECT_MS = 4000;

export class Pane {
  #parts = {};
  #channel = null;
  #stream = null;
  #ending = null;
  #rows;
  #counts = { events: 0, gaps: 0 };
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
    disconnect.addEventListener("click", () => isEnabled(disconnect) && this.#stream?.close());
    close.addEventListener("click", () => {
      this.end();
      onClose(this);
    });
    // A cursor says where in the channel we are, not what we have seen of it: another filter is another subscription.
    filters.addEventListener("change", () => this.#begin(this.#stream?.state !== "closed"));
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
    if (!isSameClient) this.#begin(this.#stream?.state !== "closed" || this.#stream.refused);
    else if (this.#stream?.refused) this.#connect();
    else this.#ending?.renew();
  }

  // Streams carry their credential in another way.
  reconnect() {
    if (this.#stream === null || (this.#stream.state === "closed" && !this.#stream.refused)) return;
    this.#stream.close();
    this.#connect();
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
    this.#stream?.close();
    this.#rows.clear();
    this.#counts = { events: 0, gaps: 0 };
    this.#heartbeatAt = null;
    this.#stream = null;
    this.#ending = null;
    if (this.#channel) this.#stream = this.#newStream();
    if (connect) this.#connect();
    this.#show();
  }

  #newStream() {
    const { user, topics, types, from } = this.#parts;
    const parameters = filterParameters({ user: user.value, topics: topics.value, types: types.value });
    if (from.value.trim()) parameters.set("from", from.value.trim());
    parameters.set("heartbeat", "event");
    const carrier = new Carrier(this.#channel);
    this.#ending = new Ending(carrier, () => stream === this.#stream && this.#show());
    const stream = new EventStream(streamAddress(this.#channel, parameters), carrier, {
      // A stream that was replaced may still have a word to say, which is nobody's business any more.
      state: () => stream === this.#stream && this.#stateChanged(),
      event: (event) => stream === this.#stream && this.#event(event),
    });
    return stream;
  }

  #connect() {
    this.#stream?.open();
  }

  #stateChanged() {
    this.#since = Date.now();
    this.#ending.reset();
    if (this.#stream.state !== "open") this.#heartbeatAt = null;
    this.#show();
  }

  #event(event) {
    if (event.type === "eventcast.heartbeat") {
      this.#heartbeatAt = Date.now();
      this.#beat();
    } else {
      if (event.type === "eventcast.expiring") this.#ending.noticed(event.data);
      if (event.type === "eventcast.gap") this.#counts.gaps += 1;
      if (!event.type.startsWith("eventcast.")) this.#counts.events += 1;
      this.#rows.add(event);
    }
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
    const left = this.#stream?.state === "open" ? this.#ending.seconds() : null;
    until.parentElement.hidden = left === null;
    setText(until, left === null ? "–" : `in ${duration(left)}`);
    const text = this.#detail();
    detail.hidden = text === "";
    setText(detail, text);
  }

  #detail() {
    const stream = this.#stream;
    if (!stream) return "";
    if (stream.state === "connecting" && Date.now() - this.#since > SLOW_CONNECT_MS) {
      return "Still no answer. A browser opens at most 6 connections to one origin over HTTP/1.1; other tabs may hold them.";
    }
    if (stream.state === "reconnecting") {
      const seconds = stream.retryAt === null ? 0 : Math.ceil((stream.retryAt - Date.now()) / 1000);
      return `${capital(stream.reason)}. ${seconds > 0 ? `Next attempt in ${duration(seconds)}.` : "Trying again."}`;
    }
    return stream.state === "closed" ? capital(stream.reason) : this.#ending.text();
  }

  #show() {
    const { state, connect, disconnect, count, reconnects, gaps, cursor, empty, events } = this.#parts;
    const now = this.#stream?.state ?? "closed";
    this.element.dataset.state = now;
    setText(state, now);
    enable(connect, now === "closed" || now === "reconnecting");
    enable(disconnect, now !== "closed");
    setText(count, this.#counts.events);
    setText(reconnects, this.#stream?.reconnects ?? 0);
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
