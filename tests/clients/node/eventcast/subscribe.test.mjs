// subscribe() and the answers of servers: what it does after each, what it sends, and what the application gets.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import test from 'node:test'
import { subscribe } from '../../../../broker/clients/js/index.js'
import { cut, event, serve, stream, until } from './server.mjs'

/** A subscription that writes down what it tells. */
function follow(context, url, options = {}) {
  const seen = { events: [], gaps: [], states: [], cursors: [], control: [] }
  const subscription = subscribe(url, {
    onEvent: ({ data }) => { seen.events.push(data) },
    onGap: ({ gap }) => { seen.gaps.push(gap) },
    onState: ({ state, reason }) => { seen.states.push(reason ? `${state}: ${reason.message}` : state) },
    onCursor: cursor => { seen.cursors.push(cursor) },
    onControl: ({ type }) => { seen.control.push(type) },
    ...options,
  })
  context.after(() => subscription.close())
  return { subscription, seen }
}

const closed = subscription => until(() => subscription.state === 'closed')

test('a stream is continued where it was, without a loss or a repetition', async t => {
  const { url, requests } = await serve(t, stream(event('c1') + event('c2'), { end: true }), cut(event('c3') + 'data: half'), stream(event('c4')))
  const { seen } = follow(t, url)
  await until(() => seen.events.length === 4)
  assert.deepEqual(seen.events, ['data c1', 'data c2', 'data c3', 'data c4'])
  assert.deepEqual(requests.map(({ query }) => query.get('lastEventId')), [null, 'c2', 'c3'])
  assert.deepEqual(seen.states, ['connecting', 'open', 'reconnecting: the stream ended', 'open', 'reconnecting: the connection was lost', 'open'].flatMap(
    state => (state.startsWith('reconnecting') ? [state, state] : [state])))
  assert.deepEqual(seen.cursors, ['c1', 'c2', 'c3', 'c4'])
})

test('events without an id keep the cursor', async t => {
  const { url, requests } = await serve(t, stream(event('c1'), { end: true }), stream('data: no id\n\n', { end: true }), stream(event('c2')))
  const { seen } = follow(t, url)
  await until(() => seen.events.length === 3)
  assert.deepEqual(requests.map(({ query }) => query.get('lastEventId')), [null, 'c1', 'c1'])
})

test('a stream that gave events is continued without a growing delay', async t => {
  const { url, requests } = await serve(t, stream(event('c1'), { end: true }))
  follow(t, url)
  await until(() => requests.length > 14)
})

test('filters, start and cursor are in the query', async t => {
  const { url, requests } = await serve(t, stream(''))
  const { subscription } = follow(t, `${url}?heartbeat=event`, { topics: ['user.42', 'a b'], types: ['x.>'], from: 'last:3', cursor: 'c0' })
  await until(() => subscription.state === 'open')
  const [{ query, headers }] = requests
  assert.deepEqual([...query], [['heartbeat', 'event'], ['topic', 'user.42'], ['topic', 'a b'], ['type', 'x.>'], ['from', 'last:3'], ['lastEventId', 'c0']])
  assert.equal(headers.accept, 'text/event-stream')
  assert.equal(headers.authorization, undefined)
})

for (const status of [400, 403, 404, 410, 422]) {
  test(`${status} ends it`, async t => {
    const { url, requests } = await serve(t, status)
    const { subscription } = follow(t, url)
    await closed(subscription)
    assert.deepEqual([subscription.reason.status, subscription.reason.message, requests.length], [status, `${status} title ${status}: detail ${status}`, 1])
  })
}

test('204 ends it, and a loop over it, without an error', async t => {
  const { url, requests } = await serve(t, stream(event('c1'), { end: true }), 204)
  const seen = []
  for await (const { data } of subscribe(url)) seen.push(data)
  assert.deepEqual([seen, requests.length], [['data c1'], 2])
})

test('a refusal is thrown into the loop, after the events before it', async t => {
  const { url } = await serve(t, stream(event('c1'), { end: true }), 404)
  const seen = []
  await assert.rejects(async () => { for await (const { data } of subscribe(url)) seen.push(data) }, { name: 'StreamProblem', status: 404 })
  assert.deepEqual(seen, ['data c1'])
})

test('an answer that is no stream ends it', async t => {
  const { url } = await serve(t, (_, response) => response.end('hello'))
  const { subscription } = follow(t, url)
  await closed(subscription)
  assert.match(subscription.reason.message, /does the URL end in \/events/)
})

for (const status of [429, 500, 502, 503]) {
  test(`after ${status} it comes back when Retry-After says`, async t => {
    const times = []
    const refuse = (_, response) => {
      times.push(performance.now())
      response.writeHead(status, { 'retry-after': '1' }).end()
    }
    const { url } = await serve(t, refuse, (...all) => {
      times.push(performance.now())
      stream(event('c1'))(...all)
    })
    const { seen } = follow(t, url)
    await until(() => seen.events.length === 1)
    assert.ok(times[1] - times[0] >= 990, `${times[1] - times[0]} ms`)
  })
}

test('a server that is not there is asked again, later and later', async t => {
  const { url, server } = await serve(t, stream(event('c1'), { end: true }))
  const delays = []
  const { seen, subscription } = follow(t, url, {
    onState: ({ state, retryAt }) => { if (state === 'reconnecting' && retryAt !== null) delays.push(retryAt - Date.now()) },
  })
  await until(() => seen.events.length === 1)
  server.close()
  server.closeAllConnections()
  await until(() => delays.length > 6)
  subscription.close()
  // 10 ms as `retry:` said, doubled each time, with at most a quarter on top
  for (const [failure, delay] of delays.slice(1, 6).entries()) assert.ok(delay <= 10 * 2 ** (failure + 1) * 1.25 + 1, `${delays}`)
  assert.ok(delays[6] > 100, `${delays}`)
})

test('a broker that closes names the time to come back, and no backoff is put on top', async t => {
  const closing = 'event: eventcast.closing\ndata: {"reason":"draining","retry_ms":20}\nretry: 20\n\n'
  const { url, requests } = await serve(t, stream(closing, { end: true }))
  const { seen, subscription } = follow(t, url)
  await until(() => requests.length > 12)
  subscription.close()
  assert.ok(seen.states.includes('reconnecting: the broker closed the stream: draining'), seen.states)
  assert.ok(seen.control.includes('eventcast.closing'))
})

test('a refused token is asked for anew, once', async t => {
  const { url, requests } = await serve(t, 401, stream(event('c1'), { end: true }), stream(event('c2'), { end: true }), 401, 401)
  const asked = []
  const { subscription, seen } = follow(t, url, { token: async ({ reason }) => {
    asked.push(reason)
    return `token-${asked.length}`
  } })
  await closed(subscription)
  assert.deepEqual(seen.events, ['data c1', 'data c2'])
  assert.deepEqual(asked, ['connect', 'refused', 'connect', 'connect', 'refused'])
  assert.deepEqual(requests.map(({ headers }) => headers.authorization), asked.map((_, index) => `Bearer token-${index + 1}`))
  assert.equal(subscription.reason.status, 401)
})

test('a token that is given again after a refusal is not sent again', async t => {
  const { url, requests } = await serve(t, 401)
  const { subscription } = follow(t, url, { token: 'the same' })
  await closed(subscription)
  assert.equal(requests.length, 1)
})

test('a function that gives no token is asked again', async t => {
  const { url } = await serve(t, stream(event('c1')))
  let calls = 0
  const { seen } = follow(t, url, { remember: new Map(), token: async () => {
    calls += 1
    if (calls === 1) throw new Error('offline')
    return 'token'
  } })
  await until(() => seen.events.length === 1)
  assert.ok(seen.states.includes('reconnecting: the application gave no token: offline'), seen.states)
})

test('a ticket of the backend is used until it is refused', async t => {
  const { url, requests } = await serve(t, stream(event('c1'), { end: true }), stream(event('c2'), { end: true }), 401, stream(event('c3')))
  let taken = 0
  const { seen } = follow(t, url, { ticket: async () => `/channels/default/demo/events?ticket=evt_${taken += 1}` })
  await until(() => seen.events.length === 3)
  assert.deepEqual(requests.map(({ query }) => query.get('ticket')), ['evt_1', 'evt_1', 'evt_1', 'evt_2'])
})

test('a ticket that ends before its token is taken anew with the same token', async t => {
  let taken = 0
  const take = (_, response) => response.writeHead(201).end(JSON.stringify({ ticket: `evt_${taken += 1}`, expires_at: '2040-01-01T00:00:00Z' }))
  const { url, requests } = await serve(t, take, stream(event('c1'), { end: true }), 401, take, stream(event('c2')))
  const asked = []
  const { seen } = follow(t, url, { ticket: true, token: ({ reason }) => {
    asked.push(reason)
    return 'the same'
  } })
  await until(() => seen.events.length === 2)
  assert.deepEqual(asked, ['connect', 'connect'])
  assert.deepEqual(requests.map(({ method, path, query }) => `${method} ${path.split('/').at(-1)} ${query.get('ticket') ?? ''}`.trim()),
    ['POST tickets', 'GET events evt_1', 'GET events evt_1', 'POST tickets', 'GET events evt_2'])
  assert.deepEqual(requests.map(({ headers }) => headers.authorization ?? null), ['Bearer the same', null, null, 'Bearer the same', null])
})

test('a gap is told in its place, and the cursor of a quiet stream moves', async t => {
  const gap = 'event: eventcast.gap\ndata: {"requested":"c1","resumed_at":"c5","lost":4,"reason":"expired"}\nid: c5\n\n'
  const { url } = await serve(t, stream(`${event('c1')}${gap}${event('c6')}event: eventcast.cursor\ndata: {"cursor":"c9"}\nid: c9\n\n`))
  const seen = []
  const subscription = subscribe(url)
  for await (const one of subscription) {
    seen.push(one.gap ?? one.data)
    if (seen.length === 3) until(() => subscription.cursor === 'c9').then(() => subscription.close())
  }
  assert.deepEqual(seen, ['data c1', { requested: 'c1', resumedAt: 'c5', lost: 4, reason: 'expired' }, 'data c6'])
})

test('a silent stream is given up', async t => {
  const { url, requests } = await serve(t, stream(event('c1')))
  const { seen } = follow(t, url, { silence: 50 })
  await until(() => requests.length > 1)
  assert.ok(seen.states.includes('reconnecting: nothing was heard for 0.05 s'), seen.states)
})

test('a request without an answer is given up', async t => {
  const { url } = await serve(t, () => {}, stream(event('c1')))
  const { seen } = follow(t, url, { silence: 50 })
  await until(() => seen.events.length === 1)
  assert.ok(seen.states.includes('reconnecting: nothing was heard for 0.05 s'), seen.states)
})

test('heartbeats keep a stream', async t => {
  let beats = 0
  const { url, requests } = await serve(t, (_, response) => {
    stream('')(_, response)
    const timer = setInterval(() => {
      response.write(':\n')
      beats += 1
    }, 20)
    response.on('close', () => clearInterval(timer))
  })
  follow(t, url, { silence: 1000 })
  await until(() => beats > 75)
  assert.equal(requests.length, 1)
})

test('an event that is too large ends it, because it would come again', async t => {
  const { url, requests } = await serve(t, stream(event('c1', 'x'.repeat(5000))))
  const { subscription } = follow(t, url, { maxEventLength: 4000 })
  await closed(subscription)
  assert.match(subscription.reason.message, /larger than 4000/)
  assert.equal(requests.length, 1)
})

test('a loop that does not read stops the server, is not taken for silence, and loses nothing', async t => {
  const [count, data] = [20_000, 'x'.repeat(1000)]
  let [sent, stopped] = [0, false]
  const { url, requests } = await serve(t, async (request, response) => {
    stream('')(request, response)
    for (; sent < count; sent += 1) {
      if (response.write(event(`c${sent}`, data))) continue
      const timer = setTimeout(() => { stopped = true }, 200)
      await once(response, 'drain')
      clearTimeout(timer)
    }
    response.end()
  }, 204)
  const subscription = subscribe(url, { queue: 16, silence: 1000 })
  const events = subscription[Symbol.asyncIterator]()
  await events.next()
  await until(() => stopped)
  await new Promise(resolve => { setTimeout(resolve, 1500) })
  assert.ok(sent < count, `${sent} events are in memory`)
  let read = 1
  for (let next = await events.next(); !next.done; next = await events.next()) {
    assert.equal(next.value.cursor, `c${read}`)
    read += 1
  }
  assert.deepEqual([read, requests.length], [count, 2])
})

test('the next event waits for the promise of the last', async t => {
  const { url } = await serve(t, stream(event('c1') + event('c2')))
  const order = []
  const { subscription } = follow(t, url, { onEvent: async ({ data }) => {
    order.push(`begin ${data}`)
    await new Promise(resolve => { setTimeout(resolve, 20) })
    order.push(`end ${data}`)
  } })
  await until(() => subscription.cursor === 'c2')
  assert.deepEqual(order, ['begin data c1', 'end data c1', 'begin data c2', 'end data c2'])
})

test('what was dealt with is remembered, for each filter and each user', async t => {
  const { url, requests } = await serve(t, stream(event('c1') + event('c2') + event('c3')))
  const storage = { items: new Map(), getItem: key => storage.items.get(key) ?? null, setItem: (key, value) => storage.items.set(key, value) }
  const token = sub => `x.${Buffer.from(JSON.stringify({ iss: 'i', sub, exp: Math.random() })).toString('base64url')}.x`
  for await (const { data } of subscribe(url, { remember: storage, token: token('a') })) if (data === 'data c3') break
  const cursorOf = async options => {
    const { subscription } = follow(t, url, { remember: storage, ...options })
    await until(() => subscription.state === 'open')
    return requests.at(-1).query.get('lastEventId')
  }
  assert.equal(await cursorOf({ token: token('a') }), 'c2', 'the last one was left in the middle')
  assert.equal(await cursorOf({ token: token('b') }), null)
  assert.equal(await cursorOf({ token: token('a'), topics: ['x'] }), null)
  assert.equal(await cursorOf({}), null)
  assert.ok(![...storage.items.keys()].some(key => key.includes('x.')), 'no token is in a key')
})

test('pause keeps the place, resume continues', async t => {
  const { url, requests } = await serve(t, stream(event('c1')), stream(event('c2')))
  const { subscription, seen } = follow(t, url)
  await until(() => seen.events.length === 1)
  subscription.pause()
  assert.equal(subscription.state, 'paused')
  subscription.resume()
  await until(() => seen.events.length === 2)
  assert.deepEqual([requests.length, requests[1].query.get('lastEventId'), subscription.reconnects], [2, 'c1', 1])
})

test('what waits for the application when it pauses comes once', async t => {
  const { url, requests } = await serve(t, stream(event('c1') + event('c2') + event('c3')), stream(event('c4')))
  const { subscription, seen } = follow(t, url, { onEvent: async ({ data }) => {
    if (data === 'data c1') {
      subscription.pause()
      subscription.resume()
      await until(() => requests.length === 2)
    }
    seen.events.push(data)
  } })
  await until(() => seen.events.length === 4)
  assert.deepEqual(seen.events, ['data c1', 'data c2', 'data c3', 'data c4'])
  assert.equal(requests[1].query.get('lastEventId'), 'c3')
})

test('a refused subscription with callbacks can be resumed', async t => {
  const { url } = await serve(t, 401, stream(event('c1')))
  const { subscription, seen } = follow(t, url)
  await closed(subscription)
  subscription.resume()
  await until(() => seen.events.length === 1)
})

test('close, a signal and leaving the loop end the connection', async t => {
  const open = new Set()
  const { url } = await serve(t, (request, response) => {
    open.add(response)
    response.on('close', () => open.delete(response))
    stream(event('c1'))(request, response)
  })
  for await (const _ of subscribe(url)) break
  await until(() => open.size === 0)
  const controller = new AbortController()
  const loop = (async () => { for await (const _ of subscribe(url, { signal: controller.signal })) controller.abort() })()
  await loop
  await until(() => open.size === 0)
  assert.equal(subscribe(url, { signal: controller.signal }).state, 'connecting')
  const { subscription } = follow(t, url)
  await until(() => open.size === 1)
  subscription.close()
  subscription.resume()
  await until(() => open.size === 0)
  assert.equal(subscription.state, 'closed')
})

test('without locks a shared subscription has a stream of its own', { skip: globalThis.navigator?.locks !== undefined }, async t => {
  const { url, requests } = await serve(t, stream(event('c1')))
  const all = [follow(t, url, { share: true }), follow(t, url, { share: true })]
  await until(() => all.every(({ seen }) => seen.events.length === 1))
  assert.equal(requests.length, 2)
})

test('what cannot be meant is refused', () => {
  for (const options of [{ topic: ['x'] }, { ticket: true }, { transport: 'websocket' }, { share: true, cookie: true }, { remember: true, ticket: () => 't' },
    { share: true, transport: 'eventsource' }]) assert.throws(() => subscribe('http://localhost/events', options), TypeError, JSON.stringify(options))
})
