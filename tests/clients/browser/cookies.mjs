// A cookie of the broker in pages of several sites; run by browser.mjs as `cookies.mjs BROKER PLAIN ALLOWED FOREIGN CERTIFICATE KEY KEY_FILE ISSUER
// AUDIENCE`. BROKER is the port of its listener with TLS; PLAIN is its address without. The pages are served on two ports: those of
// ALLOWED may use the broker by its configuration, those of FOREIGN may not.
//
// JSON lines on stdout: {"step": "…"} after each that passed, and {"ask": "restart"} for what only the test can do to the broker.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'
import { setTimeout } from 'node:timers/promises'
import { emit } from './driver.mjs'
import { openPage } from './lib.mjs'
import { ADMIN, issuer } from './token.mjs'

const PATIENCE_MS = 20_000
/** A page that closes for longer stays until the browser ends. */
const CLOSE_MS = 5_000
const COOKIE = 'credentials=cookie'

async function until(what, probe) {
  const deadline = Date.now() + PATIENCE_MS
  for (;;) {
    const value = await probe()
    if (value) return value
    if (Date.now() > deadline) throw new Error(`not in time: ${what}`)
    await setTimeout(50)
  }
}

/** Serves blank pages over TLS, whatever their host. */
async function servePages(port, certificate, key) {
  const blank = (_, response) => response.setHeader('Content-Type', 'text/html').end('<!doctype html><title>page</title>')
  const server = createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, blank)
  await new Promise((resolve, reject) => server.on('error', reject).listen(port, '127.0.0.1', resolve))
  server.unref()
}

/** Runs in the page: opens an EventSource that keeps what it receives. */
function listen(url) {
  const source = new EventSource(url, { withCredentials: true })
  const seen = { opens: 0, errors: 0, data: [], closed: () => source.readyState === EventSource.CLOSED }
  source.onopen = () => { seen.opens += 1 }
  source.onerror = () => { seen.errors += 1 }
  source.onmessage = event => seen.data.push(event.data)
  window.seen = seen
}

const look = page => page.evaluate(() => ({ ...window.seen, closed: window.seen.closed() }))

class Sites {
  constructor(browser, { port, plain, token }) {
    Object.assign(this, { browser, plain, token })
    this.channel = `https://events.app.test:${port}/channels/default/demo`
  }

  async publish(text) {
    const response = await fetch(`${this.plain}/channels/default/demo/events?topic=user.42`, {
      method: 'POST', body: text, headers: { Authorization: `Bearer ${this.token('admin', 600, ADMIN)}` },
    })
    assert.equal(response.status, 201, await response.clone().text())
  }

  async published() {
    const headers = { Accept: 'application/json', Authorization: `Bearer ${this.token('admin', 600, ADMIN)}` }
    const response = await fetch(`${this.plain}/channels/default/demo/events`, { headers })
    return (await response.json()).events.map(event => event.data)
  }

  /** A page that posted its token once, and has its cookie since. */
  async loggedIn(origin) {
    const page = await openPage(this.browser, origin)
    const status = await page.evaluate(async (url, token) => {
      const answer = await fetch(url, {
        method: 'POST', credentials: 'include', headers: { Authorization: `Bearer ${token}` }, body: JSON.stringify({ as: 'cookie' }),
      })
      return answer.status
    }, `${this.channel}/tickets`, this.token('42', 600))
    assert.equal(status, 204)
    await page.evaluate(listen, `${this.channel}/events?${COOKIE}`)
    await until(`${origin} reads`, async () => (await look(page)).opens === 1)
    return page
  }
}

/**
 * What a page of a foreign origin tries. Each gives the address that it asks, and what it sees of the answer. Those that leave the page do it
 * after the call has returned: the answer to a call may never come from a document that is being replaced.
 */
const ATTACKS = {
  eventsource: { path: `events?${COOKIE}`, run: listen },
  'eventsource without asking for the cookie': { path: 'events', run: listen },
  image: { path: `stats?${COOKIE}`, run: url => { new Image().src = url } },
  'fetch without CORS': {
    path: `events?${COOKIE}&from=earliest`,
    run: url => fetch(url, { mode: 'no-cors', credentials: 'include', headers: { Accept: 'application/json' } }).catch(() => {}),
  },
  'fetch with CORS': { path: `stats?${COOKIE}`, run: url => fetch(url, { credentials: 'include' }).catch(() => {}) },
  'fetch of a ticket': {
    path: `tickets?${COOKIE}`, run: url => fetch(url, { method: 'POST', credentials: 'include', mode: 'no-cors', body: '{}' }).catch(() => {}),
  },
  'fetch that publishes': {
    path: `events?${COOKIE}&topic=user.42`,
    run: url => fetch(url, { method: 'POST', credentials: 'include', mode: 'no-cors', body: 'forged' }).catch(() => {}),
  },
  form: {
    path: `events?${COOKIE}&topic=user.42&type=form`,
    run: url => {
      const form = Object.assign(document.createElement('form'), { method: 'post', action: url, enctype: 'text/plain' })
      document.body.append(form)
      setTimeout(() => form.submit())
    },
  },
  navigation: { path: `stats?${COOKIE}&bucket=1h`, run: url => { setTimeout(() => { location.href = url }) } },
}

/**
 * Gives a function for the answers of the broker to a page, {status, cookie?}, also of those that the page may not read. Chromium tells
 * whether the request had a cookie.
 */
async function watch(page, kind, channel) {
  if (kind !== 'chromium') {
    const answers = []
    page.on('response', response => response.url().startsWith(channel) && answers.push({ status: response.status() }))
    return () => answers
  }
  // What CORS hides from a page is hidden from the event `response`, too.
  const cdp = await page.createCDPSession()
  const requests = new Map()
  const note = ({ requestId }, what) => requests.set(requestId, { ...requests.get(requestId), ...what })
  cdp.on('Network.requestWillBeSent', event => note(event, { url: event.request.url, method: event.request.method }))
  cdp.on('Network.requestWillBeSentExtraInfo', event => note(event, { cookie: /__Host-eventcast=evt_/.test(event.headers.cookie ?? event.headers.Cookie) }))
  cdp.on('Network.responseReceivedExtraInfo', event => note(event, { status: event.statusCode }))
  await cdp.send('Network.enable')
  return () => [...requests.values()].filter(({ url, status }) => url?.startsWith(channel) && status !== undefined)
}

async function attack(sites, kind, origin, hasCookie) {
  for (const [name, { path, run }] of Object.entries(ATTACKS)) {
    const page = await openPage(sites.browser, origin)
    const answers = await watch(page, kind, sites.channel)
    await page.evaluate(run, `${sites.channel}/${path}`)
    await until(`${name} of ${origin} is answered`, () => answers().length > 0)
    for (const { status, cookie } of answers()) {
      assert.ok(status === 401 || status === 403, `${name} of ${origin}: ${status}`)
      if (cookie !== undefined) assert.equal(cookie, hasCookie(name), `${name} of ${origin}: cookie`)
    }
    if (name.startsWith('eventsource')) {
      const seen = await until(`${name} of ${origin} is refused`, async () => {
        const now = await look(page)
        return now.closed && now
      })
      assert.deepEqual([seen.opens, seen.data], [0, []])
    }
    await Promise.race([page.close(), setTimeout(CLOSE_MS)])
  }
}

export default async function run({ browser, kind, args }) {
  const [port, plain, allowed, foreign, certificate, key, keyFile, name, audience] = args
  await servePages(Number(allowed), certificate, key)
  await servePages(Number(foreign), certificate, key)
  const sites = new Sites(browser, { port, plain, token: issuer(keyFile, name, audience) })
  const step = text => emit({ step: text })

  const page = await sites.loggedIn(`https://www.app.test:${allowed}`)
  await sites.publish('one')
  await until('the event arrives', async () => (await look(page)).data.length === 1)
  step('a page of the same site reads with a cookie')

  emit({ ask: 'restart' })
  await until('the stream is lost', async () => (await look(page)).errors > 0)
  await until('the broker is back', () => sites.publish('two').then(() => true, () => false))
  await until('the stream is back', async () => (await look(page)).opens >= 2)
  await until('the next event arrives', async () => (await look(page)).data.length >= 2)
  const seen = await look(page)
  assert.deepEqual([seen.data, seen.closed], [['one', 'two'], false])
  step('it resumes after a reconnect')

  const partner = await sites.loggedIn(`https://partner.test:${allowed}`)
  await sites.publish('three')
  await until('the event arrives there too', async () => (await look(partner)).data.includes('three'))
  step('an allowed page of another site reads with a cookie of its own')

  // The browser adds the cookie to what this page asks: it is the broker that refuses.
  await attack(sites, kind, `https://evil.app.test:${foreign}`, () => true)
  step('a foreign page of the same site gets nothing')
  await attack(sites, kind, `https://evil.test:${foreign}`, name => name === 'navigation')
  step('a foreign page of another site gets nothing')
  assert.deepEqual(await sites.published(), ['one', 'two', 'three'])
  await until('the first page still reads', async () => (await look(page)).data.includes('three'))
  step('nothing was published, and the first page still reads')
}
