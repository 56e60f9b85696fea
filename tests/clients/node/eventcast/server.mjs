// A server for one test: answers each request for a stream as the next entry of a script says.
import { createServer } from 'node:http'
import { once } from 'node:events'

/**
 * answers: functions (request, response, url), or statuses; the last one is repeated. Gives {url, requests, close}. A request
 * is {method, path, query, headers}.
 */
export async function serve(context, ...answers) {
  const requests = []
  const server = createServer((request, response) => {
    const url = new URL(request.url, 'http://localhost')
    requests.push({ method: request.method, path: url.pathname, query: url.searchParams, headers: request.headers })
    const answer = answers.length > 1 ? answers.shift() : answers[0]
    if (typeof answer === 'function') return answer(request, response, url)
    response.writeHead(answer, { 'content-type': 'application/problem+json' })
    return response.end(answer === 204 ? undefined : JSON.stringify({ title: `title ${answer}`, detail: `detail ${answer}` }))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const close = () => {
    server.closeAllConnections()
    server.close()
  }
  context.after(close)
  return { url: `http://127.0.0.1:${server.address().port}/channels/default/demo/events`, requests, server }
}

/** Begins a stream with a short retry. `text`: sent at once; then the stream stays open, or ends. */
export const stream = (text, { end = false } = {}) => (_, response) => {
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' })
  response.write(`retry: 10\n:\n${text}`)
  if (end) response.end()
}

/** Begins a stream and cuts the connection. */
export const cut = text => (request, response) => {
  stream(text)(request, response)
  setTimeout(() => response.destroy(), 20)
}

export const event = (cursor, data = `data ${cursor}`, type = '') => `${type && `event: ${type}\n`}data: ${data}\nid: ${cursor}\n\n`

/** Waits until `holds()` is true. */
export async function until(holds, what = String(holds)) {
  const deadline = Date.now() + 10_000
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`not within 10 s: ${what}`)
    await new Promise(resolve => { setTimeout(resolve, 5) })
  }
}
