// Why a stream is interrupted or over.

// A server that asks for more patience than this is asked again after it.
const LONGEST_RETRY_AFTER_MS = 3600000;
// What was judged does not change by asking again; these statuses are not about the request itself.
const RETRIED = new Set([408, 425, 429]);

/** What a stream tells in `reason`. */
export class StreamProblem extends Error {
  name = "StreamProblem";

  /** final: the stream does not come back by itself. retryAfter: milliseconds. closing: the reason of `eventcast.closing`. */
  constructor(message, { status = 0, title = "", detail = "", final = false, retryAfter = null, closing = null, cause } = {}) {
    super(message, { cause });
    Object.assign(this, { status, title, detail, final, retryAfter, closing });
  }
}

/** The problem of an answer that is not the one that was asked for (RFC 9457). */
export async function problemOf(response) {
  let body = {};
  try {
    body = (await response.json()) ?? {};
  } catch {
    // A proxy in between may have answered in its own words; the status is all there is then.
  }
  const { status } = response;
  const title = String(body.title ?? "");
  const detail = String(body.detail ?? "");
  return new StreamProblem([`${status} ${title}`.trim(), detail].filter(Boolean).join(": "), {
    status, title, detail,
    final: status < 500 && !RETRIED.has(status),
    retryAfter: retryAfter(response.headers.get("retry-after") ?? body.retry_after),
  });
}

function retryAfter(value) {
  if (value === null || value === undefined) return null;
  const milliseconds = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return milliseconds > 0 ? Math.min(LONGEST_RETRY_AFTER_MS, milliseconds) : null;
}
