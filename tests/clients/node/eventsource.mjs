import { EventSource } from 'eventsource'
import { follow, lastEventId, url } from './contract.mjs'

// The client sets the header itself once it has seen an id; until then it is ours.
const resuming = (input, init) =>
  fetch(input, { ...init, headers: { ...(lastEventId && { 'Last-Event-ID': lastEventId }), ...init.headers } })

follow(new EventSource(url, { fetch: resuming }))
