// How server and workers publish.
export const EVENTS_URL = process.env.EVENTS_URL ?? 'http://127.0.0.1:8080/channels/default/demo/events'

const RETRY_MS = 500

/** Stores an event once: it is sent again with the same key until the broker has answered. */
export async function publish(job, number, type, data) {
  const request = {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'Idempotency-Key': `job-${job}-${number}` },
    body: JSON.stringify(data),
  }
  for (;;) {
    const answer = await fetch(`${EVENTS_URL}?topic=job.${job}&type=${type}&source=/jobs`, request).catch(() => null)
    if (answer?.ok) return
    if (answer && answer.status < 500 && answer.status !== 429) throw new Error(await answer.text())
    await new Promise(resolve => { setTimeout(resolve, RETRY_MS) })
  }
}
