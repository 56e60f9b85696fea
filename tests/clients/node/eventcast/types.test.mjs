// The types of the client: programs that use them, and their agreement with the code.
import assert from 'node:assert/strict'
import test from 'node:test'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { subscribe } from '../../../../broker/clients/js/index.js'

const path = name => fileURLToPath(new URL(name, import.meta.url))
const program = ts.createProgram([path('types.ts')], {
  noEmit: true, strict: true, types: [], target: ts.ScriptTarget.ES2022, lib: ['lib.es2022.d.ts', 'lib.dom.d.ts'],
  module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext, exactOptionalPropertyTypes: true,
})

test('programs pass, or fail where they must', () => {
  const found = ts.getPreEmitDiagnostics(program)
  assert.equal(found.length, 0, ts.formatDiagnostics(found, { getCanonicalFileName: name => name, getCurrentDirectory: () => '', getNewLine: () => '\n' }))
})

/** The names that an interface of index.d.ts has. */
function members(name) {
  const file = program.getSourceFile(path('../../../../broker/clients/js/index.d.ts'))
  const node = file.statements.find(statement => statement.name?.text === name)
  return node.members.flatMap(member => (member.name?.text ? [member.name.text] : []))
}

test('the code knows every option', () => {
  const names = members('SubscribeOptions')
  assert.ok(names.length > 20, names)
  for (const name of names) subscribe('http://localhost/events', { [name]: undefined }).close()
})

test('a subscription has every member', () => {
  const subscription = subscribe('http://localhost/events')
  subscription.close()
  for (const name of members('Subscription')) assert.notEqual(subscription[name], undefined, name)
})
