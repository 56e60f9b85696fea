// Its `headers` option would send the first Last-Event-ID again with every reconnect, hence the query.
import { EventSource } from 'launchdarkly-eventsource'
import { closed, emitError, follow, urlWithLastEventId } from './contract.mjs'

// Without a read timeout of its own it gets the 5 s of Node's HTTP agent, and reconnects after every short silence.
const source = new EventSource(urlWithLastEventId(), { readTimeoutMillis: 60_000 })
source.addEventListener('end', event => emitError(event.message))
follow(source)
source.addEventListener('closed', closed)
