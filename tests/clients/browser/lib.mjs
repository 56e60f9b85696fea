// Starts a real browser and gives it a page to run in.
import { accessSync, constants } from 'node:fs'
import { createServer } from 'node:http'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import puppeteer from 'puppeteer-core'

const BLANK = { contentType: 'text/html', body: '<!doctype html><title>eventcast</title>' }

// Sites of their own, all on this machine: browsers judge cookies by the names of hosts.
const SITES = ['www.app.test', 'events.app.test', 'evil.app.test', 'partner.test', 'evil.test']

const KINDS = {
  chromium: {
    binaries: ['chromium', 'chromium-browser', 'google-chrome'],
    options: {
      pipe: true,
      args: [
        '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
        '--disable-component-update', '--disable-sync', '--host-resolver-rules=MAP *.test 127.0.0.1',
      ],
    },
  },
  firefox: { binaries: ['firefox-esr', 'firefox'], options: { browser: 'firefox', extraPrefsFirefox: { 'network.dns.localDomains': SITES.join() } } },
}

/** The browser's program: $EVENTCAST_CHROMIUM or $EVENTCAST_FIREFOX, or the first of its names on the PATH. */
export function binary(kind) {
  const given = process.env[`EVENTCAST_${kind.toUpperCase()}`]
  const folders = (process.env.PATH ?? '').split(delimiter)
  const candidates = given ? [given] : KINDS[kind].binaries.flatMap(name => folders.map(folder => join(folder, name)))
  const found = candidates.find(isProgram)
  if (!found) throw new Error(`${given ?? kind} is not there: run tests/tools/install.sh browsers`)
  return found
}

function isProgram(path) {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** A headless browser with a profile of its own, which close() removes. `kind`: chromium (CDP) or firefox (BiDi). */
export async function launch(kind, options = {}) {
  return puppeteer.launch({
    executablePath: fileURLToPath(new URL('browser.sh', import.meta.url)),
    headless: true,
    timeout: 60_000,
    protocolTimeout: 60_000, // a call that the browser never answers fails with its name before the test's own time is over
    acceptInsecureCerts: true, // certificates of the tests' own authority
    ...KINDS[kind].options,
    ...options,
    env: { ...process.env, BROWSER_BINARY: binary(kind) },
  })
}

/** A page that some server gives. */
export async function openPage(browser, url) {
  const page = await browser.newPage()
  await page.goto(url, { waitUntil: 'domcontentloaded' })
  return page
}

/** A blank page, without a content security policy, of an origin whose server is not asked. */
export async function openBlankPage(browser, origin, body) {
  const page = await browser.newPage()
  await visitBlankPage(page, origin, body)
  return page
}

/** Loads the blank page, or another one, into a page: once more if it is there already. */
export async function visitBlankPage(page, origin, body = BLANK.body) {
  await page.setRequestInterception(true)
  page.on('request', request => request.respond({ ...BLANK, body }))
  await page.goto(`${origin}/`, { waitUntil: 'domcontentloaded' })
  page.removeAllListeners('request')
  await page.setRequestInterception(false)
}

/** Serves the blank page on an origin of its own and gives that origin. */
export async function serveBlankPage(port) {
  const server = createServer((_, response) => response.setHeader('Content-Type', BLANK.contentType).end(BLANK.body))
  await new Promise((resolve, reject) => server.on('error', reject).listen(port, '127.0.0.1', resolve))
  server.unref()
  return `http://127.0.0.1:${server.address().port}`
}
