// The adapter for the EventSource of a browser; run by browser.mjs. See ../README.md for the contract.
import { openBlankPage, openPage, serveBlankPage } from './lib.mjs'

const { EVENT_TYPES = '', PAGE_PORT, PAGE_URL, WITH_CREDENTIALS } = process.env
const emit = line => process.stdout.write(`${JSON.stringify(line)}\n`)

async function openPageFor(browser, url) {
  if (PAGE_URL) return openPage(browser, PAGE_URL)
  if (!PAGE_PORT) return openBlankPage(browser, new URL(url).origin)
  const origin = await serveBlankPage(Number(PAGE_PORT))
  emit({ origin })
  return openPage(browser, origin)
}

/** Runs in the page. `nextLines()` gives what has come since it was called last, as soon as there is something. */
function listen(url, types, withCredentials) {
  const lines = []
  let wake = () => {}
  const push = line => {
    lines.push(line)
    wake()
  }
  const source = new EventSource(url, { withCredentials })
  source.onopen = () => push({ open: true })
  source.onerror = () => {
    push({ error: `error, readyState ${source.readyState}` })
    if (source.readyState === EventSource.CLOSED) push({ closed: true })
  }
  for (const type of types) {
    source.addEventListener(type, event => push({ id: event.lastEventId, type: event.type, data: event.data }))
  }
  window.nextLines = async () => {
    if (!lines.length) {
      await new Promise(resolve => {
        wake = resolve
        setTimeout(resolve, 10_000)
      })
    }
    return JSON.stringify(lines.splice(0))
  }
}

export default async function run({ browser, args: [streamUrl, lastEventId] }) {
  const url = new URL(streamUrl)
  if (lastEventId) url.searchParams.set('lastEventId', lastEventId)
  const types = new Set(['message', 'eventcast.gap', 'eventcast.cursor', 'eventcast.closing', ...EVENT_TYPES.split(',')])
  types.delete('')

  const page = await openPageFor(browser, url)
  await page.evaluate(listen, url.href, [...types], WITH_CREDENTIALS === '1')
  for (;;) {
    for (const line of JSON.parse(await page.evaluate('nextLines()'))) {
      emit(line)
      if (line.closed) return
    }
  }
}
