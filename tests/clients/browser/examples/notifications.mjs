// The notifications of docs/examples: see window.mjs.
import assert from 'node:assert/strict'
import { eventually, killBroker, streams, take, Window } from './window.mjs'

const LIST = '#list li'

export default async function run({ browser, args: [url, admin, data, picture] }) {
  // Two people with a browser each: cookies of their own.
  const contexts = { ann: await browser.createBrowserContext(), bob: await browser.createBrowserContext() }
  const [ann, bob] = [await Window.open(contexts.ann, url), await Window.open(contexts.bob, url)]
  let secondTab

  async function logIn(window, user, password = user) {
    await window.fill('#login [name=user]', user)
    await window.fill('#login [name=password]', password)
    await window.press('#login button')
  }

  async function send(window, to, text) {
    await window.page.select('#send [name=to]', to)
    await window.submit('#send', 'text', text)
  }

  await take({
    async 'a wrong password is refused'() {
      await logIn(ann, 'ann', 'bob')
      await ann.shows('#problem', 'Wrong user or password')
      await ann.shows('#inside')
    },

    async 'users get what is for them and what is for everyone'() {
      await logIn(ann, 'ann')
      await logIn(bob, 'bob')
      await ann.shows('#state', 'ann')
      await bob.shows('#state', 'bob')
      await send(ann, 'bob', 'Lunch?')
      await send(bob, 'ann', 'At noon.')
      await send(ann, '', '<b>Free soup</b>')
      await ann.shows(LIST, 'ann to everyone<b>Free soup</b>', 'bobAt noon.')
      await bob.shows(LIST, 'ann to everyone<b>Free soup</b>', 'annLunch?')
    },

    async 'tabs of a user share one stream'() {
      secondTab = await Window.open(contexts.ann, url)
      await secondTab.shows(LIST, ...(await ann.texts(LIST)))
      await send(bob, 'ann', 'In both tabs?')
      for (const tab of [ann, secondTab]) await tab.shows(LIST, 'bobIn both tabs?', 'ann to everyone<b>Free soup</b>', 'bobAt noon.')
      await eventually(async () => (await streams(admin)) === 2)
    },

    async 'the broker is killed, and nothing is lost or repeated'() {
      killBroker(data)
      await send(bob, 'ann', 'Still there?')
      for (const tab of [ann, secondTab]) {
        await tab.shows(LIST, 'bobStill there?', 'bobIn both tabs?', 'ann to everyone<b>Free soup</b>', 'bobAt noon.')
      }
      await ann.shows('#state', 'ann')
      await ann.picture(picture)
    },

    async 'a logout ends the streams in all tabs'() {
      await ann.press('#logout')
      for (const tab of [ann, secondTab]) {
        await tab.shows('#login button', 'Log in')
        await tab.shows('#inside')
      }
      await send(bob, 'ann', 'You missed this.')
      await eventually(async () => (await streams(admin)) === 1)
      await bob.shows('#state', 'bob')
    },

    async 'a login brings what was missed'() {
      await logIn(ann, 'ann')
      await ann.shows(LIST, 'bobYou missed this.', 'bobStill there?', 'bobIn both tabs?', 'ann to everyone<b>Free soup</b>', 'bobAt noon.')
      await ann.shows('#state', 'ann')
    },

    async 'no token is in an address or in storage'() {
      for (const { addresses, page } of [ann, bob, secondTab]) {
        assert.ok(addresses.some(address => address.includes('/events')), 'the stream is among them')
        assert.deepEqual(addresses.filter(address => address.includes('eyJ')), [])
        assert.doesNotMatch(await page.evaluate(() => JSON.stringify([document.cookie, { ...localStorage }, { ...sessionStorage }])), /eyJ|session=/)
      }
    },
  })
}
