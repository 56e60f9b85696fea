// A parser without a connection: this loop is the connection, and feeds it byte by byte (the oracle of our framing).
import { setTimeout } from 'node:timers/promises'
import { createParser } from 'eventsource-parser'
import { closed, emit, emitError, emitEvent, lastEventId, url } from './contract.mjs'

let cursor = lastEventId
let retry = 1000

async function read() {
  const headers = { Accept: 'text/event-stream', ...(cursor && { 'Last-Event-ID': cursor }) }
  const response = await fetch(url, { headers, cache: 'no-store' })
  if (response.status === 204 || (response.status >= 400 && response.status < 500)) {
    emitError(`status ${response.status}`)
    closed()
  }
  if (response.status !== 200) throw new Error(`status ${response.status}`)
  emit({ open: true })
  const parser = createParser({
    onEvent(event) {
      cursor = event.id ?? cursor
      emitEvent(cursor, event.event, event.data)
    },
    onRetry: milliseconds => (retry = milliseconds),
    onError: emitError,
  })
  const decoder = new TextDecoder()
  for await (const chunk of response.body) {
    for (let i = 0; i < chunk.length; i++) parser.feed(decoder.decode(chunk.subarray(i, i + 1), { stream: true }))
  }
}

for (;;) {
  await read().catch(emitError)
  await setTimeout(Math.min(Math.max(retry, 100), 30_000))
}
