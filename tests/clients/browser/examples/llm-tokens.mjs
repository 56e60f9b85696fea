// The answers of docs/examples: see window.mjs.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { eventually, killBroker, take, Window } from './window.mjs'

const ANSWER = readFileSync(new URL('../../../../docs/examples/llm-tokens/answer.txt', import.meta.url), 'utf8')
const QUESTION = '<b>What</b> survives?'
const WHOLE = `You asked: ${QUESTION}\n\n${ANSWER}`

export default async function run({ browser, args: [url, , data, picture] }) {
  const window = await Window.open(browser, url)
  const text = async () => (await window.texts('#answer'))[0] ?? ''

  /** Waits until more than this can be read, while the answer is being written. */
  async function grows(length) {
    await eventually(async () => (await text()).length > length)
    const seen = await text()
    assert.ok(WHOLE.startsWith(seen) && seen.length < WHOLE.length, seen)
    return seen.length
  }

  async function put(question) {
    await window.fill('#ask [name=text]', question)
    await window.press('#ask button')
    await window.shows('#state', 'Writing…')
  }

  await take({
    async 'words come as they are generated'() {
      await put(QUESTION)
      const seen = await grows(20)
      await grows(seen)
    },

    async 'a page that is reloaded has all words again'() {
      const before = (await text()).length
      await window.page.reload()
      await grows(before)
    },

    async 'the broker is killed in the middle'() {
      assert.ok((await text()).length < WHOLE.length)
      killBroker(data)
      await window.shows('#state', 'Complete')
      await window.shows('#answer', WHOLE)
      await window.picture(picture)
    },

    async 'another window reads it later'() {
      const other = await Window.open(browser, window.page.url())
      await other.shows('#answer', WHOLE)
      await other.shows('#state', 'Complete')
      await other.page.close()
    },

    async 'an answer is stopped, and stays so'() {
      await put(QUESTION)
      await grows(20)
      await window.press('#stop')
      await window.shows('#state', 'Stopped')
      const stopped = await text()
      assert.ok(WHOLE.startsWith(stopped) && stopped.length < WHOLE.length, stopped)
      await window.page.reload()
      await window.shows('#state', 'Stopped')
      await window.shows('#answer', stopped)
    },
  })
}
