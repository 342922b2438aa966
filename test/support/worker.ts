// The other side of in-process.ts: calls scripts, as a thread of the tests' process, one after another.
import { Buffer } from 'node:buffer'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { runInThisContext } from 'node:vm'
import { workerData } from 'node:worker_threads'
import type { Caller } from '../../lib/terminal/caller.ts'
import type { Answered, Asked, ThreadData } from './in-process.ts'
import type { Ran } from './run.ts'

/** A bundle as a function: each call is a run with module state of its own, as in a new process. */
type Bundle = (load: NodeJS.Require, module: object, caller: Caller) => void

const { folder, port, answered } = workerData as ThreadData
const load = createRequire(join(folder, 'bundle.cjs'))
const bundles = new Map<string, Bundle>()

function bundleOf(name: string): Bundle {
  let bundle = bundles.get(name)
  if (bundle === undefined) {
    const filename = join(folder, `${name}.cjs`)
    const body = readFileSync(filename, 'utf8').replace(/^#!.*\n/, '')
    bundle = runInThisContext(`(function (require, module, caller) {${body}\n})`, { filename }) as Bundle
    bundles.set(name, bundle)
  }
  return bundle
}

let streams: Record<1 | 2, Buffer[]> = { 1: [], 2: [] }
let asked = 0
let code: number | undefined

/** As Node ends a process for it: the stack on standard error. */
function crash(error: unknown): void {
  code ??= 1
  streams[2].push(Buffer.from(`${(error as Error)?.stack ?? error}\n\nNode.js ${process.version}\n`))
  answerWhenIdle()
}
process.on('uncaughtException', crash)

/** A process ends when nothing keeps it alive any more: so does a run. */
function answerWhenIdle(): void {
  setImmediate(() => {
    const left = process.getActiveResourcesInfo().filter((name) => name !== 'MessagePort' && name !== 'Immediate')
    if (left.length > 0) setTimeout(answerWhenIdle, 2).unref()
    else if (code !== undefined) answer({ code, stdout: textOf(1), stderr: textOf(2) })
  })
}

function answer(ran: Ran): void {
  code = undefined
  streams = { 1: [], 2: [] }
  port.postMessage({ id: asked, ran } satisfies Answered)
  Atomics.store(answered, 0, 1)
  Atomics.notify(answered, 0)
}

const textOf = (stream: 1 | 2): string => Buffer.concat(streams[stream]).toString('utf8')

port.on('message', ({ id, name, args, env }: Asked) => {
  asked = id
  for (const each of Object.keys(process.env)) delete process.env[each]
  Object.assign(process.env, env)
  const signal = new AbortController().signal
  const caller: Caller = {
    argv: args,
    write: (stream, text) => void streams[stream].push(Buffer.from(text)),
    terminalStyle: () => ({ color: false, columns: undefined }),
    interrupted: () => signal,
    end: (status) => {
      code = status
      answerWhenIdle()
    },
  }
  try {
    bundleOf(name)(load, {}, caller)
  } catch (error) {
    crash(error)
  }
})
