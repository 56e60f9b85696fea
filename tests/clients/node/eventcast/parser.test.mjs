// The parser of the client: the rules of the HTML standard (9.2.6), any chunking, bounds.
import assert from 'node:assert/strict'
import test from 'node:test'
import { createParser } from 'eventsource-parser'
import { SseParser } from '../../../../broker/clients/js/index.js'

/** Events and the cursor at the end of a text, pushed in these chunks. */
function parse(chunks, lastEventId = '') {
  const parser = new SseParser(lastEventId)
  const blocks = chunks.flatMap(chunk => parser.push(chunk))
  return { events: blocks.filter(block => block.data !== null), cursor: blocks.at(-1)?.cursor ?? lastEventId, retry: parser.retry }
}

const event = (data, type = 'message', cursor = '') => ({ type, data, cursor })

// Text, and its events; a third element is the cursor afterwards.
const RULES = {
  'one line': ['data: a\n\n', [event('a')]],
  'several lines of data': ['data: a\ndata: b\n\n', [event('a\nb')]],
  'line ends CR, LF, CR LF and a mix': ['data: a\r\rdata: b\n\ndata: c\r\n\r\ndata: d\r\n\ndata: e\n\r', ['a', 'b', 'c', 'd', 'e'].map(data => event(data))],
  'at most one space is removed': ['data:  a \n\ndata:\tb\n\n', [event(' a '), event('\tb')]],
  'empty data': ['data\n\ndata:\n\ndata: \n\ndata\ndata\n\n', [event(''), event(''), event(''), event('\n')]],
  'comments and unknown fields': [':\n: x\nother: y\nDATA: z\n data: z\ndata: a\n\n', [event('a')]],
  'types, which do not outlive their block': ['event: t\ndata: a\n\ndata: b\n\nevent: u\n\ndata: c\n\n', [event('a', 't'), event('b'), event('c')]],
  'an empty type': ['event:\ndata: a\n\n', [event('a')]],
  'the last type counts': ['event: t\nevent: u\ndata: a\n\n', [event('a', 'u')]],
  'ids stay': ['id: 1\ndata: a\n\ndata: b\n\n', [event('a', 'message', '1'), event('b', 'message', '1')], '1'],
  'an id alone moves the cursor': ['id: 7\n\n', [], '7'],
  'an empty id resets': ['id: 1\ndata: a\n\nid\ndata: b\n\n', [event('a', 'message', '1'), event('b')]],
  'an id with NUL is ignored': ['id: 1\ndata: a\n\nid: x\0y\ndata: b\n\n', [event('a', 'message', '1'), event('b', 'message', '1')], '1'],
  'what is not terminated is dropped': ['id: 1\ndata: a\n\nid: 2\ndata: b\n', [event('a', 'message', '1')], '1'],
  'separators that are no line ends': ['data: a\u2028b\u2029c\u0085d\u000be\u000cf\n\n', [event('a\u2028b\u2029c\u0085d\u000be\u000cf')]],
  'a colon in the value': ['data: a: b\n\n', [event('a: b')]],
}

for (const [name, [text, events, cursor = '']] of Object.entries(RULES)) {
  test(name, () => {
    assert.deepEqual(parse([text]), { events, cursor, retry: null })
    assert.deepEqual(parse([...text]), { events, cursor, retry: null }, 'one character at a time')
    assert.deepEqual(parse([...text].flatMap(character => [character, ''])), { events, cursor, retry: null }, 'with empty chunks')
  })
}

test('retry: digits alone', () => {
  assert.equal(parse(['retry: 0200\n']).retry, 200)
  for (const value of ['200x', '-1', '1.5', ' 200', '200 ', '+200', '']) assert.equal(parse([`retry: ${value}\n`]).retry, null, value)
})

test('the id of the connection before stays', () => {
  assert.deepEqual(parse(['data: a\n\n'], '9').events, [event('a', 'message', '9')])
})

test('any chunking of any text gives what eventsource-parser gives of the whole', () => {
  const pieces = ['data', 'event', 'id', 'retry', ':', ' ', '\n', '\n\n', '\r\n', '\r', 'a', 'ü', '🦀', '\ufeff', '12', 'data: x\n', 'event: t\n', 'id: 5\n', ': c\n']
  for (let run = 0; run < 3000; run++) {
    const text = Array.from({ length: 1 + Math.random() * 40 }, () => pieces[Math.floor(Math.random() * pieces.length)]).join('').replace(/^\ufeff+/, '')
    const expected = []
    const oracle = createParser({ onEvent: ({ event: type = 'message', data, id }) => expected.push({ type: type || 'message', data, id }) })
    oracle.feed(text)
    const chunks = []
    for (let from = 0; from < text.length;) {
      const to = from + 1 + Math.floor(Math.random() * 5)
      chunks.push(text.slice(from, to))
      from = to
    }
    const { events } = parse(chunks)
    assert.deepEqual(events.map(({ type, data }) => ({ type, data })), expected.map(({ type, data }) => ({ type, data })), JSON.stringify(text))
    for (const [index, { id }] of expected.entries()) if (id) assert.equal(events[index].cursor, id, JSON.stringify(text))
  }
})

test('lines and events are bounded', () => {
  const bounded = () => new SseParser('', 1000)
  assert.throws(() => bounded().push('x'.repeat(1001)), /larger than 1000/)
  const growing = bounded()
  assert.throws(() => { for (let line = 0; line < 20; line++) growing.push(`data: ${'x'.repeat(99)}\n`) }, /larger than 1000/)
  const fine = bounded()
  for (let block = 0; block < 20; block++) assert.equal(fine.push(`data: ${'x'.repeat(900)}\n\n`).length, 1)
})
