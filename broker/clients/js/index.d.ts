/** An event of the channel. */
export interface ChannelEvent {
  type: string;
  data: string;
  /** Where a subscription continues after this event: opaque, and not secret. */
  cursor: string;
  gap: null;
}

/** Events that cannot be delivered. */
export interface ChannelGap {
  type: "eventcast.gap";
  /** The JSON of `gap`. */
  data: string;
  cursor: string;
  gap: {
    /** The cursors between which events are missing. */
    requested: string | null;
    resumedAt: string | null;
    /** Events of the channel between them; null if the number is unknown. */
    lost: number | null;
    reason: "expired" | "new-incarnation" | "invalid-cursor" | "invalid-event" | (string & {});
  };
}

/** An event of the broker itself: `eventcast.*`. */
export interface ControlEvent {
  type: string;
  data: string;
  cursor: string;
}

export type State = "connecting" | "open" | "reconnecting" | "paused" | "closed";

export interface StateChange {
  state: State;
  /** Why the stream is interrupted or over. */
  reason: StreamProblem | null;
  /** When the next attempt comes, in milliseconds since 1970. */
  retryAt: number | null;
}

/** The end of what the credential grants. */
export interface Grant {
  /** In milliseconds since 1970; null where it is unknown. */
  endsAt: number | null;
  /** The broker has announced the end. */
  ending: boolean;
  renewing: boolean;
  /** Why the last renewal failed. */
  problem: Error | null;
}

export declare class StreamProblem extends Error {
  /** Of the answer; 0 if there was none. */
  readonly status: number;
  readonly title: string;
  readonly detail: string;
  /** The stream does not come back by itself. */
  readonly final: boolean;
  /** Milliseconds that the server asked to wait. */
  readonly retryAfter: number | null;
  /** The reason of `eventcast.closing`. */
  readonly closing: string | null;
}

/** Why a token is asked for. After `refused` and `expiring` the one that was given before is of no use. */
export type TokenReason = "connect" | "refused" | "expiring";

export interface SubscribeOptions {
  /** Topics and patterns; none means all. */
  topics?: readonly string[];
  /** Types and patterns; none means all. */
  types?: readonly string[];
  /** The start position of a subscription without a cursor: `latest`, `earliest`, `last:10`, `-10m`, a time. */
  from?: string;
  /** Continue after this event. */
  cursor?: string;

  /** The token, or a function that gives a valid one: it is called for each connection. */
  token?: string | ((why: { reason: TokenReason }) => string | null | undefined | Promise<string | null | undefined>);
  /** true: streams carry a ticket that is taken with the token. A function: gives a ticket, or a URL with one, of your backend. */
  ticket?: boolean | (() => string | Promise<string>);
  /** Streams carry the cookie of the broker. */
  cookie?: boolean;
  /** The user, where the token does not tell: for `remember` and `share`. */
  subject?: string;

  /** Continue where the last subscription of this tab (`true`, `"session"`) or browser (`"local"`) was. */
  remember?: boolean | "session" | "local" | Pick<Storage, "getItem" | "setItem">;
  /** One connection for all tabs of the origin with the same URL, filter and rights. */
  share?: boolean;
  /** `eventsource`: with the browser's EventSource, which needs a ticket or a cookie in place of a token. */
  transport?: "fetch" | "eventsource";
  /** Closes the subscription. */
  signal?: AbortSignal;

  /** Milliseconds without a byte after which the connection is given up: 50000. */
  silence?: number;
  /** Events that wait for the application before reading stops: 256. */
  queue?: number;
  /** Of an event, in UTF-16 units: 16 Mi. A larger one ends the subscription. */
  maxEventLength?: number;
  fetch?: (input: URL | string, init?: RequestInit) => Promise<Response>;

  /** The next event waits until the promise is settled. */
  onEvent?: (event: ChannelEvent, subscription: Subscription) => unknown;
  onGap?: (gap: ChannelGap, subscription: Subscription) => unknown;
  onState?: (change: StateChange, subscription: Subscription) => unknown;
  /** Everything up to this cursor is dealt with. */
  onCursor?: (cursor: string, subscription: Subscription) => unknown;
  onControl?: (event: ControlEvent, subscription: Subscription) => unknown;
  onGrant?: (grant: Grant, subscription: Subscription) => unknown;
}

export interface Subscription extends AsyncIterable<ChannelEvent | ChannelGap> {
  readonly state: State;
  readonly reason: StreamProblem | null;
  readonly retryAt: number | null;
  readonly reconnects: number;
  /** Of the newest event that the application has dealt with. */
  readonly cursor: string;
  readonly grant: Grant;
  /** Ends the connection and keeps the place. */
  pause(): void;
  /** Connects again: after `pause()`, after a refusal, or before the next attempt is due. */
  resume(): void;
  close(): void;
  /** Renews a grant that ends soon, now that there is a fresh token. Gives whether the stream goes on. */
  renew(): Promise<boolean>;
  [Symbol.asyncIterator](): AsyncIterator<ChannelEvent | ChannelGap, undefined>;
}

export declare function subscribe(url: string | URL, options?: SubscribeOptions): Subscription;

/** The event stream format of the HTML standard: text in chunks of any size to blocks. */
export declare class SseParser {
  /** The last valid `retry:`, in milliseconds. */
  readonly retry: number | null;
  constructor(lastEventId?: string, maxLength?: number);
  /** `data` is null for a block that only moves the cursor. */
  push(text: string): { type: string; data: string | null; cursor: string }[];
}
