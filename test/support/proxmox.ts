// A Proxmox node for the tests of gen-domain: the host of the others, with what /etc/pve and a node's storages have.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Around } from './cpus.ts'
import { addArc, addIgd, domainHost, iso } from './domain.ts'
import { addFiles } from './fake/host.ts'
import { device } from './judge.ts'
import type { Machine } from './machine.ts'
import { romOf } from './rom.ts'
import { type Ran, runScript } from './run.ts'

/** What a fresh installation has: files in `local`, disks in `local-lvm`. */
export const STORAGE = `dir: local
	path /var/lib/vz
	content iso,vztmpl,backup

lvmthin: local-lvm
	thinpool data
	vgname pve
	content rootdir,images
`

export interface Node {
  /** The text of storage.cfg [that of a fresh installation] */
  storage?: string
  /** VMs by their number: their configuration */
  vms?: Record<number, string>
  /** More files below the root */
  files?: Record<string, string | Buffer>
  change?: (machine: Machine) => void
  cpu?: Pick<Around, 'vendor' | 'addressBits' | 'flags' | 'files'>
}

/** The i9-14900K of the other tests as the node `pve`. */
export function proxmoxNode({
  storage = STORAGE,
  vms = {},
  files = {},
  change = () => {},
  cpu = {},
}: Node = {}): string {
  return domainHost(
    (machine) => {
      const configs = Object.entries(vms).map(([vmid, text]) => [`/etc/pve/qemu-server/${vmid}.conf`, text])
      addFiles(machine, {
        '/etc/hostname': 'pve\n',
        '/etc/pve/storage.cfg': storage,
        '/etc/network/interfaces': 'auto vmbr0\niface vmbr0 inet static\n\tbridge-ports enp5s0\n',
        '/var/lib/vz/template/iso/win.iso': iso(true),
        '/var/lib/vz/template/iso/virtio-win.iso': iso(false),
        '/usr/share/kvm/card.rom': '',
        '/var/lib/dpkg/status':
          'Package: pve-qemu-kvm\nStatus: install ok installed\nVersion: 10.1.2-1\n\nPackage: pve-edk2-firmware-ovmf\nStatus: install ok installed\nVersion: 4.2025.05-2\n\n',
        ...Object.fromEntries(configs),
        ...files,
      })
      change(machine)
    },
    'debian',
    // As many as the IOMMU reaches.
    { addressBits: 39, ...cpu },
  )
}

/** gen-domain --format proxmox on this node. */
export function genVm(dir: string, ...args: string[]): Ran {
  const vmid = args.includes('--vmid') ? [] : ['--vmid', '101']
  return runScript('gen-domain', ['--root', dir, '--format', 'proxmox', ...vmid, ...args])
}

/** The settings that a command of qm gives a VM, by name. */
export function settingsOf({ stdout }: Ran): Record<string, string> {
  return Object.fromEntries(
    [...stdout.matchAll(/^ {2}--([a-z0-9-]+) (.*?)(?: \\)?$/gm)].map(([, name, value = '']) => [
      name,
      value.replace(/^'(.*)'$/, '$1'),
    ]),
  )
}

/** The configuration that a VM has after the command: qm makes volumes of what is to be allocated. */
export function configAfter(before: string, ran: Ran): string {
  const settings = new Map(
    before.split('\n').flatMap((line) => {
      const [, name, value] = /^([a-z0-9_-]+): (.*)$/.exec(line) ?? []
      return name === undefined || value === undefined ? [] : [[name, value] as const]
    }),
  )
  let disk = 0
  for (const [name, value] of Object.entries(settingsOf(ran)))
    settings.set(
      name,
      value
        .replace(/^([\w-]+):\d+(?=,)/, (_, storage) => `${storage}:vm-101-disk-${disk++}`)
        .replace(/,import-from=[^,]*/, ''),
    )
  return [...settings].map(([name, value]) => `${name}: ${value}\n`).join('')
}

/** Writes a VM's configuration on the node. */
export function writeVm(dir: string, vmid: number, text: string): void {
  mkdirSync(join(dir, 'etc/pve/qemu-server'), { recursive: true })
  writeFileSync(join(dir, `etc/pve/qemu-server/${vmid}.conf`), text)
}

/** An Arc beside the cards. */
export const withArc: NonNullable<Node['change']> = (machine) => addArc(machine)
/** Intel's graphics beside the cards, with ROMs for a BIOS and for UEFI. */
export const withIgd: NonNullable<Node['change']> = (machine) => {
  addIgd(machine)
  addFiles(machine, {
    '/usr/share/kvm/vbios.rom': romOf(0x8086, 0x3e98, 0),
    '/usr/share/kvm/igd.rom': romOf(0x8086, 0x3e98, 3),
  })
}
/** A second NUMA node, on which the card is. */
export const twoNodes: Node = {
  change: (machine) => {
    for (const address of ['0000:02:00.0', '0000:02:00.1']) device(machine, address).numa = 1
  },
  cpu: {
    files: {
      '/sys/devices/system/node/node0/cpulist': '0-3,8-11\n',
      '/sys/devices/system/node/node1/cpulist': '4-7,12-15\n',
      '/sys/devices/system/node/node0/distance': '10 21\n',
      '/sys/devices/system/node/node1/distance': '21 10\n',
    },
  },
}

/** An installed guest of the web interface, with a snapshot in which it had other devices. */
export const INSTALLED = `agent: 1
bios: ovmf
boot: order=scsi0;net0
cores: 4
cpu: host,flags=+pcid
efidisk0: local-lvm:vm-101-disk-0,efitype=4m,pre-enrolled-keys=1,size=4M
machine: pc-q35-9.2+pve1
memory: 8192
name: games
net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1
numa: 0
ostype: win11
parent: before
scsi0: local-lvm:vm-101-disk-1,iothread=1,size=64G
scsihw: virtio-scsi-single
sockets: 1
tpmstate0: local-lvm:vm-101-disk-2,size=4M,version=v2.0

[before]
hostpci0: 0000:02:00,pcie=1,x-vga=1
machine: q35
snaptime: 1700000000
vga: none
`
/** A node that has this VM as its 101. */
export const nodeWith = (vm: string, more: Node = {}): string => proxmoxNode({ ...more, vms: { 101: vm } })

/** A guest that has neither card nor huge pages yet. */
export const LACKING = `bios: ovmf
cores: 4
cpu: host
efidisk0: local-lvm:vm-100-disk-0,efitype=4m
machine: q35
memory: 8192
name: games
ostype: l26
scsi0: local-lvm:vm-100-disk-1
`
