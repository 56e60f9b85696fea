// The list of what a subscriber was sent, newest first, bounded.

import { clock, dataView, duration, el, number, plural, typeChip } from "./page-dom.js";

const MOST_ROWS = 200;

export class EventRows {
  #list;
  #waiting = [];
  // The newest row where it tells a mere move of the cursor: the next such move takes its place.
  #cursorRow = null;

  constructor(list) {
    this.#list = list;
  }

  get isEmpty() {
    return this.#list.childElementCount === 0;
  }

  clear() {
    this.#waiting = [];
    this.#cursorRow = null;
    this.#list.replaceChildren();
  }

  add(event) {
    this.#waiting.push({ ...event, time: new Date() });
    if (this.#waiting.length > MOST_ROWS) this.#waiting.shift();
  }

  flush() {
    const fresh = document.createDocumentFragment();
    for (const event of this.#waiting) {
      const moved = event.type === "eventcast.cursor";
      if (moved) this.#cursorRow?.remove();
      const row = event.type.startsWith("eventcast.") ? controlRow(event) : eventRow(event);
      fresh.prepend(row);
      this.#cursorRow = moved ? row : null;
    }
    this.#waiting = [];
    this.#list.prepend(fresh);
    while (this.#list.childElementCount > MOST_ROWS) this.#list.lastElementChild.remove();
  }
}

const head = (event, what) => el("div", { class: "row-head" },
  el("time", { datetime: event.time.toISOString(), title: "when this page received it" }, clock(event.time)),
  what,
  el("code", { class: "cursor", title: event.cursor }, event.cursor));

function eventRow(event) {
  return el("li", { class: "row", "data-testid": "event-row", "data-type": event.type, "data-cursor": event.cursor },
    head(event, typeChip(event.type)), dataView(event.data));
}

function controlRow(event) {
  const { name, text, tone } = explain(event);
  return el("li", { class: `row control ${tone}`, "data-testid": "control-row", "data-type": event.type, "data-cursor": event.cursor },
    head(event, el("span", { class: "type", title: event.type }, name)), el("p", {}, text));
}

const GAPS = {
  expired: "retention moved on",
  "new-incarnation": "the log was recreated or lost its newest events",
  "invalid-cursor": "the cursor is not one of this channel",
  "invalid-event": "an event published straight to NATS broke the rules",
};

const ENDS = {
  draining: "the broker shuts down",
  "max-age": "the connection has lived long enough",
  overloaded: "a limit is reached",
  unavailable: "the log or the credential cannot be checked now",
  "channel-removed": "the channel was removed",
  expired: "the grant has ended",
  revoked: "the grant was revoked",
  "grant-changed": "the renewed grant does not cover this stream",
  quota: "this client has too many streams",
  rebalance: "the broker has more streams than others",
  moving: "the channel moves to other brokers",
  disconnected: "an administrator has closed the stream",
};

export const endText = (reason) => ENDS[reason] ?? String(reason);

export function gapText({ lost, reason }) {
  const count = Number.isFinite(lost)
    ? `${plural(lost, "event")} of the channel ${lost === 1 ? "is" : "are"} not to be had`
    : "Events are not to be had, nobody knows how many";
  return `${count}: ${GAPS[reason] ?? reason}.`;
}

function explain({ type, data }) {
  let body;
  try {
    body = JSON.parse(data) ?? {};
  } catch {
    return { name: type, text: data, tone: "" };
  }
  if (type === "eventcast.gap") return { name: "gap", text: gapText(body), tone: "warn" };
  if (type === "eventcast.closing") {
    const back = Number.isFinite(body.retry_ms) ? `, come back after ${number(body.retry_ms)} ms` : "";
    return { name: "closing", text: `The broker ends this stream: ${endText(body.reason)}${back}.`, tone: "notable" };
  }
  if (type === "eventcast.expiring") {
    return { name: "expiring", text: `The grant of this stream ends in ${duration(Math.round(body.in_ms / 1000))}.`, tone: "notable" };
  }
  if (type === "eventcast.cursor") return { name: "cursor", text: "The stream is complete up to here.", tone: "" };
  return { name: type, text: data, tone: "" };
}
