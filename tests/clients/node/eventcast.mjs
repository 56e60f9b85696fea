import { subscribe } from '../../../broker/clients/js/index.js'
import { closed, emit, emitError, emitEvent, lastEventId, url } from './contract.mjs'

subscribe(url, {
  cursor: lastEventId,
  onEvent: ({ cursor, type, data }) => emitEvent(cursor, type, data),
  onControl: ({ cursor, type, data }) => emitEvent(cursor, type, data),
  onState({ state, reason, retryAt }) {
    if (state === 'open') emit({ open: true })
    if (reason !== null && (retryAt !== null || state === 'closed')) emitError(reason)
    if (state === 'closed') closed()
  },
})
