// How one stream carries the credential of its channel, and how it is renewed: the token in a header, or a ticket in the URL.

import { renewGrant, takeTicket } from "./page-api.js";
import { authorization, tokenOf, usesTicket } from "./page-credential.js";

// A renewal that wins less than this does not help: the token ends with the stream.
const LEAST_GAIN_MS = 1000;

export class Carrier {
  // When the grant of the stream ends, by the clock of this machine; null where the broker did not tell.
  endsAt = null;

  #channel;
  #ticket = "";
  // The token that cannot extend the stream any further.
  #spent = "";

  constructor(channel) {
    this.#channel = channel;
  }

  // Puts the credential into the address of the next request, and gives the headers. The ticket stays the same until it is refused.
  async prepare(address) {
    if (!usesTicket(this.#channel)) {
      this.#ticket = "";
      this.#spent = tokenOf(this.#channel);
      this.endsAt = null;
      return authorization(this.#channel);
    }
    if (this.#ticket === "") {
      const { ticket, expires_at: end } = await takeTicket(this.#channel);
      this.#ticket = ticket;
      this.#spent = "";
      this.endsAt = Date.parse(end);
    }
    address.searchParams.set("ticket", this.#ticket);
    return {};
  }

  // Whether another ticket may be accepted in place of one that was refused.
  forgetTicket() {
    const had = this.#ticket !== "";
    this.#ticket = "";
    return had;
  }

  get canRenew() {
    const token = tokenOf(this.#channel);
    return token !== "" && token !== this.#spent;
  }

  // Extends a stream that ends soon, as its notice says: {expires_at, in_ms, renew}. Gives whether it goes on.
  async renew({ expires_at: end, in_ms: left, renew: path }) {
    const token = tokenOf(this.#channel);
    const noticedAt = Date.now();
    const renewed = await renewGrant(this.#channel, path);
    const gain = Date.parse(renewed.expires_at) - Date.parse(end);
    this.endsAt = noticedAt + left + gain;
    if (gain < LEAST_GAIN_MS || this.#ticket === "") this.#spent = token;
    return gain >= LEAST_GAIN_MS;
  }
}
