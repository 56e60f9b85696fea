// Made for browsers: it wants `window` and `document`, and of them no more than this.
import { closed, emit, emitError, emitEvent, lastEventId, url } from './contract.mjs'

globalThis.window = globalThis
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} }
const { EventStreamContentType, fetchEventSource } = await import('@microsoft/fetch-event-source')

class Final extends Error {}

await fetchEventSource(url, {
  headers: lastEventId ? { 'last-event-id': lastEventId } : {},
  openWhenHidden: true,
  async onopen(response) {
    if (response.ok && response.headers.get('content-type')?.startsWith(EventStreamContentType)) {
      return emit({ open: true })
    }
    const final = response.status === 204 || (response.status >= 400 && response.status < 500)
    throw new (final ? Final : Error)(`status ${response.status}`)
  },
  onmessage: message => emitEvent(message.id, message.event, message.data),
  onclose() {
    throw new Error('the server ended the stream') // without this it takes a clean end for the last
  },
  onerror(error) {
    emitError(error)
    if (error instanceof Final) throw error
  },
}).catch(() => {})
closed()
