// The script that pages of the documentation have, on a website with several versions; run by browser.mjs as `website.mjs SCRIPT`.
// JSON lines on stdout: those of driver.mjs.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { openPage } from './lib.mjs'
import { take } from './tab.mjs'

export default async function run({ browser, args: [script] }) {
  const files = { '/newest.txt': '0.10\n' }
  // mdBook gives each page the way back to its root.
  const page = root => `<!doctype html><title>page</title><main>text</main><script>const path_to_root = "${root}"</script><script src="${root}versions.js"></script>`
  for (const folder of ['/0.9', '/0.10', '/book']) {
    files[`${folder}/versions.js`] = readFileSync(script, 'utf8')
    files[`${folder}/index.html`] = page('')
    files[`${folder}/start/cluster.html`] = page('../')
  }
  const asked = []
  const server = createServer(({ url }, response) => {
    asked.push(url)
    const kind = url.endsWith('.js') ? 'text/javascript' : 'text/html'
    response.writeHead(url in files ? 200 : 404, { 'Content-Type': kind }).end(files[url])
  })
  await new Promise((resolve, reject) => server.on('error', reject).listen(0, '127.0.0.1', resolve))
  server.unref()
  const site = `http://127.0.0.1:${server.address().port}`

  async function noticeOf(path) {
    const page = await openPage(browser, `${site}${path}`)
    await page.waitForNetworkIdle({ idleTime: 200 })
    const notice = await page.evaluate(() => {
      const notice = document.querySelector('main > .old-version')
      return notice && { text: notice.textContent, link: notice.querySelector('a').href }
    })
    await page.close()
    return notice
  }

  await take({
    async 'a page of an older version leads to the newest'() {
      const wanted = { text: 'This is the documentation of version 0.9. The newest is 0.10.', link: `${site}/0.10/` }
      assert.deepEqual(await noticeOf('/0.9/index.html'), wanted)
      assert.deepEqual(await noticeOf('/0.9/start/cluster.html'), wanted)
    },
    async 'a page of the newest version says nothing'() {
      assert.equal(await noticeOf('/0.10/start/cluster.html'), null)
    },
    async 'a book that is no version asks nobody'() {
      asked.length = 0
      assert.equal(await noticeOf('/book/index.html'), null)
      assert.ok(!asked.includes('/newest.txt'), asked.join())
    },
  })
}
