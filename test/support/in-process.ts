// Scripts called in the tests' own process: a thread has their bundles loaded and hands in arguments, streams and exit
// code, while the test waits as it would for a process.
import { join } from 'node:path'
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads'
import { build } from 'esbuild'
import type { Ran } from './run.ts'

export interface Asked {
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
export function runInThread(folder: string, asked: Asked): Ran {
  thread ??= startThread(folder)
  const { worker, port, answered } = thread
  Atomics.store(answered, 0, 0)
  port.postMessage(asked)
  if (Atomics.wait(answered, 0, 0, 120_000) === 'timed-out') {
    thread = undefined
    worker.terminate()
    throw new Error(`${asked.name} ${asked.args.join(' ')}: does not end`)
  }
  return receiveMessageOnPort(port)?.message as Ran
}
