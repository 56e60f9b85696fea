// What the adapters for Node share: the arguments, the lines on stdout, and how an adapter ends. See ../README.md.

export const [url, lastEventId = ''] = process.argv.slice(2)
if (!url) {
  console.error('usage: <adapter> URL [LAST_EVENT_ID]')
  process.exit(2)
}

/** The event types to listen to, for the clients that want a listener per type. */
export const types = [
  ...new Set([
    'message', 'eventcast.gap', 'eventcast.cursor', 'eventcast.closing',
    ...(process.env.EVENT_TYPES ?? '').split(',').filter(Boolean),
  ]),
]

export const emit = line => process.stdout.write(`${JSON.stringify(line)}\n`)
export const emitEvent = (id, type, data) => emit({ id: id ?? '', type: type || 'message', data })
export const emitError = error => emit({ error: String(error?.message ?? error) })

/** The client has given up for good. */
export function closed() {
  emit({ closed: true })
  process.exit(0)
}

/** For clients that cannot send a Last-Event-ID of our choice with their first request. */
export function urlWithLastEventId() {
  if (!lastEventId) return url
  const resumed = new URL(url)
  resumed.searchParams.set('lastEventId', lastEventId)
  return resumed.href
}

/** Forwards what anything with the interface of EventSource tells. */
export function follow(source) {
  source.addEventListener('open', () => emit({ open: true }))
  source.addEventListener('error', event => {
    emitError(event.message ?? event.error ?? `error, readyState ${source.readyState}`)
    if (source.readyState === 2) closed()
  })
  for (const type of types) {
    source.addEventListener(type, event => emitEvent(event.lastEventId, event.type, event.data))
  }
}

process.stdout.on('error', () => process.exit(1))
// An adapter must not outlive the test that started it. The timer also keeps the process alive where a client waits
// with a timer that does not.
const parent = process.ppid
setInterval(() => process.ppid === parent || process.exit(1), 1000)
