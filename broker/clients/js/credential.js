// How a stream carries the credential of its client, and how its grant is renewed: a token in a header, a ticket in the URL, or a cookie.

import { problemOf, StreamProblem } from "./problem.js";

// A renewal that wins less than this does not help: the token ends with the stream.
const LEAST_GAIN_MS = 1000;
const REQUEST_TIMEOUT_MS = 20000;

export class Credential {
  /** When the grant of the stream ends, by the clock of this machine; null where the broker did not tell. */
  endsAt = null;

  #base;
  #options;
  #ticket = "";
  // The ticket was taken for the request that is being made.
  #freshTicket = false;
  #token = null;
  // Asked for before there was a request.
  #early = null;
  // The token that cannot extend the stream any further.
  #spent = null;

  /** base: the URL of the channel. options: {token, ticket, cookie, fetch} of subscribe(). */
  constructor(base, options) {
    this.#base = base;
    this.#options = options;
  }

  get withCookies() {
    return this.#options.cookie;
  }

  /** The token of the application. reason: "connect", "refused" or "expiring"; after the last two the old one is of no use. */
  async token(reason = "connect") {
    const { token } = this.#options;
    if (reason === "connect" && this.#early !== null) {
      [this.#token, this.#early] = [this.#early, null];
      return this.#token;
    }
    try {
      this.#token = (typeof token === "function" ? await token({ reason }) : token) || "";
    } catch (cause) {
      throw new StreamProblem(`the application gave no token: ${cause?.message ?? cause}`, { cause });
    }
    return this.#token;
  }

  /** The token that the next request will carry. */
  async earlyToken() {
    this.#early = await this.token();
    return this.#early;
  }

  /** Puts the credential into the address of the next request, and gives the headers. refused: the problem with the last one. */
  async prepare(address, refused, signal) {
    const { token, ticket, cookie } = this.#options;
    if (cookie) address.searchParams.set("credentials", "cookie");
    if (!ticket && !token) {
      if (refused) throw refused;
      return {};
    }
    if (!ticket) return this.#header(refused);
    this.#freshTicket = this.#ticket === "";
    if (this.#freshTicket) await this.#takeTicket(refused, signal);
    address.searchParams.set("ticket", this.#ticket);
    return {};
  }

  async #header(refused) {
    const before = this.#token;
    const token = await this.token(refused ? "refused" : "connect");
    if (refused && token === before) throw refused;
    this.#spent = token;
    this.endsAt = null;
    return token ? { authorization: `Bearer ${token}` } : {};
  }

  async #takeTicket(refused, signal) {
    const { ticket } = this.#options;
    this.#spent = null;
    if (typeof ticket === "function") {
      this.#ticket = await this.#givenTicket(ticket);
      this.endsAt = null;
    } else {
      const before = this.#token;
      const token = await this.token(refused ? "refused" : "connect");
      if (refused && token === before) throw refused;
      const answer = await this.#post("tickets", token, signal);
      this.#ticket = answer.ticket;
      this.endsAt = Date.parse(answer.expires_at);
    }
  }

  // A ticket, or a URL that has one.
  async #givenTicket(ticket) {
    let given;
    try {
      given = await ticket();
    } catch (cause) {
      throw new StreamProblem(`the application gave no ticket: ${cause?.message ?? cause}`, { cause });
    }
    const found = /[?&]ticket=([^&#]+)/.exec(given)?.[1] ?? given;
    if (!found) throw new StreamProblem("the application gave no ticket", { final: true });
    return found;
  }

  /** Runs `attempt(refused)`: after a refusal once more with a new token. `refused`: the problem with the last attempt, or null. */
  async authorize(attempt) {
    let refused = null;
    for (;;) {
      try {
        return await attempt(refused);
      } catch (error) {
        if (error?.status !== 401) throw error;
        // A ticket of an earlier request may have ended where the token has not.
        const oldTicket = this.#ticket !== "" && !this.#freshTicket;
        this.forgetTicket();
        if (oldTicket) continue;
        if (refused !== null) throw error;
        refused = error;
      }
    }
  }

  forgetTicket() {
    this.#ticket = "";
  }

  /** Extends a stream that ends soon, as its notice says: {expires_at, in_ms, renew}. Gives whether it goes on. */
  async renew({ expires_at: end, in_ms: left, renew: path }) {
    const noticedAt = Date.now();
    // The token goes to renewals of this channel and nowhere else.
    const id = /\/renewals\/([\w-]+)$/.exec(path ?? "")?.[1];
    if (!id || !this.#options.token) return false;
    const token = await this.token("expiring");
    if (!token || token === this.#spent) return false;
    const renewed = await this.#post(`renewals/${id}`, token);
    const gain = Date.parse(renewed.expires_at) - Date.parse(end);
    this.endsAt = noticedAt + left + gain;
    if (gain < LEAST_GAIN_MS || this.#ticket === "") this.#spent = token;
    return gain >= LEAST_GAIN_MS;
  }

  async #post(path, token, signal) {
    const patience = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
    const response = await this.#options.fetch(`${this.#base}/${path}`, {
      method: "POST", cache: "no-store", signal: signal ? AbortSignal.any([signal, patience]) : patience,
      headers: { accept: "application/json", ...(token && { authorization: `Bearer ${token}` }) },
    });
    if (!response.ok) throw await problemOf(response);
    return response.json();
  }
}

// What each new token of a client says anew.
const PER_TOKEN = new Set(["exp", "iat", "nbf", "jti", "auth_time", "nonce", "at_hash", "uti", "aio", "rh"]);

function claimsOf(token) {
  try {
    const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    return JSON.parse(atob(payload));
  } catch {
    return null;
  }
}

/** Whose token it is, as a hash: for the keys of cursors. */
export function subjectOf(token) {
  const { iss, sub } = claimsOf(token) ?? {};
  return sub === undefined ? hash(token) : hash(JSON.stringify([iss, sub]));
}

/** The same for all tokens with the same rights, as a hash: for tabs that share a stream. */
export function rightsOf(token) {
  const claims = Object.entries(claimsOf(token) ?? { token }).filter(([name]) => !PER_TOKEN.has(name));
  return hash(JSON.stringify(claims.sort(([one], [two]) => (one < two ? -1 : 1))));
}

/** 53 bits (cyrb53): tells apart what is not chosen to collide. */
export function hash(text) {
  let [one, two] = [0xdeadbeef, 0x41c6ce57];
  for (let index = 0; index < text.length; index += 1) {
    const unit = text.charCodeAt(index);
    one = Math.imul(one ^ unit, 2654435761);
    two = Math.imul(two ^ unit, 1597334677);
  }
  one = Math.imul(one ^ (one >>> 16), 2246822507) ^ Math.imul(two ^ (two >>> 13), 3266489909);
  two = Math.imul(two ^ (two >>> 16), 2246822507) ^ Math.imul(one ^ (one >>> 13), 3266489909);
  return (4294967296 * (2097151 & two) + (one >>> 0)).toString(36);
}
