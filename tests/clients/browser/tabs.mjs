// Tabs that share one stream of the JavaScript client; run by browser.mjs as `tabs.mjs BROKER`. The broker serves default/demo, and its
// page. JSON lines on stdout: those of driver.mjs.
import assert from 'node:assert/strict'
import { Channel, eventually, Tab, take } from './tab.mjs'

export default async function run({ browser, kind, args: [broker] }) {
  const channel = new Channel(broker, 'default/demo')
  let tabs = []
  let published = []

  async function open() {
    const tab = await Tab.open(browser, broker)
    await tab.subscribe(channel.path, { share: true, topics: ['user.42'] })
    await tab.until(seen => seen.state === 'open')
    // what every tab gets that is there now
    tab.from = published.length
    tabs.push(tab)
    return tab
  }

  async function publish(count) {
    for (let n = 0; n < count; n++) {
      const data = `event ${published.length}`
      await channel.publish(data, 'topic=user.42')
      published.push(data)
    }
  }

  /** Every tab has everything since it opened, in order, once. */
  async function everyoneHasEverything() {
    for (const tab of tabs) {
      const expected = published.slice(tab.from)
      const { events, gaps } = await tab.until(seen => seen.events.length >= expected.length)
      assert.deepEqual(events, expected)
      assert.deepEqual([gaps, tab.errors], [[], []])
    }
  }

  const streams = count => eventually(async () => (await channel.subscribers()) === count)

  /** The tab that holds the lock of the stream. */
  async function leader() {
    let found
    await eventually(async () => {
      const held = await tabs[0].page.evaluate(async () => (await navigator.locks.query()).held.find(lock => lock.name.startsWith('eventcast'))?.clientId)
      const clients = await Promise.all(tabs.map(async tab => (await tab.look()).client))
      found = tabs[clients.indexOf(held)]
      return found !== undefined
    })
    return found
  }

  async function withoutLeader() {
    const closed = await leader()
    tabs = tabs.filter(tab => tab !== closed)
    return closed
  }

  const steps = {
    async 'three tabs have one stream, and each gets everything once'() {
      for (let tab = 0; tab < 3; tab++) await open()
      await streams(1)
      await publish(20)
      await everyoneHasEverything()
    },

    async 'a leader is closed while events come'() {
      const closed = await withoutLeader()
      const publishing = publish(60)
      await closed.page.close()
      await publishing
      await everyoneHasEverything()
      await streams(1)
      await publish(3)
      await everyoneHasEverything()
    },

    async 'another filter has a stream of its own'() {
      const other = await Tab.open(browser, broker)
      await other.subscribe(channel.path, { share: true, topics: ['user.43'] })
      await other.until(seen => seen.state === 'open')
      await streams(2)
      await publish(1)
      await channel.publish('for 43', 'topic=user.43')
      await other.until(seen => seen.events.length > 0)
      assert.deepEqual((await other.look()).events, ['for 43'])
      await other.page.close()
      await everyoneHasEverything()
      await streams(1)
    },

    async 'a tab that was remembered catches up, and shares again'() {
      const tab = await Tab.open(browser, broker)
      const options = { share: true, topics: ['user.42'], remember: true }
      await tab.subscribe(channel.path, options)
      await tab.until(seen => seen.state === 'open')
      tab.from = published.length
      await publish(2)
      await tab.until(seen => seen.events.length === 2)
      await tab.page.evaluate(() => subscription.close())
      // more than the leader keeps, so that the tab has to read them itself
      await publish(1100)
      await tab.reload()
      await tab.subscribe(channel.path, options)
      await tab.until(seen => seen.events.length === 1100)
      await publish(1)
      const { events } = await tab.until(seen => seen.events.length === 1101)
      assert.deepEqual(events, published.slice(tab.from + 2))
      await streams(1)
      await tab.page.close()
      await everyoneHasEverything()
    },

    async 'a tab shares again where no event passes its filter'() {
      await streams(1)
      const noise = setInterval(() => channel.publish('for 45', 'topic=user.45').catch(() => {}), 100)
      const quiet = []
      async function openQuiet() {
        const tab = await Tab.open(browser, broker)
        await tab.subscribe(channel.path, { share: true, topics: ['user.44'], from: 'last:1' })
        quiet.push(tab)
        // heartbeats move its cursor to where another stream never stops
        const { cursor } = await tab.until(seen => seen.cursor !== '')
        await tab.until(seen => seen.cursor !== cursor)
        await streams(2)
      }
      await openQuiet()
      await openQuiet()
      await channel.publish('one', 'topic=user.44')
      for (const tab of quiet) await tab.until(seen => seen.events.length > 0)
      await openQuiet()
      await channel.publish('two', 'topic=user.44')
      for (const tab of quiet) assert.deepEqual((await tab.until(seen => seen.events.length > 1)).events, ['one', 'two'])
      clearInterval(noise)
      for (const tab of quiet) await tab.page.close()
      await everyoneHasEverything()
    },
  }

  steps['a leader that hangs is replaced, and goes on once it is back'] = async () => {
    await open()
    const hangs = await leader()
    const awake = tabs.filter(tab => tab !== hangs)
    await awake[0].page.bringToFront()
    let isBack = false
    const back = hangs.page.evaluate(() => {
      const end = Date.now() + 20_000
      while (Date.now() < end);
    }).then(() => { isBack = true })
    tabs = awake
    await publish(10)
    await everyoneHasEverything()
    assert.ok(!isBack, 'the others waited for it')
    await back
    tabs = [...awake, hangs]
    await publish(3)
    await everyoneHasEverything()
    await streams(1)
  }

  if (kind === 'chromium') {
    steps['a frozen leader is replaced, and goes on once it wakes up'] = async () => {
      await open()
      const frozen = await leader()
      const awake = tabs.filter(tab => tab !== frozen)
      await awake[0].page.bringToFront()
      const session = await frozen.page.createCDPSession()
      await session.send('Page.setWebLifecycleState', { state: 'frozen' })
      tabs = awake
      await publish(10)
      await everyoneHasEverything()
      await session.send('Page.setWebLifecycleState', { state: 'active' })
      tabs = [...awake, frozen]
      await publish(3)
      await everyoneHasEverything()
      assert.equal((await frozen.look()).freezes, 1)
      await streams(1)
    }
  }

  await take(steps)
}
