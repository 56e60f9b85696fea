// The server of the chat: its files, and a door for messages. Browsers read from the broker; what they write passes here, where an
// application checks it. It keeps nothing: the history is in the channel.
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'

const { PORT = 8081, EVENTS_URL = 'http://127.0.0.1:8080/channels/default/demo/events' } = process.env

const CLIENT = '../../../broker/clients/js/' // `npm install @eventcast/client`, or a copy
const FILES = {
  '/': ['index.html', 'text/html'],
  '/chat.js': ['chat.js', 'text/javascript'],
  '/style.css': ['../style.css', 'text/css'],
}

function fileOf(path) {
  const name = /^\/client\/([\w-]+\.js)$/.exec(path)?.[1]
  return name ? [CLIENT + name, 'text/javascript'] : FILES[path]
}

async function sendFile(response, path) {
  const file = fileOf(path)
  const text = file && (await readFile(new URL(file[0], import.meta.url)).catch(() => null))
  if (!text) return response.writeHead(404).end()
  return response.writeHead(200, {
    'Content-Type': `${file[1]}; charset=utf-8`,
    'Content-Security-Policy': `default-src 'self'; connect-src 'self' ${new URL(EVENTS_URL).origin}; frame-ancestors 'none'`,
  }).end(text)
}

const isText = (value, longest) => typeof value === 'string' && value.trim() !== '' && value.length <= longest
const matches = (value, pattern) => typeof value === 'string' && pattern.test(value)

async function publish(request, response) {
  // A form of another site cannot have this type without asking first, and nobody answers it.
  if (request.headers['content-type'] !== 'application/json') return response.writeHead(415).end()
  let body = ''
  for await (const chunk of request.setEncoding('utf8')) {
    body += chunk
    if (body.length > 10_000) return response.writeHead(413).end()
  }
  const { id, room, name, text } = JSON.parse(body)
  if (!matches(id, /^[\w-]{1,64}$/) || !matches(room, /^[a-z0-9-]{1,32}$/) || !isText(name, 40) || !isText(text, 2000)) {
    return response.writeHead(400).end('a message has an id, a room (a-z, 0-9, -), a name and a text')
  }
  const answer = await fetch(`${EVENTS_URL}?topic=room.${room}&type=chat.message&source=/chat`, {
    method: 'POST',
    // The browser sends a message again if it has no answer. With the same key it is stored once.
    headers: { 'Content-Type': 'application/json', 'Idempotency-Key': id },
    body: JSON.stringify({ id, name, text, at: new Date() }),
    signal: AbortSignal.timeout(10_000),
  }).catch(() => null)
  // 201: it is stored. Anything that may pass becomes 503: the browser repeats it.
  const final = answer && answer.status < 500 && answer.status !== 429
  return response.writeHead(final ? answer.status : 503).end()
}

createServer(async (request, response) => {
  try {
    const path = request.url.split('?')[0]
    if (request.method === 'POST' && path === '/messages') await publish(request, response)
    else if (path === '/config.json') response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify({ events: EVENTS_URL }))
    else await sendFile(response, path)
  } catch (error) {
    console.error(error)
    response.writeHead(400).end()
  }
}).listen(PORT, '127.0.0.1')
