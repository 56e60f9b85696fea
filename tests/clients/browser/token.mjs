// An issuer of tokens whose secret is in a key file, as tests/src/issuer.rs has it.
import { createHmac } from 'node:crypto'
import { readFileSync } from 'node:fs'

const encode = value => Buffer.from(JSON.stringify(value)).toString('base64url')

/** Gives `(subject, seconds, more claims) => token`. */
export function issuer(keyFile, name, audience) {
  const { kid, k } = JSON.parse(readFileSync(keyFile, 'utf8')).keys[0]
  return (subject, seconds, more = {}) => {
    const now = Math.floor(Date.now() / 1000)
    const claims = { iss: name, aud: audience, sub: subject, iat: now, exp: now + seconds, ...more }
    const text = `${encode({ alg: 'HS256', kid })}.${encode(claims)}`
    return `${text}.${createHmac('sha256', Buffer.from(k, 'base64url')).update(text).digest('base64url')}`
  }
}

/** Claims that grant everything. */
export const ADMIN = { role: 'admin', grants: { subscribe: ['>'], publish: ['>'], broadcast: true } }
