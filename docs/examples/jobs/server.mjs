// Starts jobs, each in a process of its own, and says how they ended: also of a worker that can say nothing any more.
import { fork } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { fileURLToPath } from 'node:url'
import { EVENTS_URL, publish } from './events.mjs'

const { PORT = 8081 } = process.env

const FILES = {
  '/': ['index.html', 'text/html'],
  '/jobs.js': ['jobs.js', 'text/javascript'],
  '/react.js': ['react.js', 'text/javascript'],
  '/style.css': ['../style.css', 'text/css'],
  '/vendor/htm.js': ['node_modules/htm/dist/htm.module.js', 'text/javascript'],
  '/vendor/react.js': ['node_modules/react/umd/react.production.min.js', 'text/javascript'],
  '/vendor/react-dom.js': ['node_modules/react-dom/umd/react-dom.production.min.js', 'text/javascript'],
}
const CLIENT = '../../../broker/clients/js/' // `npm install @eventcast/client`, or a copy

// The only script inside the page is its import map: the policy names it by its hash.
const page = readFileSync(new URL('index.html', import.meta.url), 'utf8')
const map = createHash('sha256').update(/<script type="importmap">([^]*?)<\/script>/.exec(page)[1]).digest('base64')
const POLICY = `default-src 'self'; script-src 'self' 'sha256-${map}'; style-src 'self'; connect-src 'self' ${new URL(EVENTS_URL).origin}; frame-ancestors 'none'`

async function sendFile(response, path) {
  const name = /^\/client\/([\w-]+\.js)$/.exec(path)?.[1]
  const file = name ? [CLIENT + name, 'text/javascript'] : FILES[path]
  const text = file && (await readFile(new URL(file[0], import.meta.url)).catch(() => null))
  if (!text) return response.writeHead(404).end()
  return response.writeHead(200, { 'Content-Type': `${file[1]}; charset=utf-8`, 'Content-Security-Policy': POLICY }).end(text)
}

async function startJob() {
  const job = randomUUID()
  await publish(job, 'start', 'job.started', { job, at: new Date() })
  const worker = fork(fileURLToPath(new URL('worker.mjs', import.meta.url)), [job])
  worker.on('exit', (code, signal) => {
    const [type, data] = code === 0 ? ['job.done', { job }] : ['job.failed', { job, reason: signal ?? `exit code ${code}` }]
    publish(job, 'end', type, data).catch(console.error)
  })
  return job
}

createServer(async (request, response) => {
  try {
    const path = request.url.split('?')[0]
    if (request.method === 'POST' && path === '/jobs') {
      // A form of another site cannot have this type without asking first, and nobody answers it.
      if (request.headers['content-type'] !== 'application/json') return response.writeHead(415).end()
      response.writeHead(201, { 'Content-Type': 'application/json' }).end(JSON.stringify({ job: await startJob() }))
    } else if (path === '/config.json') {
      response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify({ events: EVENTS_URL }))
    } else await sendFile(response, path)
  } catch (error) {
    console.error(error)
    response.writeHead(500).end()
  }
  return undefined
}).listen(PORT, '127.0.0.1')
