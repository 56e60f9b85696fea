import type { ChannelEvent, State, StreamProblem, SubscribeOptions } from "./index.js";

export interface Channel {
  /** The newest events, oldest first. */
  events: ChannelEvent[];
  /** How often events were missing. */
  gaps: number;
  state: State;
  reason: StreamProblem | null;
  /** Tries again at once, also after a refusal. */
  resume(): void;
}

/** A channel in a component. `keep`: how many events are given (100). Without a url there is no stream. */
export declare function useChannel(url: string | URL | null | undefined, options?: SubscribeOptions & { keep?: number }): Channel;
