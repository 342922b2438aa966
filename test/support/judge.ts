// What tests of guards share: a fake machine, the devices somebody wants, and what the guards say.

import { parseSelector } from '../../lib/bind/select.ts'
import { runChecks } from '../../lib/checks/check.ts'
import { GUARDS } from '../../lib/checks/registry.ts'
import type { Finding } from '../../lib/core/finding.ts'
import { openMachine, readPciFacts } from '../../lib/host/machine.ts'
import { readDeviceUsage } from '../../lib/host/usage.ts'
import { addBlock, addFiles, addMount, addProcess } from './fake/host.ts'
import { type FakeDevice, loadMachine, type Machine, scratchDir, writeMachine } from './machine.ts'

/** What the guards say of devices on a machine that is changed first; group mates go along, as in bind-vfio. */
export function judge(name: string, devices: string[], change: (machine: Machine) => void = () => {}) {
  const machine = loadMachine(name)
  change(machine)
  const dir = scratchDir('guards')
  writeMachine(machine, dir)
  const opened = openMachine({ machine: dir, root: dir })
  const { devices: all, groups } = readPciFacts(opened, () => {})
  const selectors = devices.map(parseSelector)
  const asked = all.filter((device) => selectors.some((selector) => selector.matches(device)))
  const wanted = new Set(asked.map((device) => device.group))
  wanted.delete(null)
  const chosen = all.filter((device) => !device.bridge && (asked.includes(device) || wanted.has(device.group)))
  const usage = readDeviceUsage(opened.reader, opened.reader, chosen)
  const facts = { pci: { devices: all, groups }, requested: asked, selected: chosen, given: chosen, usage }
  const found = runChecks(GUARDS, facts, [])
  const of = (code: string): Finding => {
    const finding = found.find((each) => each.code === code)
    if (finding === undefined) throw new Error(`no finding ${code}`)
    return finding
  }
  const problems = found.filter(({ state }) => state !== 'ok').map(({ code, state }) => `${code}: ${state}`)
  return { of, problems, found, state: (code: string) => [of(code).state, of(code).evidence] }
}

export function device(machine: Machine, address: string): FakeDevice {
  const found = machine.devices[address]
  if (found === undefined) throw new Error(`${address} is not in the machine`)
  return found
}

export const NVME = '0000:02:00.0'
export const NIC = '0000:03:00.0'

/** A host that does nothing with its devices yet, and says so. */
export function idle(machine: Machine): void {
  addFiles(machine, {
    '/proc/net/route': 'Iface\n',
    '/proc/net/tcp': '  sl\n',
    '/sys/class/vtconsole/vtcon0/name': '(S) dummy device\n',
    '/sys/class/vtconsole/vtcon0/bind': '1\n',
    '/sys/class/block/.keep': '',
    '/sys/class/net/bonding_masters': '',
  })
  addMount(machine, '0:30', '/', 'ext4', '/dev/sda1')
  addBlock(machine, 'sda1', { number: '8:1', udev: {} })
  addProcess(machine, 300, 'sshd', ['/dev/null'])
}
