// One stream for all tabs of an origin that ask for the same: the tab that holds a lock (the leader) reads it and tells the others.
//
// Every message names the cursor that it continues from. A tab takes what continues its own cursor, ignores what it has, and asks the
// leader for what lies between; what the leader no longer has it reads with a stream of its own, until it meets the leader's. So it
// does not matter who leads, who was told what, or that a frozen tab wakes up: each tab gets each event once.
//
// Cursors also move where no event passes the filter, and then two streams meet at no cursor. They have met when both have passed the
// same event, and none since: either position is as good as the other. docs/adr/0027-one-stream-for-all-tabs.md has the reasons.

import { StreamProblem } from "./problem.js";

// A leader that nothing was heard of for so long is asked for a sign of life, and replaced if it gives none in the same time again.
const LEADER_TIMEOUT_MS = 4000;
const CHECK_MS = 1000;
// A leader whose application takes no events for so long lets another tab lead.
const STALL_MS = 2000;
// What each tab keeps for those that missed something, in case that it leads, and how many cursors it knows again.
const KEPT_BLOCKS = 1000;
const KEPT_LENGTH = 1 << 20;
// In place of the newest event, with the start position: no event passed since. No cursor has a space.
const NO_EVENT = "no event since";

export const canShare = () => typeof BroadcastChannel === "function" && globalThis.navigator?.locks !== undefined;

export class SharedStream {
  state = "closed";
  reason = null;
  retryAt = null;
  /** Of the newest block that was handed on. */
  cursor;

  #name;
  #joins;
  // The cursor of the newest event or gap that was handed on; empty if it is not known.
  #event;
  #newStream;
  #handlers;
  #id = Math.random().toString(36).slice(2);
  #channel = null;
  #timer = null;
  #leading = false;
  #release = null;
  #queued = null;
  // The stream of the leader, or one that catches up.
  #stream = null;
  // The newest blocks that were handed on, each with the cursor before it.
  #kept = [];
  #keptLength = 0;
  // Cursors that this tab, or the leader, has passed.
  #seen = new Set();
  #known = new Set();
  #heardAt = 0;
  #pingedAt = null;
  #askedAt = 0;
  #askedCursor = null;
  #full = null;
  #frozen = false;
  #freeze = () => {
    this.#frozen = true;
    this.#resign();
  };
  #thaw = () => {
    this.#frozen = false;
    this.#stream?.check();
    this.#compete();
    this.#ask();
  };

  /** name: equal for tabs that share. from: where a tab without a cursor begins; empty: where the others are. newStream(cursor, handlers). */
  constructor({ name, cursor, from, newStream }, handlers) {
    this.#name = `eventcast.1 ${name}`;
    this.cursor = cursor;
    this.#joins = from === "";
    this.#event = cursor === "" && /^(earliest|last:)/.test(from) ? `${NO_EVENT} ${from}` : "";
    this.#newStream = newStream;
    this.#handlers = handlers;
  }

  get grant() {
    return this.#stream?.grant ?? { endsAt: null, ending: false, renewing: false, problem: null };
  }

  renew() {
    return this.#stream?.renew() ?? Promise.resolve(false);
  }

  get leading() {
    return this.#leading;
  }

  open() {
    if (this.#channel !== null) return this.#stream?.open();
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.onmessage = ({ data }) => this.#message(data);
    this.#heard();
    // Not all tabs at once.
    this.#timer = setInterval(() => this.check(), CHECK_MS * (0.75 + Math.random() / 2));
    this.#set("connecting");
    // A frozen page of Chromium answers messages, and reads nothing.
    globalThis.document?.addEventListener("freeze", this.#freeze);
    globalThis.document?.addEventListener("resume", this.#thaw);
    this.#compete();
    // A start position of its own is nothing that the leader can tell of.
    if (this.cursor || this.#joins) this.#ask();
    else this.#catchUp();
    return undefined;
  }

  close(reason = null) {
    clearInterval(this.#timer);
    globalThis.document?.removeEventListener("freeze", this.#freeze);
    globalThis.document?.removeEventListener("resume", this.#thaw);
    this.#channel?.close();
    this.#channel = null;
    this.#queued?.abort();
    this.#queued = null;
    this.#resign();
    this.#dropStream();
    this.#set("closed", reason);
  }

  check() {
    this.#stream?.check();
    if (this.#leading || this.#channel === null) return;
    if (this.#stream !== null && this.cursor !== this.#askedCursor) this.#ask();
    const now = Date.now();
    if (this.#frozen || now - this.#heardAt < LEADER_TIMEOUT_MS) return;
    if (this.#pingedAt === null) {
      this.#pingedAt = now;
      this.#post({ kind: "ping" });
    } else if (now - this.#pingedAt >= LEADER_TIMEOUT_MS) this.#compete({ steal: true });
  }

  #set(state, reason = null, retryAt = null) {
    Object.assign(this, { state, reason, retryAt });
    this.#handlers.state();
  }

  #post(message) {
    this.#channel?.postMessage({ ...message, from: this.#id });
  }

  // Leading

  async #compete({ steal = false } = {}) {
    this.#queued?.abort();
    const queued = new AbortController();
    this.#queued = queued;
    try {
      await navigator.locks.request(this.#name, steal ? { steal } : { signal: queued.signal }, () => {
        if (this.#channel === null || this.#queued !== queued || this.#frozen) return undefined;
        return new Promise((resolve) => {
          this.#release = resolve;
          this.#lead();
        });
      });
    } catch (error) {
      // An AbortError: it was aborted while it waited, or the lock was taken away from a tab that stood still. Anything else: this page
      // may have no locks, and reads alone.
      if (error.name !== "AbortError") {
        if (this.#channel !== null && this.#stream === null) this.#catchUp();
        return;
      }
    }
    if (this.#channel === null || this.#queued !== queued) return;
    if (this.#leading) this.#follow();
    if (!this.#frozen) this.#compete();
  }

  #lead() {
    this.#leading = true;
    this.#full = null;
    if (this.#stream === null) this.#catchUp();
    else this.#tellState();
  }

  #resign() {
    this.#release?.();
    if (this.#leading) this.#follow();
  }

  // The stream goes on until it meets that of the next leader.
  #follow() {
    this.#leading = false;
    this.#release = null;
    this.#heard();
    this.#known.clear();
    this.#ask();
  }

  #tellState(to = null) {
    const { state, reason, retryAt } = this;
    this.#post({ kind: "state", to, state, reason: reason && { message: reason.message, closing: reason.closing }, retryAt, head: this.cursor });
  }

  #answer({ from, cursor, event = "" }) {
    if (cursor === "" || cursor === this.cursor) {
      // A tab without a cursor joins at the next message.
      if (this.cursor !== "") this.#post({ kind: "blocks", to: from, previous: this.cursor, blocks: [] });
    } else {
      const first = this.#kept.findLastIndex(({ previous }) => previous === cursor);
      if (first < 0 && event !== "" && event === this.#event) this.#post({ kind: "blocks", to: from, previous: this.cursor, event, blocks: [] });
      else if (first < 0) this.#post({ kind: "missing", to: from, head: this.cursor });
      else this.#post({ kind: "blocks", to: from, previous: cursor, blocks: this.#kept.slice(first).map(({ block }) => block) });
    }
    this.#tellState(from);
  }

  // The stream of this tab

  #catchUp() {
    const stream = this.#newStream(this.cursor, {
      state: () => stream === this.#stream && this.#streamState(),
      grant: () => stream === this.#stream && this.#handlers.grant(),
      control: (block) => stream === this.#stream && this.#handlers.control(block),
      blocks: (blocks) => (stream === this.#stream ? this.#streamBlocks(blocks) : undefined),
    });
    this.#stream = stream;
    stream.open();
  }

  #dropStream() {
    const stream = this.#stream;
    this.#stream = null;
    stream?.close();
  }

  #streamState() {
    const { state, reason, retryAt } = this.#stream;
    // What is over for this tab may not be for others, which have tokens of their own.
    if (state === "closed") return this.close(reason);
    this.#set(state, reason, retryAt);
    if (this.#leading) this.#tellState();
    return undefined;
  }

  #streamBlocks(blocks) {
    if (this.#leading) this.#post({ kind: "blocks", previous: this.cursor, blocks });
    const room = this.#deliver(blocks);
    if (room === undefined) {
      if (!this.#leading && this.#known.has(this.cursor)) this.#ask();
      return undefined;
    }
    if (this.#leading) {
      const stalled = setTimeout(() => this.#resign(), STALL_MS);
      return room.finally(() => clearTimeout(stalled));
    }
    return room;
  }

  #deliver(blocks) {
    for (const block of blocks) {
      const length = block.data?.length ?? 0;
      this.#kept.push({ previous: this.cursor, block, length });
      this.#keptLength += length;
      this.cursor = block.cursor;
      if (isEvent(block)) this.#event = this.cursor;
      remember(this.#seen, this.cursor);
    }
    while (this.#kept.length > KEPT_BLOCKS || (this.#keptLength > KEPT_LENGTH && this.#kept.length > 1)) {
      this.#keptLength -= this.#kept.shift().length;
    }
    return this.#handlers.blocks(blocks);
  }

  // Following

  #heard() {
    this.#heardAt = Date.now();
    this.#pingedAt = null;
  }

  #ask() {
    this.#askedAt = Date.now();
    this.#askedCursor = this.cursor;
    this.#post({ kind: "hello", cursor: this.cursor, event: this.#event });
  }

  #message(message) {
    const { from, to = null, kind } = message;
    if (to !== null && to !== this.#id) return;
    if (kind === "ping" || kind === "hello") {
      if (!this.#leading) return;
      // A tab in the background has late timers, but no late messages.
      this.#stream?.check();
      if (kind === "ping") this.#tellState();
      else this.#answer(message);
      return;
    }
    if (this.#leading) return;
    this.#heard();
    if (kind === "blocks") this.#received(message);
    else if (kind === "missing") this.#missing(message.head);
    else this.#leaderState(message);
  }

  #received({ previous, event = "", blocks }) {
    const head = blocks.at(-1)?.cursor ?? previous;
    for (const { cursor } of blocks) remember(this.#known, cursor);
    remember(this.#known, head);
    if (this.#full !== null) return;
    // A tab without a cursor joins here, and so does one that has passed the same event as the leader, and none since.
    const joins = this.cursor === "" && previous !== "" && this.#joins && this.#stream === null;
    if (joins || (event !== "" && event === this.#event)) this.#deliver([{ type: "message", data: null, cursor: previous }]);
    const rest = continuation(this.cursor, previous, blocks);
    if (rest === null) {
      if (!this.#seen.has(head) && this.#stream === null && Date.now() - this.#askedAt > 100) this.#ask();
      return;
    }
    const room = rest.length > 0 ? this.#deliver(rest) : undefined;
    // The stream that caught up has met that of the leader.
    if (this.cursor === head && this.#stream !== null) this.#dropStream();
    if (room === undefined) return;
    // What is told meanwhile is asked for later.
    this.#full = room;
    room.then(() => {
      if (this.#full !== room) return;
      this.#full = null;
      if (!this.#leading && this.#channel !== null) this.#ask();
    });
  }

  #missing(head) {
    if (head !== "") remember(this.#known, head);
    if (this.#stream === null && this.#full === null) this.#catchUp();
  }

  #leaderState({ state, reason, retryAt, head }) {
    if (head !== "") remember(this.#known, head);
    if (this.#stream !== null) return;
    if (this.#full === null && head !== "" && head !== this.cursor && !this.#seen.has(head) && Date.now() - this.#askedAt > 100) this.#ask();
    this.#set(state, reason && new StreamProblem(reason.message, { closing: reason.closing }), retryAt);
  }
}

/** The blocks that come after `cursor`; null if the message does not continue from there. */
function continuation(cursor, previous, blocks) {
  if (cursor === previous) return blocks;
  const last = blocks.findLastIndex((block) => block.cursor === cursor);
  return last < 0 ? null : blocks.slice(last + 1);
}

function isEvent({ type, data }) {
  return data !== null && (!type.startsWith("eventcast.") || type === "eventcast.gap");
}

function remember(set, cursor) {
  set.delete(cursor);
  set.add(cursor);
  if (set.size > KEPT_BLOCKS) set.delete(set.values().next().value);
}
