// The chat of docs/examples: see window.mjs.
import assert from 'node:assert/strict'
import { killBroker, post, take, Window } from './window.mjs'

const HOSTILE = '<img src=x onerror="alert(1)">'
const MESSAGES = '#messages li'

export default async function run({ browser, args: [url, , data, picture] }) {
  const said = []
  const windows = []

  async function join(name, room) {
    const window = await Window.open(browser, url)
    await window.fill('#join [name=name]', name)
    await window.fill('#join [name=room]', room)
    await window.press('#join button')
    await window.shows('#state', `In ${room}`)
    return window
  }

  async function write(window, name, text) {
    said.push(name + text)
    await window.submit('#write', 'text', text)
  }

  /** Both have the newest messages in the same order, none twice, and none waits. */
  async function bothHaveEverything() {
    for (const window of windows) await window.shows(MESSAGES, ...said)
    for (const window of windows) await window.shows('.pending')
  }

  await take({
    async 'a newcomer sees the last messages'() {
      for (let n = 1; n <= 25; n += 1) {
        await post(`${url}/messages`, { id: `before-${n}`, room: 'lobby', name: 'Cleo', text: `Message ${n}` })
        if (n > 5) said.push(`CleoMessage ${n}`)
      }
      windows.push(await join('Ann', 'lobby'), await join('Bob', 'lobby'))
      await bothHaveEverything()
    },

    async 'a message reaches its room and no other, and stays text'() {
      const other = await join('Dan', 'other')
      await write(windows[0], 'Ann', HOSTILE)
      await bothHaveEverything()
      await write(other, 'Dan', 'Anybody here?')
      said.pop()
      await other.shows(MESSAGES, 'DanAnybody here?')
      await bothHaveEverything()
      for (const { page } of windows) assert.equal(await page.$$eval('img', images => images.length), 0)
      await other.page.close()
    },

    async 'a message that is sent twice is there once'() {
      const message = { id: 'twice', room: 'lobby', name: 'Cleo', text: 'Was that stored?' }
      for (let n = 0; n < 2; n += 1) await post(`${url}/messages`, message)
      said.push('CleoWas that stored?')
      await write(windows[1], 'Bob', 'Once.')
      await bothHaveEverything()
    },

    async 'the broker is killed while one writes and the other is offline'() {
      const [ann, bob] = windows
      await ann.page.setOfflineMode(true) // ends no connection that is there, and lets none be made
      killBroker(data)
      await write(bob, 'Bob', 'Does this arrive?')
      await bob.shows(MESSAGES, ...said)
      await write(bob, 'Bob', 'Ann is offline. She will see it later.')
      await bob.shows(MESSAGES, ...said)
      await ann.shows('#state', 'Connecting…')
      await ann.page.setOfflineMode(false)
      await bothHaveEverything()
      await write(ann, 'Ann', 'I have read it all!')
      await bothHaveEverything()
      await ann.picture(picture)
    },
  })
}
