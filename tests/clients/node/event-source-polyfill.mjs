import polyfill from 'event-source-polyfill'
import { follow, urlWithLastEventId } from './contract.mjs'

follow(new polyfill.EventSourcePolyfill(urlWithLastEventId()))
