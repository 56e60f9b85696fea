// `node browser.mjs chromium|firefox SCRIPT ARGS…`: calls the script's default export with a browser, then ends it.
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { launch } from './lib.mjs'

const [kind, script, ...args] = process.argv.slice(2)
if (!['chromium', 'firefox'].includes(kind) || !script) {
  console.error('usage: node browser.mjs chromium|firefox SCRIPT ARGS…')
  process.exit(2)
}

const { default: run } = await import(pathToFileURL(resolve(script)))
const launched = launch(kind, { handleSIGINT: false, handleSIGTERM: false, handleSIGHUP: false })

let stopping = false
async function stop(status) {
  if (stopping) return
  stopping = true
  await launched.then(browser => browser.close()).catch(() => {})
  process.exit(status)
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => stop(0))
process.stdout.on('error', () => stop(1))
// Nothing may outlive the test that started it.
const parent = process.ppid
setInterval(() => process.ppid === parent || stop(1), 1000)

try {
  await run({ browser: await launched, kind, args })
  await stop(0)
} catch (error) {
  if (!stopping) console.error(error)
  await stop(1)
}
