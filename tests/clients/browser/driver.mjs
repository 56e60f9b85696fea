// What scripts that drive the page of a broker share: what they see of it, what they do with it, and steps one after the other.
//
// JSON lines on stdout: {"step": "…", "ms": 7} after each that passed. The first step that fails ends the script with an error.
import assert from 'node:assert/strict'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'

const PATIENCE_MS = 20_000

export const emit = line => process.stdout.write(`${JSON.stringify(line)}\n`)
export const id = name => `[data-testid="${name}"]`

/** Runs in the page: all of it that the steps look at. */
export function look() {
  const all = (node, name) => [...node.querySelectorAll(`[data-testid="${name}"]`)]
  const text = (node, name) => all(node, name)[0]?.textContent ?? null
  const row = node => ({
    type: node.dataset.type, cursor: node.dataset.cursor,
    data: node.querySelector('.data')?.textContent ?? node.querySelector('p').textContent,
  })
  const part = name => text(document, name)
  return {
    hash: location.hash,
    hostile: window.hostile ?? null,
    strangers: document.querySelectorAll('main img, main script, main b').length,
    violations: window.violations,
    channels: [...document.querySelectorAll('#channel option')].map(option => option.value),
    access: {
      client: part('access-client'), reads: part('access-reads'), publishes: part('access-publishes'), ends: part('access-ends'),
      problem: document.getElementById('access-problem').hidden ? '' : part('access-problem'),
      ticket: document.getElementById('access-ticket').getAttribute('aria-checked') === 'true',
      field: document.getElementById('access-token').value,
    },
    notice: document.getElementById('notice').hidden ? '' : part('notice'),
    facts: { state: part('channel-state'), events: part('channel-events'), last: part('channel-last'), kept: part('channel-retention') },
    full: document.getElementById('add-pane').getAttribute('aria-disabled') === 'true',
    panes: all(document, 'pane').map(pane => ({
      state: text(pane, 'pane-state'), count: Number(text(pane, 'pane-count')), reconnects: Number(text(pane, 'pane-reconnects')),
      gaps: Number(text(pane, 'pane-gaps')), cursor: text(pane, 'pane-cursor'), until: text(pane, 'pane-until'), detail: text(pane, 'pane-detail'),
      rows: all(pane, 'event-row').map(row), control: all(pane, 'control-row').map(row),
    })),
    sent: document.getElementById('send-result').hidden ? null : {
      tone: document.getElementById('send-result').className, text: part('send-result'), cursor: part('send-cursor'),
      duplicate: part('send-duplicate'), invalid: document.getElementById('send-type').getAttribute('aria-invalid'),
    },
    curl: part('curl'),
    history: {
      note: part('history-note'), page: part('history-page'), rows: all(document, 'history-row').map(tr => tr.dataset.cursor),
      data: all(document, 'history-row').map(tr => tr.querySelector('.data').textContent),
      next: document.getElementById('history-next').getAttribute('aria-disabled') !== 'true',
    },
    stats: { total: part('stats-total'), note: part('stats-note'), types: part('stats-top-types') },
  }
}

export class Driver {
  errors = []
  /** All that the page wrote to the console. */
  said = []

  constructor(page, broker, other) {
    Object.assign(this, { page, broker, other })
    page.on('pageerror', error => this.errors.push(String(error)))
    page.on('console', message => {
      this.said.push(message.text())
      // A refused connection and a status 4xx are told there too; the steps that cause them want them.
      if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) this.errors.push(message.text())
    })
  }

  /** Waits until `holds(what look() sees)` is true, and gives what was seen. */
  async until(holds) {
    const deadline = Date.now() + PATIENCE_MS
    for (;;) {
      const seen = await this.page.evaluate(look)
      let why = 'it does not hold'
      try {
        if (holds(seen)) return seen
      } catch (error) {
        why = error.message
      }
      if (Date.now() > deadline) throw new Error(`${holds}: ${why}\n${JSON.stringify(seen, null, 1)}`)
      await setTimeout(50)
    }
  }

  async fill(selector, text) {
    await this.page.locator(selector).fill(text)
  }

  /**
   * Presses a button of the page, or of one pane. What appears above it can move it away from the pointer, so it is pressed once it
   * stands still, and again if it moved nevertheless and no click has reached it.
   */
  async press(name, pane) {
    const box = pane === undefined ? this.page : (await this.page.$$(id('pane')))[pane]
    const button = await box.$(id(name))
    const clicked = await button.evaluateHandle(element => {
      const seen = { click: false }
      element.addEventListener('click', () => { seen.click = true }, { once: true })
      return seen
    })
    for (let tries = 0; tries < 5; tries++) {
      await button.asLocator().click()
      if (await clicked.evaluate(seen => seen.click)) return
    }
    throw new Error(`no click reaches ${name}`)
  }

  /** Fills a field of a pane, as somebody at the keyboard. */
  async filter(pane, name, text) {
    const field = await (await this.page.$$(id('pane')))[pane].$(id(`pane-${name}`))
    await field.click({ count: 3 })
    await this.page.keyboard.type(text)
    await this.page.keyboard.press('Enter')
  }

  /** Sends by the form and gives the cursor. */
  async send({ target = 'broadcast', user = '', type = '', data }) {
    await this.page.select(id('send-target'), target)
    if (user) await this.fill(id('send-user'), user)
    await this.fill(id('send-type'), type)
    await this.fill(id('send-data'), data)
    const before = (await this.page.evaluate(look)).sent?.cursor
    await this.press('send')
    const { sent } = await this.until(seen => seen.sent !== null && seen.sent.cursor !== before)
    assert.match(sent.tone, /good/, sent.text)
    return sent.cursor
  }

  /** Publishes at the other broker. */
  async publish(channel, texts) {
    const response = await fetch(`${this.other}/channels/${channel}/events`, {
      method: 'POST', headers: { 'Content-Type': 'application/x-ndjson' },
      body: texts.map(data => JSON.stringify({ data })).join('\n'),
    })
    assert.equal(response.status, 201, await response.clone().text())
    return (await response.json()).events.map(event => event.cursor)
  }

  async events(channel) {
    return (await (await fetch(`${this.other}/channels/${channel}`)).json()).events
  }

  async channel(name) {
    await this.page.select(id('channel'), name)
    return this.until(seen => seen.hash === `#${name}` && seen.panes.every(pane => pane.state === 'open') && seen.facts.state === 'live')
  }
}

/** Opens the page of `driver.broker` and takes the steps, by name. */
export async function runSteps(driver, steps) {
  const { page } = driver
  await page.setViewport({ width: 1400, height: 1000 })
  await page.evaluateOnNewDocument(() => {
    window.violations = []
    document.addEventListener('securitypolicyviolation', event => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`))
  })
  await page.goto(`${driver.broker}/`, { waitUntil: 'load' })
  for (const [name, step] of Object.entries(steps)) {
    const begun = Date.now()
    try {
      await step(driver)
      assert.deepEqual(driver.errors, [], 'errors of the page')
      assert.deepEqual((await page.evaluate(look)).violations, [], 'violations of its policy')
    } catch (error) {
      await page.screenshot({ path: join(tmpdir(), 'failed.png'), fullPage: true })
      throw new Error(`${name}: ${error.message}`, { cause: error })
    }
    emit({ step: name, ms: Date.now() - begun })
  }
}
