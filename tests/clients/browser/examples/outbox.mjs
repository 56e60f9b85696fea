// The shop of docs/examples: see window.mjs.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { kill, pause, take, Window } from './window.mjs'

// Holds the lock for writers until its input ends.
const LOCK = `
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
`

async function lock(database) {
  const holder = spawn('python3', ['-c', LOCK, database], { stdio: ['pipe', 'pipe', 'inherit'] })
  await once(holder.stdout, 'data')
  return async () => {
    holder.stdin.end()
    await once(holder, 'exit')
  }
}

export default async function run({ browser, args: [url, , data, picture] }) {
  const window = await Window.open(browser, url)
  const orders = []

  async function order(item) {
    orders.unshift(`${orders.length + 1}: ${item}`)
    await window.submit('#order', 'item', item)
  }

  async function allAreToldOnce() {
    await window.shows('#orders li', ...orders)
    await window.shows('#waiting', '0')
    await window.shows('#orders li', ...orders)
  }

  await take({
    async 'an order is told of'() {
      await order('Tea')
      await order('<b>Milk</b>')
      await allAreToldOnce()
    },

    async 'a relay that dies after publishing repeats nothing'() {
      const goOn = await pause(data, 'relay.py')
      await order('Bread')
      await window.shows('#waiting', '1')
      // The relay can read and publish, and cannot delete.
      const unlock = await lock(`${data}/shop.db`)
      goOn()
      await window.shows('#orders li', ...orders)
      await window.shows('#waiting', '1')
      await kill(data, 'relay.py')
      await unlock()
      await allAreToldOnce()
    },

    async 'orders wait while the relay is dead'() {
      await kill(data, 'relay.py')
      await order('Salt')
      await order('Honey')
      await allAreToldOnce()
      await window.picture(picture)
    },

    async 'a page that is reloaded has each order once'() {
      await window.page.reload()
      await allAreToldOnce()
    },
  })
}
