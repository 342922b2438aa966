import { runCommand } from '../change/run.ts'
import { type KernelLog, LOG, readKernelLog } from '../host/kernel-log.ts'
import type { Machine } from '../host/machine.ts'

/** Reads the kernel log, or else its copy in systemd's journal, which users other than root may be allowed to read. */
export async function askKernelLog(machine: Machine): Promise<KernelLog> {
  const read = readKernelLog(machine)
  if (read.log !== null || !machine.running) return read
  const argv = ['journalctl', '-k', '-b', '-o', 'short-monotonic', '--no-pager']
  const { code, stdout } = await runCommand(argv, { root: '/', seconds: 10 })
  // journalctl answers like this to users who may not read it.
  if (code !== 0 || stdout === '' || stdout.startsWith('-- No entries')) return read
  machine.programOutput.set(LOG, stdout)
  return { ...read, log: stdout }
}
