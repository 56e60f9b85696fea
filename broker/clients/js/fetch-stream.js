// One connection of a stream, with fetch: every type arrives, headers can be sent, and a slow reader slows the server down.

import { SseParser, TooLarge } from "./parser.js";
import { problemOf, StreamProblem } from "./problem.js";

/** Resolves at a clean end. watch: opened(), heard(), paused(), retry(milliseconds), blocks(list). */
export async function connectFetch(settings, watch) {
  const { cursor, maxEventLength, signal } = settings;
  const response = await request(settings, watch);
  watch.opened();
  const parser = new SseParser(cursor, maxEventLength);
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  const aborted = new Promise((resolve) => { signal.addEventListener("abort", resolve, { once: true }); });
  for (;;) {
    const { done, value } = await reader.read();
    if (done || signal.aborted) return;
    watch.heard();
    const blocks = push(parser, decoder.decode(value, { stream: true }));
    if (parser.retry !== null) watch.retry(parser.retry);
    const room = blocks.length > 0 ? watch.blocks(blocks) : undefined;
    if (room === undefined) continue;
    watch.paused();
    await Promise.race([room, aborted]);
    if (signal.aborted) return;
    watch.heard();
  }
}

function push(parser, text) {
  try {
    return parser.push(text);
  } catch (error) {
    // It would come again after every reconnect.
    if (error instanceof TooLarge) throw new StreamProblem(error.message, { final: true });
    throw error;
  }
}

async function request(settings, watch) {
  const response = await authorized(settings, watch);
  if (response.status === 204) throw new StreamProblem("the server has nothing more to send (204)", { status: 204, final: true });
  if (response.status !== 200) throw await problemOf(response);
  if (!/^text\/event-stream\s*(;|$)/i.test(response.headers.get("content-type") ?? "")) {
    throw new StreamProblem("the answer is not an event stream: does the URL end in /events?", { status: 200, final: true });
  }
  return response;
}

/** The answer to a request whose credential was accepted. */
function authorized({ address, cursor, credential, fetch, signal }, watch) {
  return credential.authorize(async (refused) => {
    const url = new URL(address);
    const headers = await credential.prepare(url, refused, signal);
    if (cursor) url.searchParams.set("lastEventId", cursor);
    watch.heard(); // from here on, silence counts
    const response = await fetch(url, {
      headers: { accept: "text/event-stream", ...headers },
      // Two streams with one filter have one address, and the browser's cache would let the second wait for the first.
      cache: "no-store", credentials: credential.withCookies ? "include" : "same-origin", signal,
    });
    if (response.status === 401) throw await problemOf(response);
    return response;
  });
}
