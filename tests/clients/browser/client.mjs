// The JavaScript client in a page; run by browser.mjs as `client.mjs BROKER KEY_FILE ISSUER AUDIENCE`. The broker serves its page;
// default/demo is open, default/small keeps 20 events, and default/closed is open to tokens. JSON lines on stdout: those of driver.mjs.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { openBlankPage } from './lib.mjs'
import { Channel, eventually, Tab, take } from './tab.mjs'
import { ADMIN, issuer } from './token.mjs'

const MODULES = ['scheduler', 'react', 'react-dom', 'react-dom/client']

/** The text of a module of React for production, from npm. */
function source(name) {
  const [folder] = name.split('/')
  return readFileSync(new URL(`node_modules/${folder}/cjs/${name.replace('/', '-')}.production.js`, import.meta.url), 'utf8')
}

/** Runs in the page: CommonJS modules, and the one that react.js imports. */
function loadReact(sources) {
  const modules = {}
  for (const [name, text] of Object.entries(sources)) {
    const module = { exports: {} }
    new Function('module', 'exports', 'require', text)(module, module.exports, wanted => modules[wanted])
    modules[name] = module.exports
  }
  window.React = modules.react
  window.createRoot = modules['react-dom/client'].createRoot
}

const REACT_PAGE = `<!doctype html><title>react</title><script type="importmap">{"imports": {"react":
  "data:text/javascript,export const {useEffect, useRef, useState} = window.React"}}</script><main></main>`

/** Runs in the page: a component that shows a channel in Strict Mode, where every effect begins twice. */
async function renderChannel(url) {
  const { useChannel } = await import('/client/react.js')
  const { createElement, StrictMode } = window.React
  window.called = []
  function List({ topic }) {
    const { events, gaps, state, resume } = useChannel(url, {
      topics: [topic], keep: 3, token: () => window.token, onEvent: ({ data }) => { window.called.push(data) }
    })
    window.resume = resume
    return createElement('ol', { 'data-state': state, 'data-gaps': gaps }, events.map(({ cursor, data }) => createElement('li', { key: cursor }, data)))
  }
  const root = window.createRoot(document.querySelector('main'))
  window.show = topic => root.render(createElement(StrictMode, null, topic && createElement(List, { topic })))
}

export default async function run({ browser, args: [broker, keyFile, name, audience] }) {
  const sign = issuer(keyFile, name, audience)
  const [demo, small] = ['demo', 'small'].map(channel => new Channel(broker, `default/${channel}`))
  const closed = new Channel(broker, 'default/closed', { authorization: `Bearer ${sign('admin', 600, ADMIN)}` })
  const forUser = data => closed.publish(data, 'topic=user.42')

  async function open(channel, options) {
    const tab = await Tab.open(browser, broker)
    await tab.subscribe(channel.path, options)
    return tab
  }

  async function close(tab) {
    assert.deepEqual(tab.errors, [])
    await tab.page.close()
  }

  /** A page with a component of React that shows a channel. */
  async function openReact(channel) {
    const page = await openBlankPage(browser, broker, REACT_PAGE)
    await page.evaluate(loadReact, Object.fromEntries(MODULES.map(module => [module, source(module)])))
    await page.evaluate(renderChannel, channel.path)
    const list = () => page.evaluate(() => [document.querySelector('ol')?.dataset.state, ...[...document.querySelectorAll('li')].map(item => item.textContent)])
    const shows = async (...wanted) => eventually(async () => JSON.stringify(await list()) === JSON.stringify(wanted))
    return { page, shows }
  }

  await take({
    async 'a reload continues where the page was, without a loss or a repetition'() {
      const tab = await open(demo, { remember: true })
      await tab.until(seen => seen.cursor !== '')
      const all = []
      const publish = async count => {
        for (let n = 0; n < count; n++) {
          all.push(`event ${all.length}`)
          await demo.publish(all.at(-1))
        }
      }
      await publish(5)
      await tab.until(seen => seen.events.length === 5)
      const publishing = publish(40)
      const before = await tab.until(seen => seen.events.length > 10)
      assert.deepEqual(before.events, all.slice(0, before.events.length))
      // what the page gets after this look is dealt with too
      await tab.page.evaluate(() => { window.onpagehide = () => sessionStorage.setItem('count', window.seen.events.length) })
      await tab.reload()
      const count = Number(await tab.page.evaluate(() => sessionStorage.getItem('count')))
      assert.ok(count >= before.events.length)
      await tab.subscribe(demo.path, { remember: true })
      await publishing
      const { events } = await tab.until(seen => seen.events.length >= all.length - count)
      assert.deepEqual(events, all.slice(count))
      await close(tab)
    },

    async 'a gap is told with the number of events'() {
      const tab = await open(small)
      await tab.until(seen => seen.cursor !== '')
      await small.publish('seen')
      await tab.until(seen => seen.events.length === 1)
      await tab.page.evaluate(() => subscription.pause())
      for (let n = 0; n < 30; n++) await small.publish(`small ${n}`)
      await tab.page.evaluate(() => subscription.resume())
      const { events, gaps: [gap], reconnects } = await tab.until(seen => seen.events.at(-1) === 'small 29')
      assert.deepEqual(events, ['seen', ...Array.from({ length: 20 }, (_, n) => `small ${n + 10}`)])
      assert.deepEqual([gap.lost, gap.reason, reconnects], [10, 'expired', 1])
      await close(tab)
    },

    async 'a refused token is asked for anew, and no token means the end'() {
      const tab = await open(closed, { tokens: { connect: [sign('42', -60)], refused: [sign('42', 600)] } })
      await tab.until(seen => seen.state === 'open')
      await forUser('for 42')
      const { events, reasons } = await tab.until(seen => seen.events.length === 1)
      assert.deepEqual([events, reasons], [['for 42'], ['connect', 'refused']])
      await close(tab)
      const stranger = await open(closed)
      const { states } = await stranger.until(seen => seen.state === 'closed')
      assert.match(states.at(-1), /^closed: 401 Credential required: /)
      await close(stranger)
    },

    async 'a grant that ends is renewed, and the stream goes on'() {
      const tab = await open(closed, { tokens: { connect: [sign('42', 6)], expiring: [sign('42', 600)] } })
      await tab.until(seen => seen.reasons.includes('expiring'))
      await eventually(() => tab.page.evaluate(() => subscription.grant.endsAt > Date.now() + 60_000))
      await new Promise(resolve => { setTimeout(resolve, 2500) })
      await forUser('after the first token')
      const { reasons, reconnects } = await tab.until(seen => seen.events.length === 1)
      assert.deepEqual([reasons, reconnects], [['connect', 'expiring'], 0])
      await close(tab)
    },

    async 'EventSource reads with a ticket, resumes, and is renewed'() {
      const tab = await open(closed, { transport: 'eventsource', types: ['note'], tokens: { connect: [sign('42', 6)], expiring: [sign('42', 600)] } })
      await tab.until(seen => seen.state === 'open' && seen.cursor !== '')
      await closed.publish('one', 'topic=user.42&type=note')
      await tab.until(seen => seen.events.length === 1)
      await tab.page.evaluate(() => subscription.pause())
      await closed.publish('two', 'topic=user.42&type=note')
      await tab.page.evaluate(() => subscription.resume())
      const { events } = await tab.until(seen => seen.events.length === 2)
      assert.deepEqual(events, ['note: one', 'note: two'])
      await eventually(() => tab.page.evaluate(() => subscription.grant.endsAt > Date.now() + 60_000))
      await close(tab)
      const stranger = await open(closed, { transport: 'eventsource' })
      const { states } = await stranger.until(seen => seen.state === 'closed')
      assert.match(states.at(-1), /^closed: 401/)
      await stranger.page.close() // Firefox takes its refusal for an error of the page
    },

    async 'EventSource loses nothing where the application is slow'() {
      const tab = await open(demo, { transport: 'eventsource', queue: 4, slow: 20 })
      await tab.until(seen => seen.cursor !== '')
      const all = Array.from({ length: 60 }, (_, n) => `slow ${n}`)
      for (const data of all) await demo.publish(data)
      const { events, states } = await tab.until(seen => seen.events.length >= all.length)
      assert.deepEqual(events, all)
      assert.ok(states.includes('reconnecting: the application is behind'), states)
      await close(tab)
    },

    async 'tabs of other users share no stream, those of one user do'() {
      const tabs = []
      for (const user of ['42', '42', '43']) {
        tabs.push(await open(closed, { share: true, tokens: { connect: [sign(user, 600)] } }))
        await tabs.at(-1).until(seen => seen.state === 'open')
      }
      await eventually(async () => (await closed.subscribers()) === 2)
      await forUser('for 42')
      await closed.publish('for 43', 'topic=user.43')
      await closed.publish('for all')
      const seen = await Promise.all(tabs.map(tab => tab.until(now => now.events.at(-1) === 'for all')))
      assert.deepEqual(seen.map(({ events }) => events), [['for 42', 'for all'], ['for 42', 'for all'], ['for 43', 'for all']])
      for (const tab of tabs) await close(tab)
    },

    async 'a leader that becomes another user leaves its tabs'() {
      const becomes = await open(closed, { share: true, tokens: { connect: [sign('52', 600), sign('53', 600)] } })
      await becomes.until(seen => seen.state === 'open')
      const stays = await open(closed, { share: true, tokens: { connect: [sign('52', 600)] } })
      await stays.until(seen => seen.state === 'open')
      await eventually(async () => (await closed.subscribers()) === 1)
      const { subscribers: [{ session }] } = await closed.manage('GET', 'subject=52')
      await closed.manage('DELETE', `session=${session}`)
      await eventually(async () => (await closed.subscribers()) === 2)
      for (const topic of ['topic=user.52', 'topic=user.53', '']) await closed.publish(`for ${topic}`, topic)
      const seen = await Promise.all([becomes, stays].map(tab => tab.until(now => now.events.at(-1) === 'for ')))
      assert.deepEqual(seen.map(({ events }) => events), [['for topic=user.53', 'for '], ['for topic=user.52', 'for ']])
      for (const tab of [becomes, stays]) await close(tab)
    },

    async 'a component of React shows a channel'() {
      const { page, shows } = await openReact(demo)
      await page.evaluate(() => window.show('one'))
      await shows('open')
      await eventually(async () => (await demo.subscribers()) === 1)
      for (const data of ['a', 'b', 'c', 'd']) await demo.publish(data, 'topic=one')
      await shows('open', 'b', 'c', 'd')
      await page.evaluate(() => window.show('two'))
      await shows('open')
      await demo.publish('e', 'topic=two')
      await shows('open', 'e')
      assert.deepEqual(await page.evaluate(() => window.called), ['a', 'b', 'c', 'd', 'e'])
      await page.evaluate(() => window.show(null))
      await eventually(async () => (await demo.subscribers()) === 0)
      await page.close()
    },
    async 'a component of React resumes a stream that was refused'() {
      const { page, shows } = await openReact(closed)
      await page.evaluate(() => window.show('user.42'))
      await shows('closed')
      await page.evaluate(token => { window.token = token }, sign('42', 600))
      await page.evaluate(() => window.resume())
      await shows('open')
      await eventually(async () => (await closed.subscribers()) === 1)
      await forUser('a')
      await shows('open', 'a')
      await page.close()
    },
  })
}
