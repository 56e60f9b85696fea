// The jobs of docs/examples: see window.mjs.
import assert from 'node:assert/strict'
import { eventually, kill, killBroker, take, Window } from './window.mjs'

export default async function run({ browser, args: [url, , data, picture] }) {
  const window = await Window.open(browser, url)
  let other

  const lines = async seen => (await seen.texts('#log li')).length
  const begins = seen => eventually(async () => (await lines(seen)) >= 2 && (await seen.texts('#percent'))[0] !== '0 %')

  async function start() {
    const before = window.page.url()
    await window.press('#start')
    await eventually(() => window.page.url() !== before)
  }

  await take({
    async 'a job shows its progress and its log'() {
      await start()
      await begins(window)
      await window.shows('#job-state', 'Running')
    },

    async 'a second tab sees the same'() {
      other = await Window.open(browser, window.page.url())
      await begins(other)
      await other.picture(picture)
    },

    async 'the broker is killed, and the job is done in both tabs'() {
      killBroker(data)
      for (const tab of [window, other]) {
        await tab.shows('#job-state', 'Done')
        await tab.shows('#percent', '100 %')
      }
      const log = await window.texts('#log li')
      assert.deepEqual([log.length, new Set(log).size, log.at(-1)], [8, 8, 'Upload …'])
      await other.shows('#log li', ...log)
    },

    async 'a reload after the end shows all of it'() {
      const log = await window.texts('#log li')
      await window.page.reload()
      await window.shows('#job-state', 'Done')
      await window.shows('#log li', ...log)
    },

    async 'a worker that is killed is told of'() {
      await start()
      await kill(data, 'worker.mjs')
      await window.shows('#job-state', 'Failed (SIGKILL)')
      const states = async () => (await other.texts('#jobs li')).map(line => line.split(' ').at(-1))
      await eventually(async () => (await states()).join() === 'Failed,Done')
    },
  })
}
