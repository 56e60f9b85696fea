import { EventSource } from 'extended-eventsource'
import { follow, lastEventId, url } from './contract.mjs'

follow(new EventSource(url, { disableLogger: true, headers: lastEventId ? { 'Last-Event-ID': lastEventId } : {} }))
