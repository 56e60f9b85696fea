// Drives the page of a broker whose channel is closed; run by browser.mjs as `access.mjs BROKER KEY_FILE ISSUER AUDIENCE`. JSON lines on
// stdout: those of driver.mjs.
import assert from 'node:assert/strict'
import { setTimeout } from 'node:timers/promises'
import { Driver, id, runSteps } from './driver.mjs'
import { ADMIN, issuer } from './token.mjs'

const CHANNEL = 'default/demo'

class Client extends Driver {
  /** Requests of the page, and every token that was used. */
  requests = []
  tokens = []

  constructor(page, broker, token) {
    super(page, broker, broker)
    this.token = token
    page.on('request', request => this.requests.push({ method: request.method(), url: request.url(), headers: request.headers() }))
  }

  /** Uses a token of the user 42. */
  async use(seconds) {
    const token = this.token('42', seconds)
    this.tokens.push(token)
    await this.fill(id('access-token'), token)
    await this.press('access-use')
  }

  async forget() {
    await this.press('access-forget')
    await this.until(seen => seen.panes[0].state === 'closed' && seen.access.client === 'anonymous')
  }

  /** Publishes as the administrator. */
  async publishTo(topic, text) {
    const response = await fetch(`${this.broker}/channels/${CHANNEL}/events?topic=${topic}`, {
      method: 'POST', body: text, headers: { Authorization: `Bearer ${this.token('admin', 600, ADMIN)}` },
    })
    assert.equal(response.status, 201, await response.clone().text())
  }

  /** Requests for streams and for tickets since `from`. */
  asked(from) {
    const since = this.requests.slice(from)
    return {
      streams: since.filter(request => /\/events\?.*heartbeat=event/.test(request.url)),
      tickets: since.filter(request => request.url.endsWith('/tickets')),
      renewals: since.filter(request => request.url.includes('/renewals/')),
    }
  }
}

const texts = seen => seen.panes[0].rows.map(row => row.data).reverse()
const types = seen => seen.panes[0].control.map(row => row.type)

/** A stream that began with a token of six seconds outlives it, because there is a fresh token when its notice comes. */
async function renewed(d, ticket) {
  await d.use(6)
  await d.until(seen => seen.panes[0].state === 'open')
  if (ticket) await d.press('access-ticket')
  const before = await d.until(seen => seen.panes[0].state === 'open' && seen.panes[0].cursor !== '–' && seen.access.ticket === ticket)
  const from = d.requests.length
  await d.use(600)
  await d.until(seen => seen.access.ends === 'in 10 min')
  const seen = await d.until(now => /^in (9\.\d|10) min$/.test(now.panes[0].until) && types(now).includes('eventcast.expiring'))
  assert.equal(seen.panes[0].detail, '')
  await setTimeout(2500)
  await d.publishTo('user.42', 'after the first token')
  const after = await d.until(now => texts(now).at(-1) === 'after the first token')
  assert.deepEqual([after.panes[0].state, after.panes[0].reconnects], ['open', before.panes[0].reconnects])
  const { streams, tickets, renewals } = d.asked(from)
  assert.deepEqual([streams.length, tickets.length, renewals.length], [0, 0, 1])
  assert.equal(renewals[0].headers.authorization, `Bearer ${d.tokens.at(-1)}`)
}

const STEPS = {
  async 'without a token everything is refused, and the page says why'(d) {
    const seen = await d.until(now => now.panes[0].state === 'closed' && now.access.client === 'anonymous' && now.notice !== '')
    assert.match(seen.panes[0].detail, /^401 Credential required: Reading this channel requires a credential/)
    assert.match(seen.notice, /requires a credential/)
    assert.deepEqual([seen.facts.state, seen.access.reads, seen.access.publishes], ['no access', 'nothing', 'nothing'])
  },

  async 'a token that is none is refused, and the page says why'(d) {
    await d.fill(id('access-token'), 'nonsense')
    await d.press('access-use')
    const seen = await d.until(now => now.access.problem !== '' && /Credential not accepted/.test(now.panes[0].detail))
    assert.match(seen.access.problem, /^Credential not accepted: /)
    await d.forget()
  },

  async 'a token opens the stream of its user'(d) {
    await d.use(600)
    const { access, facts } = await d.until(now => now.panes[0].state === 'open' && now.notice === '' && now.facts.state === 'live')
    assert.equal(access.client, '42 of https://issuer.example/')
    assert.deepEqual([access.reads, access.publishes, access.ends], ['user.42 and broadcasts', 'user.42', 'in 10 min'])
    assert.deepEqual([access.field, access.problem, facts.events], ['', '', '–'])
    for (const [topic, text] of [['user.42', 'one'], ['user.43', 'of another'], ['user.42', 'two']]) await d.publishTo(topic, text)
    assert.deepEqual(texts(await d.until(now => now.panes[0].count === 2)), ['one', 'two'])
  },

  async 'every request has the token, and the curl command has its name'(d) {
    const cursor = await d.send({ target: 'user', user: '42', data: 'three' })
    const { curl } = await d.until(now => now.panes[0].cursor === cursor)
    assert.match(curl, /-H "Authorization: Bearer \$TOKEN"/)
    await d.fill(id('send-user'), '43')
    await d.press('send')
    const { sent } = await d.until(now => now.sent?.tone.includes('bad'))
    assert.match(sent.text, /user\.43.*status 403/s)
    await d.press('history-run')
    const { history } = await d.until(now => now.history.rows.length === 3)
    assert.deepEqual(history.data, ['three', 'two', 'one'])
    await d.page.select(id('stats-range'), 'all')
    await d.until(now => now.stats.total === '3')
  },

  async 'the token is kept for this tab alone'(d) {
    await d.page.reload()
    await d.until(now => now.panes[0].state === 'open' && now.access.client === '42 of https://issuer.example/')
    const other = await d.page.browser().newPage()
    await other.goto(`${d.broker}/`, { waitUntil: 'load' })
    await other.waitForFunction(() => document.getElementById('access-client').textContent === 'anonymous')
    await other.close()
    await d.page.bringToFront()
  },

  async 'a stream may carry a ticket'(d) {
    const from = d.requests.length
    await d.press('access-ticket')
    await d.until(now => now.access.ticket && now.panes[0].state === 'open' && /^in (59\.\d|60|9\.\d|10) min$|^in 1 h$/.test(now.panes[0].until))
    await d.publishTo('user.42', 'with a ticket')
    await d.until(now => texts(now).at(-1) === 'with a ticket')
    const { streams: [stream], tickets } = d.asked(from)
    assert.match(new URL(stream.url).searchParams.get('ticket'), /^evt_/)
    assert.equal(stream.headers.authorization, undefined)
    assert.equal(tickets.length, 1)
    await d.press('pane-disconnect', 0)
    await d.until(now => now.panes[0].state === 'closed')
    await d.press('pane-connect', 0)
    await d.until(now => now.panes[0].state === 'open')
    assert.equal(d.asked(from).tickets.length, 1, 'the ticket is good for the reconnect too')
    await d.press('access-ticket')
    await d.forget()
  },

  async 'a renewal keeps the stream'(d) {
    await renewed(d, false)
    await d.forget()
  },

  async 'a renewal keeps the stream of a ticket'(d) {
    await renewed(d, true)
    await d.press('access-ticket')
    await d.forget()
  },

  async 'a stream whose token ends says so before and after'(d) {
    await d.use(4)
    await d.until(now => now.panes[0].state === 'open')
    const before = await d.until(now => now.panes[0].detail.startsWith('The grant of this stream ends in'))
    assert.match(before.panes[0].detail, /ends in [01] s\. Its token ends too: use a fresh one to go on\.$/)
    const ended = await d.until(now => now.panes[0].state === 'closed' && now.access.problem !== '')
    const closing = ended.panes[0].control.find(row => row.type === 'eventcast.closing')
    assert.match(closing.data, /^The broker ends this stream: the grant has ended/)
    assert.match(ended.panes[0].detail, /^401 Credential not accepted: .*expired/)
    assert.match(ended.access.problem, /expired/)
    await d.use(600)
    await d.until(now => now.panes[0].state === 'open' && now.access.problem === '')
  },

  async 'no token was in an address, in the document or in the log'(d) {
    const text = await d.page.evaluate(() => document.documentElement.outerHTML + location.href + document.cookie)
    for (const token of d.tokens) {
      assert.ok(!text.includes(token), 'in the document')
      assert.ok(!d.requests.some(request => request.url.includes(token)), 'in an address')
      assert.ok(!d.said.some(line => line.includes(token)), 'in the log')
    }
  },
}

export default async function run({ browser, args: [broker, keyFile, name, audience] }) {
  await runSteps(new Client(await browser.newPage(), broker, issuer(keyFile, name, audience)), STEPS)
}
