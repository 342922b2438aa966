// Machines on which the program of hand-over runs: a folder each, in which hand-over-kernel.sh is the kernel and systemd.
import { existsSync, readFileSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { HAND_OVER } from '../../lib/hand-over/hand-over-paths.ts'
import { handOverFiles } from '../../lib/hand-over/hook-files.ts'
import { newFolder } from './expect.ts'
import { has as hasProgram, PROJECT, type Ran, runProgram } from './run.ts'
import { replaceIn, snapshotOf } from './system.ts'

export const gpu = '0000:01:00.0'
export const audio = '0000:01:00.1'
export const guestUuid = 'c0ffee00-0000-4000-8000-000000000001'

/** What is in POSIX shell has to run in each that a distribution has as its /bin/sh. */
export const SHELLS = [['dash'], ['busybox', 'sh'], ['bash', '--posix']].filter(([name = '']) => hasProgram(name))

/** A machine with a card, and a guest that takes it. */
export interface CardMachine {
  root: string
  /** Adds to the machine, or changes it; `→ target` is a link, `null` nothing at all. */
  write(files: Readonly<Record<string, string | null>>): void
  text(path: string): string
  has(path: string): boolean
  /** Runs the program; `killAt`: it is killed before this step. */
  run(verb: string, options?: { shell?: readonly string[]; killAt?: number }): Ran
  /** What was done, a line each, since it was last asked. */
  steps(): string[]
  /** Drivers, nodes, modules, consoles and the states of units. */
  state(): string
  /** Why the start was refused. */
  why(): string | null
}

interface Shape {
  /** [amdgpu] */
  driver?: 'amdgpu' | 'nvidia'
  /** Is there a display beside it? */
  second?: boolean
}

/** A process, its control group, and the nodes that it has open. */
const process = (pid: number, name: string, group: string, ...nodes: string[]): Record<string, string> => ({
  [`${pid}/comm`]: `${name}\n`,
  [`${pid}/cgroup`]: `0::${group}\n`,
  [`${pid}/maps`]: '',
  ...Object.fromEntries(nodes.map((node, index) => [`${pid}/fd/${index + 3}`, `→ ROOT/dev/${node}`])),
})
const below = (folder: string, files: Record<string, string>): Record<string, string> =>
  Object.fromEntries(Object.entries(files).map(([path, text]) => [`${folder}/${path}`, text]))

/** A process that has nodes of the machine open. */
export const opened = (...of: Parameters<typeof process>): Record<string, string> => below('proc', process(...of))
/** A guest that has the card open. */
export const qemu = opened(4000, 'qemu-system-x86', '/machine.slice/machine-qemu.scope', 'vfio/11')
/** The same, of a unit: it ends and comes with it. */
export const inUnit = (unit: string, ...of: Parameters<typeof process>): Record<string, string> => ({
  [`units/${unit}`]: 'active\n',
  ...below(`units/${unit}.processes`, process(...of)),
  ...opened(...of),
})

const mount = 'sys/devices/pci0000:00/0000:00:01.0'
const native: Record<string, { class: string; id: string; driver: string }> = {
  [gpu]: { class: '0x030000', id: '0x73bf', driver: 'amdgpu' },
  [audio]: { class: '0x040300', id: '0xab28', driver: 'snd_hda_intel' },
}

function cardFiles(address: string, driver: string): Record<string, string> {
  const { class: code, id } = native[address] ?? { class: '', id: '' }
  return {
    [`${mount}/${address}/vendor`]: '0x1002\n',
    [`${mount}/${address}/device`]: `${id}\n`,
    [`${mount}/${address}/subsystem_vendor`]: '0x1462\n',
    [`${mount}/${address}/subsystem_device`]: '0x3951\n',
    [`${mount}/${address}/class`]: `${code}\n`,
    [`${mount}/${address}/driver_override`]: '(null)\n',
    [`${mount}/${address}/iommu_group`]: '→ ../../../../kernel/iommu_groups/11',
    [`${mount}/${address}/driver`]: `→ ../../../../bus/pci/drivers/${driver}`,
    [`sys/kernel/iommu_groups/11/devices/${address}`]: `→ ../../../../devices/pci0000:00/0000:00:01.0/${address}`,
    [`sys/bus/pci/devices/${address}`]: `→ ../../../devices/pci0000:00/0000:00:01.0/${address}`,
    [`native-${address}`]: `${driver}\n`,
    ...driverFiles(driver),
    [`sys/bus/pci/drivers/${driver}/${address}`]: `→ ../../../../devices/pci0000:00/0000:00:01.0/${address}`,
  }
}

function driverFiles(driver: string, module = driver.replace('-', '_')): Record<string, string> {
  return {
    [`sys/bus/pci/drivers/${driver}/unbind`]: '\n',
    [`sys/bus/pci/drivers/${driver}/module`]: `→ ../../../../module/${module}`,
    [`sys/module/${module}/refcnt`]: '0\n',
  }
}

/** The lines of hand-over.d for the card, without what is stopped. */
export const cardLines = `uuid ${guestUuid}\nfunction ${gpu} 1002 73bf\nfunction ${audio} 1002 ab28\n`

/**
 * A machine whose card drives the only display: gdm shows on it, and the text console. `second`: it is beside the
 * display of the host, and the sound service of a user has its sound device open.
 */
export function cardMachine({ driver = 'amdgpu', second = false }: Shape = {}): CardMachine {
  const root = realpathSync(newFolder())
  const write: CardMachine['write'] = (files) =>
    replaceIn(
      root,
      Object.fromEntries(
        Object.entries(files).map(([path, text]) => [path, text?.replace(/^→ ROOT/, `→ ${root}`) ?? null]),
      ),
    )
  const card = driver === 'nvidia' ? ['nvidia0', 'nvidiactl', 'dri/card0'] : ['dri/card0']
  write({
    ...programs(root),
    ...{
      faults: '',
      settled: '',
      system: 'running\n',
      'proc/uptime': '100.0 0\n',
      'proc/iomem': '',
      'proc/mounts': '',
    },
    ...{ 'proc/swaps': '', 'sys/bus/pci/drivers_probe': '\n', 'sys/dev/block/.keep': '', 'dev/vfio/vfio': '' },
    ...{ 'sys/class/vtconsole/vtcon0/name': '(S) dummy device\n', 'sys/class/vtconsole/vtcon0/bind': '0\n' },
    ...{ 'sys/class/vtconsole/vtcon1/name': '(M) frame buffer device\n', 'sys/class/vtconsole/vtcon1/bind': '1\n' },
    ...driverFiles('vfio-pci'),
    ...cardFiles(gpu, driver),
    ...cardFiles(audio, 'snd_hda_intel'),
    [`${mount}/${gpu}/drm/card0/uevent`]: 'DEVNAME=dri/card0\n',
    'sys/dev/char/226:0': `→ ../../devices/pci0000:00/0000:00:01.0/${gpu}/drm/card0`,
    'dev/dri/card0': '\n',
    [`dev/dri/by-path/pci-${gpu}-card`]: '→ ../card0',
    [`${mount}/${audio}/sound/card1/controlC1/uevent`]: 'DEVNAME=snd/controlC1\n',
    'sys/dev/char/116:7': `→ ../../devices/pci0000:00/0000:00:01.0/${audio}/sound/card1/controlC1`,
    'dev/snd/controlC1': '\n',
    ...opened(1, 'systemd', '/init.scope'),
    ...(driver === 'nvidia'
      ? {
          ...{ 'dev/nvidia0': '\n', 'dev/nvidiactl': '\n', 'sys/module/nvidia/refcnt': '2\n' },
          ...{ 'sys/module/nvidia_modeset/refcnt': '1\n', 'sys/module/nvidia_drm/refcnt': '0\n' },
          'sys/module/nvidia_uvm/refcnt': '0\n',
        }
      : {}),
    ...(second
      ? {
          'etc/hand-over.d/win11': `${cardLines}user-unit wireplumber.service\n`,
          'units/user@1000.service': 'active\n',
          'units/user/wireplumber.service': 'active\n',
          'units/user/wireplumber.service.triggers': 'wireplumber.socket\n',
          'units/user/wireplumber.socket': 'active\n',
          ...below('units/wireplumber.service.processes', wireplumber),
          ...below('proc', wireplumber),
        }
      : {
          'etc/hand-over.d/win11': `${cardLines}stop gdm.service\nsessions end\nconsoles unbind\n`,
          ...inUnit('gdm.service', 812, 'Xorg', '/system.slice/gdm.service', ...card),
        }),
  })
  const text = (path: string): string => readFileSync(join(root, path), 'utf8')
  const has = (path: string): boolean => existsSync(join(root, path))
  return {
    ...{ root, write, text, has },
    run: (verb, { shell = SHELLS[0] ?? ['sh'], killAt } = {}) => {
      const [program = 'sh', ...args] = shell
      write({ steps: '' })
      return runProgram(program, [...args, join(root, 'etc/hand-over'), verb, 'win11'], {
        env: { ROOT: root, KILL_AT: killAt === undefined ? '' : String(killAt) },
      })
    },
    steps: () => text('steps').split('\n').slice(0, -1),
    state: () =>
      ['sys', 'dev', 'units', 'proc']
        .map((folder) => snapshotOf(join(root, folder)))
        .join('\n')
        .replace(/^\/uptime .*$/gm, ''),
    why: () => (has(WHY) ? text(WHY).trimEnd() : null),
  }
}

const WHY = 'run/vfio-scripts/hand-over/win11/why'
export const RECORD = 'run/vfio-scripts/hand-over/win11/record'
const wireplumber = process(
  900,
  'wireplumber',
  '/user.slice/user-1000.slice/user@1000.service/session.slice/wireplumber.service',
  'snd/controlC1',
)

/** The program as it is installed, but for where it looks and what it changes. */
function programs(root: string): Record<string, string> {
  return Object.fromEntries(
    handOverFiles().flatMap((setting) => {
      if (setting.kind !== 'file' || !setting.path.startsWith(HAND_OVER)) return []
      const moved = setting.content
        .replace(
          'sys=/sys proc=/proc dev=/dev run=/run',
          `sys=${root}/sys proc=${root}/proc dev=${root}/dev run=${root}/run`,
        )
        .replace(/^note\(\) \{/m, 'real_note() {')
        .replace(/^put\(\) .*$/m, '')
      const isSteps = setting.path.endsWith('-steps')
      const content = isSteps ? `${moved}. ${PROJECT}test/support/hand-over-kernel.sh\n` : moved
      return [[`etc/${setting.path.slice(setting.path.lastIndexOf('/') + 1)}`, content]]
    }),
  )
}

/** Expects that nothing was done that a real machine would not forgive. */
export function expectRight(machine: CardMachine): void {
  expect(machine.has('wrong') ? machine.text('wrong') : '').toBe('')
}

/** Who has the functions now. */
export function driversOf(machine: CardMachine): string[] {
  const { stdout } = machine.run('status')
  return stdout
    .split('\n')
    .slice(0, -1)
    .map((line) => line.replace('win11 ', ''))
}
