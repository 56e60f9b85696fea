// A window of an example, as its user sees it. Scripts of this folder are run by browser.mjs as `examples/NAME.mjs APPLICATION ADMIN DATA
// PICTURE`: the URL of the application and that of the broker's metrics, the folder of their data, and the file for a picture. JSON lines
// on stdout: those of driver.mjs.
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { eventually } from '../tab.mjs'

export { eventually, take } from '../tab.mjs'

export class Window {
  /** What the page did wrong. */
  errors = []
  /** All addresses that the page asked for. */
  addresses = []

  constructor(page) {
    this.page = page
    page.on('pageerror', error => this.errors.push(String(error)))
    page.on('request', request => this.addresses.push(request.url()))
  }

  static async open(context, url) {
    const window = new Window(await context.newPage())
    await window.page.setViewport({ width: 760, height: 560 })
    await window.page.goto(url, { waitUntil: 'load' })
    return window
  }

  /** The texts of what can be seen. */
  texts(selector) {
    return this.page.$$eval(selector, nodes => nodes.filter(node => node.checkVisibility()).map(node => node.textContent))
  }

  /** Waits until exactly these texts can be seen, in this order. */
  async shows(selector, ...wanted) {
    let seen
    try {
      await eventually(async () => {
        seen = await this.texts(selector)
        return JSON.stringify(seen) === JSON.stringify(wanted)
      })
    } catch {
      assert.deepEqual(seen, wanted, selector)
    }
    assert.deepEqual(this.errors, [])
  }

  // A window in the background paints nothing, and its controls never stand still.
  async fill(selector, text) {
    await this.page.bringToFront()
    await this.page.locator(selector).fill(text)
  }

  async press(selector) {
    await this.page.bringToFront()
    await this.page.locator(selector).click()
  }

  /** Sends a form, and waits until its page has emptied the field. */
  async submit(form, field, text) {
    await this.fill(`${form} [name=${field}]`, text)
    await this.press(`${form} button`)
    await eventually(() => this.page.$eval(`${form} [name=${field}]`, ({ value }) => value === ''))
  }

  async picture(path) {
    await this.page.bringToFront()
    await this.page.screenshot({ path })
  }
}

/** The streams that the broker has. */
export async function streams(admin) {
  const text = await (await fetch(`${admin}/metrics`)).text()
  const values = [...text.matchAll(/^eventcast_subscribers\{.*\} (\d+)$/gm)].map(([, value]) => Number(value))
  return values.reduce((sum, value) => sum + value, 0)
}

/** Posts JSON to the application, as its page does. */
export async function post(url, body) {
  const response = await fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) })
  assert.ok(response.ok, `${response.status} ${await response.clone().text()}`)
  return response
}

const read = path => {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return '' // a process that is gone
  }
}

/** The process that runs this file with the data of this example, once there is one. */
async function processOf(data, file) {
  const runs = pid =>
    read(`/proc/${pid}/cmdline`).split('\0').some(word => word.endsWith(file)) && read(`/proc/${pid}/environ`).split('\0').includes(`EVENTCAST_DATA_DIR=${data}`)
  let found
  await eventually(() => { found = readdirSync('/proc').find(runs); return found !== undefined })
  return Number(found)
}

export const kill = async (data, file) => process.kill(await processOf(data, file), 'SIGKILL')

/** Stops a process, and gives a function that lets it go on. */
export async function pause(data, file) {
  const pid = await processOf(data, file)
  process.kill(pid, 'SIGSTOP')
  await eventually(() => read(`/proc/${pid}/stat`).includes(') T '))
  return () => process.kill(pid, 'SIGCONT')
}

/** The broker dies, and run.sh starts another one. */
export const killBroker = data => process.kill(Number(readFileSync(`${data}/lock`, 'utf8')), 'SIGKILL')
