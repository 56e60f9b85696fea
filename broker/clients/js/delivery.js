// From the stream to the application: in order, one at a time, bounded. The cursor moves when an event was dealt with, not when it came.

import { parseJson } from "./parser.js";

export class Delivery {
  #queue = [];
  #limit;
  #handlers;
  // Of the item that the application deals with.
  #pending = null;
  #waiting = null;
  #room = null;
  #end = null;
  #iterated = false;

  /** limit: items that wait before reading stops. handlers: moved(cursor), control(block), returned(). */
  constructor(limit, handlers) {
    this.#limit = limit;
    this.#handlers = handlers;
  }

  /** Gives a promise once it is full, which is settled when there is room again. What came in one chunk is taken in whole. */
  push(blocks) {
    if (this.#end !== null) return undefined;
    this.#queue.push(...blocks);
    this.#wake();
    return this.full();
  }

  full() {
    if (this.#queue.length < this.#limit) return undefined;
    if (this.#room === null) {
      this.#room = {};
      this.#room.promise = new Promise((resolve) => { this.#room.resolve = resolve; });
    }
    return this.#room.promise;
  }

  /** No more comes. What waits is still given, and then the error, if there is one. drop: what waits is of no use any more. */
  end(error = null, drop = false) {
    if (this.#end !== null && !drop) return;
    this.#end ??= { error };
    if (drop) this.#queue = [];
    this.#wake();
  }

  #wake() {
    if (this.#queue.length > 0 || this.#end !== null) this.#waiting?.();
    if (this.#room !== null && (this.#queue.length < this.#limit / 2 || this.#end !== null)) {
      const { resolve } = this.#room;
      this.#room = null;
      resolve();
    }
  }

  #settle() {
    const cursor = this.#pending;
    this.#pending = null;
    if (cursor !== null) this.#handlers.moved(cursor);
  }

  /** The next event or gap; undefined at the end. What was given before is dealt with now. */
  async next() {
    this.#settle();
    for (;;) {
      while (this.#queue.length === 0) {
        if (this.#end !== null) {
          const { error } = this.#end;
          this.#end = { error: null };
          if (error) throw error;
          return undefined;
        }
        await new Promise((resolve) => { this.#waiting = resolve; });
        this.#waiting = null;
      }
      const block = this.#queue.shift();
      this.#wake();
      const control = block.type.startsWith("eventcast.");
      if (control && block.data !== null) this.#handlers.control(block);
      if (block.data !== null && (!control || block.type === "eventcast.gap")) {
        this.#pending = block.cursor;
        return control ? { ...block, gap: gapOf(block.data) } : { ...block, gap: null };
      }
      this.#handlers.moved(block.cursor);
    }
  }

  [Symbol.asyncIterator]() {
    if (this.#iterated) throw new TypeError("a subscription is read once: by onEvent or by one loop");
    this.#iterated = true;
    let last = Promise.resolve();
    const next = async () => {
      const value = await this.next();
      return value === undefined ? { done: true, value } : { done: false, value };
    };
    return {
      // One after the other, also for those who do not wait.
      next: () => (last = last.then(next, next)),
      return: async () => {
        // An event whose loop body was left by break or an exception counts as dealt with only if the application asks for the next.
        this.#handlers.returned();
        return { done: true, value: undefined };
      },
    };
  }
}

function gapOf(data) {
  const { requested = null, resumed_at: resumedAt = null, lost = null, reason = "" } = parseJson(data) ?? {};
  return { requested, resumedAt, lost, reason };
}
