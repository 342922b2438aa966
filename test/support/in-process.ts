// Scripts called in the tests' own process: a thread has their bundles loaded and hands in arguments, streams and exit
// code, while the test waits as it would for a process.
import { join } from 'node:path'
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads'
import { build } from 'esbuild'
import type { Ran } from './run.ts'

export interface Asked {
  /** Comes back with the answer. */
  id: number
  name: string
  args: readonly string[]
  /** All of its environment. */
  env: Record<string, string>
}

export interface ThreadData {
  /** The bundles' folder. */
  folder: string
  port: MessagePort
  /** Not 0 once the answer is there. */
  answered: Int32Array
}

/** Bundles scripts/NAME.mts, of each name, for the thread, and the thread itself. */
export async function buildForThread(project: string, names: readonly string[], folder: string): Promise<void> {
  const common = { absWorkingDir: project, bundle: true, platform: 'node', format: 'cjs', outdir: folder } as const
  await build({
    ...common,
    entryPoints: names.map((name) => `scripts/${name}.mts`),
    outExtension: { '.js': '.cjs' },
    define: { 'import.meta.url': JSON.stringify(`file://${folder}/bundle.cjs`) },
    supported: { 'dynamic-import': false },
    plugins: [
      {
        name: 'caller-from-outside',
        setup: ({ onLoad }) =>
          onLoad({ filter: /lib\/terminal\/caller\.ts$/ }, () => ({
            contents: 'export const thisProcess = () => caller',
          })),
      },
    ],
  })
  await build({ ...common, entryPoints: ['test/support/worker.ts'], outExtension: { '.js': '.cjs' } })
}

/** What the thread says. */
export interface Answered {
  id: number
  ran: Ran
}

let thread: { worker: Worker; port: MessagePort; answered: Int32Array } | undefined

function startThread(folder: string): NonNullable<typeof thread> {
  const { port1, port2 } = new MessageChannel()
  const answered = new Int32Array(new SharedArrayBuffer(4))
  const workerData: ThreadData = { folder, port: port2, answered }
  const worker = new Worker(join(folder, 'worker.cjs'), { workerData, transferList: [port2] })
  worker.unref()
  port1.unref()
  return { worker, port: port1, answered }
}

/** Runs a script in the thread with bundles in `folder`. Throws when it does not end within two minutes. */
export function runInThread(folder: string, asked: Omit<Asked, 'id'>): Ran {
  thread ??= startThread(folder)
  const { worker, port, answered } = thread
  last += 1
  Atomics.store(answered, 0, 0)
  port.postMessage({ ...asked, id: last })
  for (const end = Date.now() + 120_000; Date.now() < end; ) {
    // The message may come a little later than the note that it was sent.
    if (Atomics.wait(answered, 0, 0, end - Date.now()) === 'not-equal') Atomics.wait(pause, 0, 0, 1)
    const said = receiveMessageOnPort(port)?.message as Answered | undefined
    if (said?.id === last) return said.ran
  }
  thread = undefined
  worker.terminate()
  throw new Error(`${asked.name} ${asked.args.join(' ')}: does not end`)
}

let last = 0
const pause = new Int32Array(new SharedArrayBuffer(4))
