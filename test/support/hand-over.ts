// Guests with a hand-over, on systems that are not booted.
import { mkdirSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { expectRan } from './bind.ts'
import { type Ran, runScript } from './run.ts'
import { type System, snapshotOf, systemDir, writeIn } from './system.ts'

export const uuid = 'c0ffee00-0000-4000-8000-000000000001'
export const hostdev = (bus: string, fn = '0'): string =>
  `<hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0x0000' bus='0x${bus}' slot='0x00' function='0x${fn}'/></source></hostdev>`
export const domain = (name: string, devices = '', id = uuid): string =>
  `<domain type='kvm'><name>${name}</name><uuid>${id.toUpperCase()}</uuid><devices>${devices}</devices></domain>`

const desktop = {
  'usr/lib/systemd/systemd': '',
  'usr/lib/systemd/system/libvirtd.service': '',
  'usr/lib/systemd/system/gdm.service': '',
  'usr/lib/systemd/system/smbd.service': '',
  'etc/systemd/system/display-manager.service': '→ /usr/lib/systemd/system/gdm.service',
  'etc/libvirt/qemu/win11.xml': domain('win11', hostdev('05')),
}

/** A process that has a node of a function open, in a control group. */
export function hold(dir: string, address: string, name: string, group: string, process = 'Xorg', pid = 812): void {
  const folder = `${realpathSync(join(dir, 'sys/bus/pci/devices', address)).slice(dir.length)}/${name}`
  writeIn(dir, `${folder}/uevent`, `MAJOR=226\nMINOR=${pid % 256}\nDEVNAME=${name}\n`)
  writeIn(dir, `sys/dev/char/226:${pid % 256}`, `→ ../..${folder.slice('/sys'.length)}`)
  writeIn(dir, 'proc/1/comm', 'systemd\n')
  mkdirSync(join(dir, 'proc/1/fd'), { recursive: true })
  writeIn(dir, `proc/${pid}/comm`, `${process}\n`)
  writeIn(dir, `proc/${pid}/cgroup`, `${group}\n`)
  writeIn(dir, `proc/${pid}/fd/4`, `→ /dev/${name}`)
}

export const desktopDir = (
  machine: string,
  files: Record<string, string | null> = {},
  family: System['family'] = 'debian',
): string => systemDir({ machine, family, files: { ...desktop, ...files } } as System)
export const handOver = (dir: string, ...args: string[]): Ran => runScript('hand-over', ['--root', dir, ...args])
export const write = ['--apply', '--no-commands'] as const
export const conf = 'etc/vfio-scripts/hand-over.d/win11'
export const hook = 'etc/libvirt/hooks/qemu.d/50-vfio-scripts-hand-over'

export function expectRefused(dir: string, args: readonly string[], says: RegExp): void {
  const before = snapshotOf(dir)
  expectRan(handOver(dir, ...args, '--apply'), 2, says)
  expect(snapshotOf(dir)).toBe(before)
}
