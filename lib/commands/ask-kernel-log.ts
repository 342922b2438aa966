import { runCommand } from '../change/run.ts'
import { type KernelLog, LOG, readKernelLog } from '../host/kernel-log.ts'
import type { Machine } from '../host/machine.ts'

/** The kernel log, else what the journal has of it, which others than root may be allowed to read. */
export async function askKernelLog(machine: Machine): Promise<KernelLog> {
  const read = readKernelLog(machine)
  if (read.log !== null || !machine.running) return read
  const argv = ['journalctl', '-k', '-b', '-o', 'short-monotonic', '--no-pager']
  const { code, stdout } = await runCommand(argv, { root: '/', seconds: 10 })
  // What journalctl says to those who may not look.
  if (code !== 0 || stdout === '' || stdout.startsWith('-- No entries')) return read
  machine.programOutput.set(LOG, stdout)
  return { ...read, log: stdout }
}
