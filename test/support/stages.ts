// Images and root file systems as small trees, for what they do with drivers.
import { adapters } from '../../distros/index.ts'
import { openReader } from '../../lib/host/sysroot.ts'
import type { BootStage, BootStep } from '../../lib/system/boot.ts'
import type { Host } from '../../lib/system/system.ts'
import { scratchDir } from './machine.ts'
import { writeIn } from './system.ts'

export const release = '6.1.0-test'
export type Files = Record<string, string>

export function tree(files: Files): string {
  const dir = scratchDir('stage')
  for (const [path, text] of Object.entries(files)) writeIn(dir, path, text)
  return dir
}

export function hostOf(dir: string): Host {
  const files = openReader(dir)
  return { files, machine: files, running: false, kernels: [] }
}

/** A step in one line, as a person would say it. */
export function told(step: BootStep): string {
  if (step.kind === 'load')
    return `load ${step.module} ${step.options}${step.obeysBlacklist ? ' (-b)' : ''}`.replace(/ +/g, ' ').trim()
  if (step.kind === 'boot-script') return `script ${step.functions.join(', ')}`
  if (step.kind === 'coldplug') return ['coldplug', ...step.beside.map((one) => `beside ${told(one)}`)].join(', ')
  if (step.kind === 'override') return `override ${step.address} ${step.driver}`
  return `unknown ${step.addresses.join(' ')}`.trim()
}

export const tellAll = ({ steps }: BootStage): string[] => steps.map(told)

export function imageStage(files: Files): BootStage {
  const stage = adapters.stageOf(openReader(tree(files)), release)
  if (stage === undefined) throw new Error('nobody knows this image')
  return stage
}

export function nextOf(name: string, files: Files): BootStage {
  const opened = adapters.openInitramfs(hostOf(tree(files)), name)
  if (opened === undefined) throw new Error(`there is no ${name}`)
  return opened.nextStage(release)
}

export const FUNCTION = '0000:01:00.0 10de 1c03 1462:3282 /sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0'
export const script: Files = { 'etc/vfio-scripts/override': `#!/bin/sh\nself=x\n#= ${FUNCTION}\n` }
export const BIND =
  '#!/bin/sh\n# was 0000:09:00.0\nfor dev in 0000:02:00.0 03:00.1; do\n  echo vfio-pci > /sys/bus/pci/devices/$dev/driver_override\ndone\nmodprobe -i vfio-pci\n'
export const kmod: Files = { 'usr/bin/kmod': '', 'sbin/modprobe': '→ /usr/bin/kmod' }
export const order = (...names: string[]): string =>
  names.map((name) => `/scripts/init-top/${name} "$@"\n[ -e /conf/param.conf ] && . /conf/param.conf\n`).join('')
export const PREREQ = '#!/bin/sh\nPREREQ=""\ncase $1 in\nprereqs)\n  echo "$PREREQ"\n  exit 0\n  ;;\nesac\n'
export const UDEV = `${PREREQ}udevd --daemon\nudevadm trigger --type=devices --action=add\nudevadm settle || true\n`
