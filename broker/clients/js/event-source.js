// One connection of a stream, with the browser's EventSource: for what cannot read an answer while it arrives. The credential is a
// ticket or a cookie. Only the types that are named arrive, and a slow reader cannot slow the server down: it ends the connection.

import { problemOf, StreamProblem } from "./problem.js";

const CONTROL = ["cursor", "gap", "heartbeat", "expiring", "closing"].map((name) => `eventcast.${name}`);

/** Rejects with the problem that ends the connection. watch: that of fetch-stream.js. */
export function connectEventSource(settings, watch) {
  return settings.credential.authorize((refused) => attempt(settings, watch, refused));
}

async function attempt({ address, cursor, credential, types, fetch, signal }, watch, refused) {
  const url = new URL(address);
  await credential.prepare(url, refused, signal);
  if (cursor) url.searchParams.set("lastEventId", cursor);
  // Comments do not reach scripts.
  url.searchParams.set("heartbeat", "event");
  watch.heard(); // from here on, silence counts
  const source = new EventSource(url, { withCredentials: credential.withCookies });
  let opened = false;
  try {
    await new Promise((_, reject) => {
      const receive = ({ type, data, lastEventId }) => {
        if (source.readyState === EventSource.CLOSED) return;
        watch.heard();
        const room = watch.blocks([{ type, data, cursor: lastEventId }]);
        if (room === undefined) return;
        source.close();
        watch.paused();
        room.then(() => reject(new StreamProblem("the application is behind", { retryAfter: 1 })));
      };
      for (const type of new Set(["message", ...types, ...CONTROL])) source.addEventListener(type, receive);
      source.onopen = () => {
        opened = true;
        watch.opened();
      };
      // Coming back is the business of the stream: with its cursor, its delays and its credential.
      source.onerror = () => reject(new StreamProblem("the connection was lost"));
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
  } catch (error) {
    if (signal.aborted || opened || source.readyState !== EventSource.CLOSED) throw error;
    throw (await refusal(url, credential, fetch, signal)) ?? error;
  } finally {
    source.close();
  }
}

/** The status that EventSource keeps to itself, as HEAD tells it; null if there is nothing to refuse. */
async function refusal(url, credential, fetch, signal) {
  const response = await fetch(url, {
    method: "HEAD", headers: { accept: "text/event-stream" }, cache: "no-store", signal,
    credentials: credential.withCookies ? "include" : "same-origin",
  });
  return response.status === 200 ? null : problemOf(response);
}
