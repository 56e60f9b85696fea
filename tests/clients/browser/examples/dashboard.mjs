// The dashboard of docs/examples: see window.mjs.
import assert from 'node:assert/strict'
import { eventually, killBroker, streams, take, Window } from './window.mjs'

export default async function run({ browser, args: [url, admin, data, picture] }) {
  const first = await Window.open(browser, url)
  let second

  const value = async (window, metric) => (await window.texts(`#${metric} output`))[0]

  /** Waits until a metric that changes with each request has done so `times`. */
  async function changes(window, times = 1) {
    for (let n = 0; n < times; n += 1) {
      const before = await value(window, 'requests')
      await fetch(url)
      await eventually(async () => (await value(window, 'requests')) !== before)
    }
  }

  await take({
    async 'values appear and change'() {
      await changes(first, 2)
      assert.equal(await value(first, 'deploys'), '–')
    },

    async 'a value that is published once is shown'() {
      await first.press('#deploy')
      await first.shows('#deploys output', '1')
    },

    async 'a newcomer has the newest value of each metric, also an old one'() {
      await changes(first, 5) // more events of other metrics than one
      second = await Window.open(browser, url)
      await second.shows('#deploys output', '1')
      await eventually(async () => !(await second.texts('output')).includes('–'))
      await changes(second)
      await first.picture(picture)
    },

    async 'tabs share one stream for each metric'() {
      await eventually(async () => (await streams(admin)) === 4)
    },

    async 'the broker is killed, and both go on'() {
      killBroker(data)
      for (const window of [first, second]) {
        await changes(window)
        await window.shows('.pending h1')
      }
      await first.press('#deploy')
      for (const window of [first, second]) await window.shows('#deploys output', '2')
    },
  })
}
