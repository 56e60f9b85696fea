// A page that uses the JavaScript client of the broker, with what scripts need to look into it.
import assert from 'node:assert/strict'
import { setTimeout } from 'node:timers/promises'
import { emit } from './driver.mjs'
import { openBlankPage, visitBlankPage } from './lib.mjs'

const PATIENCE_MS = 25_000

/**
 * Runs in the page. `tokens`: what the client is given for each reason, in turn; the last one again and again. `slow`: milliseconds
 * for each event.
 */
async function subscribeHere(path, { tokens, slow, ...options }) {
  const { subscribe } = await import('/client/index.js')
  const seen = { events: [], gaps: [], states: [], reasons: [], freezes: 0 }
  const token = async ({ reason }) => {
    seen.reasons.push(reason)
    const left = tokens[reason] ?? tokens.connect
    return left.length > 1 ? left.shift() : left[0]
  }
  const name = `own ${Math.random()}`
  await navigator.locks.request(name, async () => {
    seen.client = (await navigator.locks.query()).held.find(lock => lock.name === name).clientId
  })
  document.addEventListener('freeze', () => { seen.freezes += 1 })
  window.seen = seen
  window.subscription = subscribe(path, {
    ...options, ...(tokens && { token }),
    onEvent({ type, data }) {
      seen.events.push(type === 'message' ? data : `${type}: ${data}`)
      return slow && new Promise(resolve => { setTimeout(resolve, slow) })
    },
    onGap: ({ gap }) => { seen.gaps.push(gap) },
    onState: ({ state, reason }) => { seen.states.push(reason ? `${state}: ${reason.message}` : state) },
  })
}

export class Tab {
  constructor(page, origin) {
    Object.assign(this, { page, origin })
    this.errors = []
    page.on('pageerror', error => this.errors.push(String(error)))
  }

  static async open(browser, origin) {
    return new Tab(await openBlankPage(browser, origin), origin)
  }

  async subscribe(path, options = {}) {
    await this.page.evaluate(subscribeHere, path, options)
  }

  async reload() {
    await visitBlankPage(this.page, this.origin)
  }

  async look() {
    return JSON.parse(await this.page.evaluate(() => JSON.stringify({
      ...window.seen, state: subscription.state, cursor: subscription.cursor, reconnects: subscription.reconnects,
    })))
  }

  /** Waits until `holds(what look() gives)` is true. */
  async until(holds) {
    const deadline = Date.now() + PATIENCE_MS
    for (;;) {
      const seen = await this.look()
      if (holds(seen)) return seen
      if (Date.now() > deadline) throw new Error(`${holds}: not with\n${JSON.stringify(seen)}`)
      await setTimeout(50)
    }
  }
}

/** Waits until an asynchronous condition holds. */
export async function eventually(holds) {
  const deadline = Date.now() + PATIENCE_MS
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not in time: ${holds}`)
    await setTimeout(50)
  }
}

/** A channel of a broker, as its publisher sees it. */
export class Channel {
  constructor(broker, name, headers = {}) {
    Object.assign(this, { path: `/channels/${name}/events`, url: `${broker}/channels/${name}`, headers })
  }

  async publish(data, query = '') {
    const response = await fetch(`${this.url}/events?${query}`, { method: 'POST', body: data, headers: this.headers })
    assert.equal(response.status, 201, await response.clone().text())
  }

  /** The streams of a subject, or the end of one. */
  async manage(method, query) {
    const response = await fetch(`${this.url}/subscribers?${query}`, { method, headers: this.headers })
    assert.equal(response.status, 200, await response.clone().text())
    return response.json()
  }

  async subscribers() {
    return (await (await fetch(this.url, { headers: this.headers })).json()).subscribers
  }
}

/** Takes the steps of a script, by name. */
export async function take(steps) {
  for (const [name, step] of Object.entries(steps)) {
    const begun = Date.now()
    try {
      await step()
    } catch (error) {
      throw new Error(`${name}: ${error.message}`, { cause: error })
    }
    emit({ step: name, ms: Date.now() - begun })
  }
}
