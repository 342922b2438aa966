// What the tests of gen-domain share: a host that has something for guests, and the programs that judge a domain.

import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Around, cpuTree, type Row } from './cpus.ts'
import { addBlock, addFiles, addLinks } from './fake/host.ts'
import { addFirmware, type SituationName } from './firmware.ts'
import { device } from './judge.ts'
import { emulated } from './libvirt.ts'
import { loadMachine, type Machine, scratchDir, writeMachine } from './machine.ts'
import { romOf } from './rom.ts'
import { has, PROJECT, type Ran, runProgram, runScript } from './run.ts'

/** Eight cores in two L3 clusters, the second of which has the larger cache. */
const CORES: Row[] = Array.from({ length: 16 }, (_, cpu) => ({
  cpu,
  core: cpu % 8,
  l3: cpu % 8 < 4 ? 0 : 1,
  node: 0,
  mhz: 4000,
}))

/** An ISO 9660 image with an El Torito catalog: for a BIOS, or for UEFI too. */
export function iso(efi: boolean): Buffer {
  const image = Buffer.alloc(22 * 2048)
  image.write('CD001', 16 * 2048 + 1)
  image.write('EL TORITO SPECIFICATION', 17 * 2048 + 7)
  image.writeUInt32LE(20, 17 * 2048 + 0x47)
  const catalog = 20 * 2048
  image[catalog] = 1
  image[catalog + 32] = 0x88
  if (efi) image.set([0x91, 0xef, 1, 0], catalog + 64)
  return image
}

/** Adds an Arc at 23:00, whose display and audio are on two buses. */
export function addArc(machine: Machine): void {
  machine.devices['0000:00:1e.0'] = { class: '060400', id: '8086:7ab0', driver: 'pcieport', group: 40 }
  for (const [address, one] of Object.entries(loadMachine('arc-a310').devices)) {
    if (!/^8086:(4f|56)/.test(one.id)) continue
    const moved = (text: string): string => text.replace(/^0000:0/, '0000:2')
    const under = address === '0000:01:00.0' ? '0000:00:1e.0' : moved(one.under ?? '')
    machine.devices[moved(address)] = { ...one, group: 26 + (one.group ?? 0), under }
  }
}

/** Adds an integrated GPU of generation 9, and ROMs for it: `vbios.rom` for a BIOS, `igd.rom` for UEFI. */
export function addIgd(machine: Machine, id = '3e98', kind = '030000'): void {
  machine.devices['0000:00:02.0'] = { class: kind, id: `8086:${id}`, driver: 'vfio-pci', group: 41 }
  addFiles(machine, {
    '/var/lib/libvirt/images/vbios.rom': romOf(0x8086, 0x0406, 0),
    '/var/lib/libvirt/images/igd.rom': romOf(0x8086, Number.parseInt(id, 16), 3),
  })
}

/** Adds the cards of the golden guests. */
export function addCards(machine: Machine): void {
  addArc(machine)
  addIgd(machine)
}

/** The i9-14900K whose second card is for guests, with 64 GiB, files to boot from, and things that are plugged in. */
export function domainHost(
  change: (machine: Machine) => void = () => {},
  firmware: SituationName = 'debian',
  cpu: Pick<Around, 'vendor' | 'addressBits' | 'flags' | 'files'> = {},
): string {
  const machine = loadMachine('i9-14900k-vmd')
  addFirmware(machine, firmware)
  addFiles(machine, {
    '/proc/meminfo': 'MemTotal:       65536000 kB\n',
    '/proc/self/mountinfo': '',
    '/proc/swaps': 'Filename\n',
    '/etc/passwd':
      'root:x:0:0::/root:/bin/sh\nlibvirt-qemu:x:64055:105::/:/bin/false\nada:x:1001:1001::/home/ada:/bin/sh\n',
    '/etc/group': 'kvm:x:105:libvirt-qemu\n',
    '/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages': '4096\n',
    '/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages': '4096\n',
    '/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages': '16\n',
    '/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages': '16\n',
    '/usr/bin/env': '',
    '/var/lib/libvirt/images/windows.iso': iso(true),
    '/var/lib/libvirt/images/virtio-win.iso': iso(false),
    '/var/lib/libvirt/images/guest.qcow2': Buffer.from('QFI\u00fb', 'latin1'),
    '/var/lib/libvirt/images/card.rom': '',
    '/sys/devices/pci0000:00/0000:00:17.0/ata1/2:0:0:0/block/sr0/dev': '11:0\n',
  })
  addLinks(machine, {
    '/sys/class/block/sr0': '../../devices/pci0000:00/0000:00:17.0/ata1/2:0:0:0/block/sr0',
    '/sys/devices/pci0000:00/0000:00:17.0/ata1/2:0:0:0/block/sr0/device': '../../../2:0:0:0',
  })
  addBlock(machine, 'sdb', { number: '8:16', udev: {} })
  machine.usb = {
    ...machine.usb,
    usb1: { under: '0000:00:14.0' },
    '1-1': { id: '046d:c52b', product: 'Receiver' },
    '1-2': { id: '0c45:7663', devnum: 7 },
    '1-3': { id: '0c45:7663', devnum: 8 },
  }
  change(machine)
  const dir = scratchDir('domain')
  writeMachine(machine, dir)
  const cpus = cpuTree(CORES, { vendor: 'AuthenticAMD', l3Size: { 0: 32768, 1: 98304 }, ...cpu })
  runProgram('cp', ['-a', `${cpus}/.`, dir])
  return dir
}

/** MGAW: bits 21 to 16, less 1. */
const capability = (bits: number): string => (0xd2008c400000660n | (BigInt(bits - 1) << 16n)).toString(16)

/** That host with a BAR of so many GiB, with so many address bits of CPU and IOMMU, and that release of OVMF. */
export function largeCard(
  gib: number,
  { cpu, iommu, ovmf }: { cpu: number | null; iommu: number | null; ovmf: string | null },
): string {
  return domainHost(
    (machine) => {
      const end = (0x4000000000 + gib * 2 ** 30 - 1).toString(16)
      device(machine, '0000:02:00.0').files = {
        resource: `0x0 0x0 0x0\n0x4000000000 0x${end} 0x000000000014220c\n`,
      }
      const status = `Package: ovmf\nStatus: install ok installed\nVersion: ${ovmf}\n\n`
      const caps = ['dmar0', 'dmar1'].map((name) => `/sys/class/iommu/${name}/intel-iommu/cap`)
      addFiles(machine, {
        '/var/lib/dpkg/status': ovmf === null ? '' : status,
        ...Object.fromEntries(caps.map((path) => [path, iommu === null ? 'x\n' : `${capability(iommu)}\n`])),
      })
    },
    'debian',
    { addressBits: cpu, vendor: 'GenuineIntel', flags: 'vmx pdpe1gb' },
  )
}

/** gen-domain for that host, as libvirt 9.0 and QEMU 7.2 would have it. */
export function genDomain(dir: string, ...args: string[]): Ran {
  const versions = ['libvirt', 'qemu'].flatMap((name) =>
    args.includes(`--${name}`) ? [] : [`--${name}`, name === 'qemu' ? '7.2.0' : '9.0.0'],
  )
  return runScript('gen-domain', ['--root', dir, ...versions, ...args])
}

/** gen-domain with a document on standard input. */
export function patch(dir: string, document: string, ...args: string[]): Ran {
  const file = `${scratchDir('patch')}/domain.xml`
  writeFileSync(file, document)
  return genDomain(dir, '--patch', file, ...args)
}

/** What virt-xml-validate says against a document; empty when it is valid. */
export function invalid(xml: string): string {
  const file = `${scratchDir('validate')}/domain.xml`
  writeFileSync(file, xml)
  const { code, stdout, stderr } = runProgram('virt-xml-validate', [file, 'domain'])
  return code === 0 ? '' : stdout + stderr
}

export const VALIDATOR = has('virt-xml-validate') && has('xmllint')
export const LIBVIRTD = has('virsh') && has('libvirtd') && has('qemu-system-x86_64')

/**
 * A libvirt of our own: a session daemon as a user without rights, with all of its folders in a temporary one.
 * `define` gives what it says against a domain (emulated, for /dev/kvm may be missing), and what it made of it.
 */
export async function startLibvirt(): Promise<{
  define(xml: string): { error: string; xml: string }
  /** Starts it, and gives QEMU's arguments; `error` is what libvirt or QEMU said against it. */
  start(xml: string): { error: string; args: string }
  stop(): void
}> {
  const home = scratchDir('libvirt')
  const uid = process.getuid?.() === 0 ? 65534 : undefined
  const env = {
    HOME: home,
    XDG_RUNTIME_DIR: `${home}/run`,
    XDG_CONFIG_HOME: home,
    XDG_CACHE_HOME: home,
    XDG_DATA_HOME: home,
    TMPDIR: `${home}/run`,
  }
  mkdirSync(`${home}/run`, { mode: 0o700 })
  // Without a second daemon, for logs, that outlives this one.
  mkdirSync(`${home}/libvirt`)
  writeFileSync(`${home}/libvirt/qemu.conf`, 'stdio_handler = "file"\n')
  if (uid !== undefined) runProgram('chown', ['-R', `${uid}:${uid}`, home])
  runProgram('chmod', ['711', `${home}/..`])
  const daemon = spawn('libvirtd', ['--timeout', '60'], {
    env: { ...process.env, ...env },
    stdio: 'ignore',
    ...(uid === undefined ? {} : { uid, gid: uid }),
  })
  const virsh = (...args: string[]): Ran =>
    runProgram('virsh', ['-q', '-c', 'qemu:///session', ...args], {
      env,
      cwd: '/',
      ...(uid === undefined ? {} : { uid }),
    })
  for (let tries = 0; tries < 100 && virsh('list').code !== 0; tries++) await sleep(100)
  return {
    define(xml) {
      const file = `${home}/domain.xml`
      writeFileSync(file, xml.replace(/<domain type=(['"])kvm\1/, '<domain type="qemu"'), { mode: 0o644 })
      const name = /<name>(.*)<\/name>/.exec(xml)?.[1] ?? ''
      const { code, stderr } = virsh('define', file)
      if (code !== 0) return { error: stderr, xml: '' }
      const made = virsh('dumpxml', '--inactive', name).stdout
      virsh('undefine', '--nvram', name)
      return { error: '', xml: made }
    },
    start(xml) {
      const name = /<name>(.*)<\/name>/.exec(xml)?.[1] ?? ''
      const file = `${home}/domain.xml`
      writeFileSync(file, emulated(xml), { mode: 0o644 })
      const { code, stderr } = virsh('create', file)
      const log = `${home}/libvirt/qemu/log/${name}.log`
      const args = existsSync(log) ? readFileSync(log, 'utf8') : ''
      virsh('destroy', name)
      return { error: code === 0 ? '' : stderr, args }
    },
    stop: () => daemon.kill(),
  }
}

export const golden = (name: string): string => `${PROJECT}test/golden/gen-domain/${name}.xml`
export const readGolden = (name: string): string => readFileSync(golden(name), 'utf8')
