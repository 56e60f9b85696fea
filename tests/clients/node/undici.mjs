import { EventSource } from 'undici'
import { follow, urlWithLastEventId } from './contract.mjs'

follow(new EventSource(urlWithLastEventId()))
