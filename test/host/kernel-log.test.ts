import { expect, it } from 'vitest'
import { readKernelLog } from '../../lib/host/kernel-log.ts'
import type { Machine } from '../../lib/host/machine.ts'
import { openReader } from '../../lib/host/sysroot.ts'
import { hostWith } from '../support/root.ts'

const [user, root] = ['Uid:\t1000\t1000\t1000\t1000\n', 'Uid:\t1000\t0\t0\t0\n']

it.each([
  ['there is none', root, {}, false, /^the kernel log is not there \(\/dev\/kmsg\)$/],
  ['there is none, for a user', user, {}, false, /^the kernel log is not there \(\/dev\/kmsg\)$/],
  ['it is empty', root, { '/dev/kmsg': '' }, false, /not there \(\/dev\/kmsg is empty\)$/],
  ['root may not read it', root, {}, true, /^the kernel log may not be read: here not even by root/],
  ['a user may not read it', user, {}, true, /^the kernel log may not be read: try as root$/],
])('%s: what is missing says so', (_, status, files, closed, says) => {
  const reader = openReader(hostWith({ ...files, '/proc/self/status': status }).root, { lenient: true })
  if (closed) reader.denied.set('/dev/kmsg', '/dev/kmsg: cannot be read (EPERM)')
  const read = readKernelLog({ reader, running: true, programOutput: new Map() } as unknown as Machine)
  expect(read.log).toBeNull()
  expect(read.logMissing).toMatch(says)
  // No remark says the same again.
  expect(reader.denied.size).toBe(0)
})

it('of the running machine is its records, as dmesg prints them', () => {
  const files = { '/dev/kmsg': '6,339,5140900,-;NET: Registered \\x41\n SUBSYSTEM=net\n', '/proc/self/status': root }
  const programOutput = new Map<string, string>()
  const machine = { reader: openReader(hostWith(files).root), running: true, programOutput } as unknown as Machine
  expect(readKernelLog(machine).log).toBe('[    5.140900] NET: Registered A\n')
  expect([...programOutput.values()]).toEqual(['[    5.140900] NET: Registered A\n'])
})
