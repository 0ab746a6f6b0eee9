// Sign and verify messages with jose: node verify.js < CASES
// CASES is a JSON list of {"message", "keys": {kid: JWK}}, to verify, or {"payload", "headers", "keys"}, to sign: one
// signature for each protected header, by the key of its kid. Prints a JSON list: for a message {"each": [true, …],
// "general": true}, the verdict on each signature by itself and that of generalVerify; for a payload the message.
import { GeneralSign, flattenedVerify, generalVerify, importJWK } from 'jose'

const holds = async (promise) => promise.then(() => true, () => false)

async function verify({ message, keys }) {
  const parsed = JSON.parse(message)
  const find = async (header) => importJWK(keys[header.kid], header.alg)
  const each = []
  for (const signature of parsed.signatures) {
    each.push(await holds(flattenedVerify({ payload: parsed.payload, ...signature }, find)))
  }
  return { each, general: await holds(generalVerify(parsed, find)) }
}

async function sign({ payload, headers, keys }) {
  const message = new GeneralSign(new TextEncoder().encode(payload))
  for (const header of headers) {
    message.addSignature(await importJWK(keys[header.kid], header.alg)).setProtectedHeader(header)
  }
  return JSON.stringify(await message.sign())
}

let input = ''
for await (const chunk of process.stdin) input += chunk
const results = []
for (const each of JSON.parse(input)) results.push(await (each.message ? verify(each) : sign(each)))
console.log(JSON.stringify(results))
