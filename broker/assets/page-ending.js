// The end of a stream's grant: the notice before it, and the renewal with the token of the channel.

import { duration } from "./page-dom.js";

export class Ending {
  #carrier;
  #changed;
  #notice = null;
  #renewing = false;
  #problem = "";

  // changed: called when text() or seconds() tells something else.
  constructor(carrier, changed) {
    this.#carrier = carrier;
    this.#changed = changed;
  }

  // The stream begins or ends: a notice of the last connection is history.
  reset() {
    this.#notice = null;
    this.#problem = "";
  }

  // data: of the event eventcast.expiring.
  noticed(data) {
    try {
      this.#notice = JSON.parse(data);
    } catch {
      return;
    }
    this.#carrier.endsAt = Date.now() + this.#notice.in_ms;
    this.#problem = "";
    this.renew();
  }

  // At the notice, and when a fresh token comes after it.
  async renew() {
    const notice = this.#notice;
    if (notice === null || this.#renewing || !this.#carrier.canRenew) return this.#changed();
    this.#renewing = true;
    this.#changed();
    try {
      const extended = await this.#carrier.renew(notice);
      if (this.#notice !== notice) return undefined;
      if (extended) this.#notice = null;
    } catch (problem) {
      if (this.#notice === notice) this.#problem = `It could not be renewed. ${problem.title}. ${problem.detail}`;
    } finally {
      this.#renewing = false;
    }
    return this.#changed();
  }

  seconds() {
    const { endsAt } = this.#carrier;
    return endsAt === null ? null : Math.max(0, Math.ceil((endsAt - Date.now()) / 1000));
  }

  // What the reader of the page should know, or do.
  text() {
    if (this.#notice === null) return "";
    const what = `The grant of this stream ends in ${duration(this.seconds())}.`;
    if (this.#renewing) return `${what} Renewing it…`;
    return `${what} ${this.#problem || "Its token ends too: use a fresh one to go on."}`;
  }
}
