// useChannel(): a channel in a React component.

import { useEffect, useRef, useState } from "react";
import { subscribe } from "./index.js";

const NOTHING = { events: [], gaps: 0, state: "connecting", reason: null, resume() {} };

/** options: those of subscribe(), and `keep`: how many events are given (100). Without a url there is no stream. */
export function useChannel(url, { keep = 100, ...options } = {}) {
  const [channel, setChannel] = useState(NOTHING);
  const latest = useRef(options);
  latest.current = options;
  // Functions are new with every render; they are called as they are then, and make no new stream.
  const settings = JSON.stringify(Object.entries(options).filter(([, value]) => typeof value !== "function" && !(value instanceof AbortSignal)));

  useEffect(() => {
    setChannel({ ...NOTHING, state: url ? "connecting" : "closed" });
    if (!url) return undefined;
    const current = { ...latest.current };
    for (const name of Object.keys(current)) {
      if (typeof current[name] === "function") current[name] = (...values) => latest.current[name]?.(...values);
    }
    const subscription = subscribe(url, {
      ...current,
      onEvent(event, from) {
        setChannel((before) => ({ ...before, events: [...before.events, event].slice(-keep) }));
        return latest.current.onEvent?.(event, from);
      },
      onGap(gap, from) {
        setChannel((before) => ({ ...before, gaps: before.gaps + 1 }));
        return latest.current.onGap?.(gap, from);
      },
      onState({ state, reason, retryAt }, from) {
        setChannel((before) => ({ ...before, state, reason }));
        latest.current.onState?.({ state, reason, retryAt }, from);
      },
    });
    setChannel((before) => ({ ...before, resume: () => subscription.resume() }));
    return () => subscription.close();
  }, [url, keep, settings]);
  return channel;
}
