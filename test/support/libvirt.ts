// A real libvirtd in namespaces of its own, of this system or of another root: the judge that a user meets.

import { type ChildProcess, spawn } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { cpuList, parseCpuList } from '../../lib/host/cpu.ts'
import { scratchDir } from './machine.ts'
import { has, PROJECT, type Ran, runProgram, works } from './run.ts'

/** Why there can be no daemon here; empty when there can. */
export function lacking(root = '/'): string {
  if (process.getuid?.() !== 0) return 'needs root'
  if (!has('qemu-img')) return 'needs qemu-img'
  if (!has('unshare') || !has('nsenter') || !has('ip')) return 'needs unshare, nsenter and ip'
  for (const path of ['usr/sbin/libvirtd', 'usr/bin/virsh', 'usr/bin/qemu-system-x86_64'])
    if (!existsSync(`${root}/${path}`)) return `${root}: no ${path}`
  return works('unshare', '-m', '-n', '-p', '-f', 'true') ? '' : 'may make no namespaces'
}

/** The version of the libvirt in `root`, which need not run. */
export function versionOf(root: string): string {
  return /(\d+\.\d+\.\d+)/.exec(runProgram('chroot', [root, '/usr/sbin/libvirtd', '--version']).stdout)?.[1] ?? ''
}

const IMAGES = '/var/lib/libvirt/images'

export interface Started {
  /** What libvirt or QEMU said against it, or what the firmware left undone; empty: it runs. */
  error: string
  /** QEMU's arguments and messages. */
  log: string
}

/** `info pci` of QEMU's monitor: has a firmware been there? It gives every memory window a place; ROMs have none. */
const WINDOWS = /BAR[0-5]: .*memory at (0x\w+)/g

export class Libvirt {
  readonly #daemon: ChildProcess
  readonly #work = scratchDir('libvirtd')

  private constructor(root: string) {
    const namespaces = ['--mount', '--net', '--pid', '--fork', '--kill-child']
    const args = [...namespaces, 'sh', `${PROJECT}test/support/libvirtd.sh`, root, this.#work]
    // Nothing of this environment: folders for temporary files need not be in the other root.
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root', LC_ALL: 'C' }
    this.#daemon = spawn('unshare', args, { stdio: 'ignore', detached: true, env })
  }

  /** A libvirtd of the system in `root`, which answers. */
  static async open(root = '/'): Promise<Libvirt> {
    const libvirt = new Libvirt(root)
    for (let tries = 0; tries < 300 && libvirt.virsh('version').code !== 0; tries++) await sleep(100)
    const { code, stderr } = libvirt.virsh('net-start', 'default')
    for (const name of ['windows.iso', 'virtio-win.iso', 'card.rom']) libvirt.write(`${IMAGES}/${name}`, '')
    libvirt.writeImage(`${IMAGES}/guest.qcow2`)
    for (const file of ['/srv/games/file', '/home/file', '/dev/sdb']) libvirt.write(file, '\0'.repeat(1 << 20))
    if (code !== 0) throw new Error(`libvirtd in ${root}: ${stderr}`)
    return libvirt
  }

  close(): void {
    // Another signal would end unshare's child no more, once it waits for it.
    this.#daemon.kill('SIGKILL')
  }

  virsh(...args: string[]): Ran {
    const inside = ['-t', `${this.#daemon.pid}`, '--mount', '--net', 'chroot', `${this.#work}/root`]
    return runProgram('nsenter', [...inside, 'virsh', '-q', '-c', 'qemu:///system', ...args], { env: { LC_ALL: 'C' } })
  }

  version(): string {
    return this.virsh('--version').stdout.trim()
  }

  qemu(): string {
    return /hypervisor: QEMU ([\d.]+)/.exec(this.virsh('version').stdout)?.[1] ?? ''
  }

  /** A path of the daemon's own system, as this process reaches it. */
  path(path: string): string {
    return `/proc/${this.#daemon.pid}/root${this.#work}/root${path}`
  }

  write(path: string, content: string): void {
    mkdirSync(dirname(this.path(path)), { recursive: true })
    writeFileSync(this.path(path), content)
  }

  /** An empty disk. */
  writeImage(path: string): void {
    this.write(path, '')
    runProgram('qemu-img', ['create', '-q', '-f', 'qcow2', this.path(path), '8M'])
  }

  copy(from: string, to: string): void {
    mkdirSync(dirname(this.path(to)), { recursive: true })
    copyFileSync(this.path(from), this.path(to))
  }

  link(target: string, path: string): void {
    mkdirSync(dirname(this.path(path)), { recursive: true })
    symlinkSync(target, this.path(path))
  }

  remove(path: string): void {
    rmSync(this.path(path), { recursive: true, force: true })
  }

  /** What libvirt says against a domain, as it is but for KVM; empty when it defines it. `xml`: what it made of it. */
  define(xml: string): { error: string; xml: string } {
    this.write('/tmp/domain.xml', xml.replace("<domain type='kvm'", "<domain type='qemu'"))
    const { code, stderr } = this.virsh('define', '/tmp/domain.xml')
    if (code !== 0) return { error: stderr.trim(), xml: '' }
    const made = this.virsh('dumpxml', '--inactive', nameOf(xml)).stdout
    this.virsh('undefine', '--nvram', nameOf(xml))
    return { error: '', xml: made }
  }

  /**
   * Starts the domain, emulated, and waits until its firmware has run; then `ask` may ask its monitor. It is destroyed
   * in the end.
   */
  async start(
    xml: string,
    ask: (monitor: (command: string) => string) => void = () => {},
    seconds = 240,
  ): Promise<Started> {
    const name = nameOf(xml)
    this.write('/tmp/domain.xml', emulated(xml))
    this.virsh('undefine', '--nvram', name)
    const { code, stderr } = this.virsh('create', '/tmp/domain.xml')
    const monitor = (command: string): string => this.virsh('qemu-monitor-command', name, '--hmp', command).stdout
    let error = code === 0 ? 'the firmware placed no device' : stderr.trim()
    for (let tries = 0; code === 0 && error !== '' && tries < seconds; tries++) {
      if (allPlaced(monitor('info pci'))) error = ''
      else await sleep(1000)
    }
    if (code === 0) ask(monitor)
    this.virsh('destroy', name)
    const log = this.path(`/var/log/libvirt/qemu/${name}.log`)
    return { error, log: existsSync(log) ? readFileSync(log, 'utf8') : '' }
  }
}

function allPlaced(devices: string): boolean {
  const places = [...devices.matchAll(WINDOWS)].map(([, place = '']) => place)
  return places.length > 0 && places.every((place) => !place.startsWith('0xffffffff'))
}

function nameOf(xml: string): string {
  return /<name>(.*)<\/name>/.exec(xml)?.[1] ?? ''
}

/**
 * All that a domain loses to start on a machine that has no KVM, none of its devices, and other CPUs. What is
 * changed here is proven nowhere else than on hardware.
 */
export const CHANGES: readonly [what: RegExp, to: string, why: string][] = [
  [/<domain type='kvm'/, "<domain type='qemu'", 'QEMU translates'],
  [/<cpu mode='host-passthrough'/, "<cpu mode='maximum'", 'there is no host CPU to pass through'],
  [/<maxphysaddr mode='passthrough'[^>]*>/, '', 'its width is the host CPU’s'],
  [/host-x86_64-cpu\.host-phys-bits-limit=/, 'max-x86_64-cpu.phys-bits=', 'the same in a CPU that is emulated'],
  [/<cache mode='passthrough'\/>|<feature policy='require' name='topoext'\/>/g, '', 'of the host CPU as well'],
  [/<hyperv>[\s\S]*?<\/hyperv>|<timer name='hypervclock'[^>]*>/g, '', 'KVM is what speaks like Hyper-V'],
  [/<kvm>[\s\S]*?<\/kvm>|<ioapic driver='kvm'\/>/g, '', 'KVM’s own'],
  [/<hostdev [\s\S]*?<\/hostdev>|<input type='evdev'>[\s\S]*?<\/input>/g, '', 'devices of the host'],
  [
    /<qemu:override>[\s\S]*?<\/qemu:override>|<qemu:arg value='-set'\/>\s*<qemu:arg [^>]*>/g,
    '',
    'they set those devices',
  ],
  [
    /<disk type='block'([\s\S]*?)cache='none' io='native' ([\s\S]*?<source )dev=/g,
    "<disk type='file'$1$2file=",
    'its disks',
  ],
  [/<interface type='direct'>[\s\S]*?<\/interface>/g, '', 'the node of a macvtap device is udev’s to make'],
  [/<hugepages>[\s\S]*?<\/hugepages>/g, '', 'pages of the host'],
  [/<audio id='1' type='(pipewire|pulseaudio)'[^>]*>/g, "<audio id='1' type='none'/>", 'a server of the host'],
]

/** The domain as CHANGES, or some of them, and this machine's CPUs let it start. */
export function emulated(xml: string, changes = CHANGES): string {
  const online = parseCpuList(readFileSync('/sys/devices/system/cpu/online', 'utf8')) ?? [0]
  const changed = changes.reduce((text, [what, to]) => text.replace(what, to), xml)
  return changed.replace(/(<\w+pin [^>]*cpuset=')([^']*)/g, (_, head: string, list: string) => {
    const cpus = (parseCpuList(list) ?? []).map((cpu) => online[cpu % online.length] ?? 0)
    return head + cpuList(cpus)
  })
}
