// Drives the page of the broker; run by browser.mjs as `page.mjs BROKER OTHER`: the page is of BROKER, and OTHER is another
// broker on the same bus. Both serve default/demo and default/small, which keeps 20 events.
//
// JSON lines on stdout: those of driver.mjs, and {"ask": "kill"} and {"ask": "restart"} for what only the test can do to BROKER.
import assert from 'node:assert/strict'
import { Driver, emit, id, runSteps } from './driver.mjs'

const HOSTILE = '<img src=x onerror="window.hostile = 1"><script>window.hostile = 2</script>\n&amp;'

const texts = pane => pane.rows.map(row => row.data).reverse()
const unique = list => new Set(list).size === list.length

const STEPS = {
  async 'the page loads'(d) {
    const { panes } = await d.until(seen => seen.channels.length === 2 && seen.panes[0].state === 'open' && seen.facts.state === 'live')
    assert.equal(panes.length, 1)
  },

  async 'a channel is picked'(d) {
    const { facts } = await d.channel('default/small')
    assert.match(facts.kept, /20 events/)
    await d.channel('default/demo')
    await d.page.reload()
    await d.until(seen => seen.hash === '#default/demo' && seen.panes[0].state === 'open')
  },

  async 'subscribers are added'(d) {
    for (let pane = 1; pane < 4; pane += 1) await d.press('add-pane')
    assert.equal((await d.until(seen => seen.panes.length === 4)).full, true)
    await d.press('pane-close', 3)
    assert.equal((await d.until(seen => seen.panes.length === 3)).full, false)
    for (const [pane, user] of ['alice', 'alice', 'bob'].entries()) await d.filter(pane, 'user', user)
    await d.until(seen => seen.panes.every(pane => pane.state === 'open' && pane.cursor !== '–'))
  },

  async 'a broadcast reaches everyone and moves the cursor'(d) {
    const cursor = await d.send({ data: 'for everyone' })
    const { curl } = await d.until(seen => seen.panes.every(pane => pane.cursor === cursor && pane.count === 1))
    assert.match(curl, /curl -d 'for everyone'/)
    await d.until(seen => seen.facts.last === cursor)
  },

  async 'an event for a user reaches all panes of that user and no other'(d) {
    await d.send({ target: 'user', user: 'alice', data: 'for alice' })
    const after = await d.send({ data: 'after' })
    const { panes } = await d.until(seen => seen.panes.every(pane => pane.cursor === after))
    const expected = [['for everyone', 'for alice', 'after'], ['for everyone', 'for alice', 'after'], ['for everyone', 'after']]
    assert.deepEqual(panes.map(texts), expected)
    assert.deepEqual(panes.map(pane => pane.count), [3, 3, 2])
  },

  async 'an event has a type'(d) {
    const cursor = await d.send({ type: 'größe.größer', data: '{"size": 7}' })
    const { panes } = await d.until(seen => seen.panes.every(pane => pane.cursor === cursor))
    assert.deepEqual(panes[0].rows[0], { type: 'größe.größer', cursor, data: '{"size": 7}' })
  },

  async 'hostile data stays text'(d) {
    const cursor = await d.send({ type: '<b>bold</b>', data: HOSTILE })
    const { panes, strangers, hostile } = await d.until(seen => seen.panes.every(pane => pane.cursor === cursor))
    assert.deepEqual(panes[2].rows[0], { type: '<b>bold</b>', cursor, data: HOSTILE })
    assert.deepEqual([strangers, hostile], [0, null])
  },

  async 'what was missed while disconnected comes once'(d) {
    await d.press('pane-disconnect', 0)
    const closed = await d.until(seen => seen.panes[0].state === 'closed')
    await d.publish('default/demo', ['missed 1', 'missed 2'])
    await d.until(seen => seen.panes[1].count === closed.panes[1].count + 2)
    const still = (await d.until(() => true)).panes[0]
    assert.deepEqual([still.cursor, still.count], [closed.panes[0].cursor, closed.panes[0].count])
    await d.press('pane-connect', 0)
    const { panes } = await d.until(seen => seen.panes[0].count === closed.panes[0].count + 2)
    assert.deepEqual(texts(panes[0]), texts(panes[1]))
    assert.equal(panes[0].state, 'open')
  },

  async 'a broker that was killed is found again'(d) {
    const before = await d.until(() => true)
    emit({ ask: 'kill' })
    await d.until(seen => seen.panes.every(pane => pane.state === 'reconnecting') && seen.notice !== '')
    const cursors = await d.publish('default/demo', ['while dead 1', 'while dead 2', 'while dead 3'])
    emit({ ask: 'restart' })
    const { panes } = await d.until(seen => seen.notice === '' && seen.panes.every(pane => pane.state === 'open' && pane.cursor === cursors[2]))
    for (const [index, pane] of panes.entries()) {
      assert.equal(pane.count, before.panes[index].count + 3)
      assert.equal(pane.reconnects, before.panes[index].reconnects + 1)
      assert.ok(unique(pane.rows.map(row => row.cursor)), JSON.stringify(pane.rows))
      assert.deepEqual(texts(pane).slice(-3), ['while dead 1', 'while dead 2', 'while dead 3'])
      assert.equal(pane.gaps, 0)
    }
  },

  async 'a gap is shown'(d) {
    await d.channel('default/small')
    const [cursor] = await d.publish('default/small', ['seen'])
    await d.until(seen => seen.panes[0].cursor === cursor)
    await d.press('pane-disconnect', 0)
    await d.until(seen => seen.panes[0].state === 'closed')
    const cursors = await d.publish('default/small', Array.from({ length: 60 }, (_, n) => `small ${n}`))
    await d.press('pane-connect', 0)
    const { panes: [pane] } = await d.until(seen => seen.panes[0].cursor === cursors.at(-1))
    assert.deepEqual([pane.gaps, pane.count], [1, 21])
    const gap = pane.control.find(row => row.type === 'eventcast.gap')
    assert.equal(gap.data, '40 events of the channel are not to be had: retention moved on.')
    assert.deepEqual(texts(pane), ['seen', ...Array.from({ length: 20 }, (_, n) => `small ${n + 40}`)])
  },

  async 'history lists and pages'(d) {
    await d.channel('default/demo')
    const total = await d.events('default/demo')
    await d.fill(id('history-limit'), '4')
    await d.press('history-run')
    const pages = [await d.until(seen => seen.history.rows.length === 4)]
    while (pages.at(-1).history.next) {
      await d.press('history-next')
      pages.push(await d.until(seen => seen.history.page === `Page ${pages.length + 1}`))
    }
    const cursors = pages.flatMap(page => page.history.rows)
    assert.equal(cursors.length, total)
    assert.ok(unique(cursors))
    assert.ok(pages.flatMap(page => page.history.data).includes(HOSTILE))
    await d.press('history-previous')
    const back = await d.until(seen => seen.history.page === `Page ${pages.length - 1}`)
    assert.deepEqual(back.history.rows, pages.at(-2).history.rows)
    await d.page.select(id('history-order'), 'asc')
    await d.fill(id('history-user'), 'alice')
    await d.page.click(id('history-broadcast'))
    await d.press('history-run')
    const alice = await d.until(seen => seen.history.rows.length === 1)
    assert.deepEqual(alice.history.data, ['for alice'])
    assert.equal(alice.strangers, 0)
  },

  async 'statistics count every event'(d) {
    await d.page.select(id('stats-range'), 'all')
    const total = await d.events('default/demo')
    const { stats } = await d.until(seen => Number(seen.stats.total) === total)
    assert.match(stats.types, /größe\.größer1/)
  },

  async 'a refusal is shown'(d) {
    await d.fill(id('send-type'), 'error')
    await d.press('send')
    const { sent } = await d.until(seen => seen.sent?.tone.includes('bad'))
    assert.match(sent.text, /type/)
    assert.match(sent.text, /status 4/)
    assert.equal(sent.invalid, 'true')
  },

  async 'demo traffic flows and stops'(d) {
    const before = (await d.until(() => true)).panes[0].count
    await d.press('demo-toggle')
    await d.until(seen => seen.panes[0].count > before)
    await d.press('demo-toggle')
  },
}

export default async function run({ browser, args: [broker, other] }) {
  await runSteps(new Driver(await browser.newPage(), broker, other), STEPS)
}
