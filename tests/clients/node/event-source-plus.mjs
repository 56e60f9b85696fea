import { EventSourcePlus } from 'event-source-plus'
import { emit, emitError, emitEvent, lastEventId, url } from './contract.mjs'

const source = new EventSourcePlus(url)
source.lastEventId = lastEventId || undefined
source.listen({
  onMessage: message => emitEvent(message.id ?? source.lastEventId, message.event, message.data),
  onRequestError: ({ error }) => emitError(error),
  onResponse: ({ response }) => response.status === 200 && emit({ open: true }),
  onResponseError: ({ response }) => emitError(response.status),
})
