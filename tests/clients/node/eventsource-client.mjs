import { createEventSource } from 'eventsource-client'
import { closed, emit, emitError, emitEvent, lastEventId, url } from './contract.mjs'

const client = createEventSource({
  url,
  initialLastEventId: lastEventId || undefined,
  onConnect: () => emit({ open: true }),
  onMessage: message => emitEvent(message.id ?? client.lastEventId, message.event, message.data),
  onScheduleReconnect: () => emitError('disconnected'),
  onDisconnect() {
    // It tells of the end before it says whether it will come back.
    setTimeout(() => client.readyState === 'closed' && closed(), 10)
  },
})
