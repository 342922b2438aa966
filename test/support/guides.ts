// The machines of the guides of docs/guides.md, each with its guide's system and what guests need.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { cpuTree, smt } from './cpus.ts'
import { iso } from './domain.ts'
import { addBlock, addFiles, addLinks } from './fake/host.ts'
import { firmwareFiles } from './firmware.ts'
import { domain } from './hand-over.ts'
import { loadMachine, type Machine, scratchDir, writeMachine } from './machine.ts'
import { NETPLAN, NETWORKD } from './networks.ts'
import { runProgram } from './run.ts'
import { kernelConfig, type System, systemDir } from './system.ts'

const GUESTS = {
  'usr/bin/env': '',
  'usr/lib/systemd/systemd': '',
  'usr/lib/systemd/system/libvirtd.service': '',
  'usr/lib/systemd/system/gdm.service': '',
  'usr/lib/systemd/system/smbd.service': '',
  'etc/systemd/system/display-manager.service': '→ /usr/lib/systemd/system/gdm.service',
  'usr/lib/x86_64-linux-gnu/libvirt.so.0.9000.0': '',
  'etc/libvirt/qemu.conf': '',
  'etc/libvirt/qemu/win11.xml': domain('win11'),
  'var/lib/libvirt/images/card.rom': '',
  'proc/meminfo': 'MemTotal:       33554432 kB\nMemAvailable:   30000000 kB\n',
  'proc/self/mountinfo': '',
  'proc/swaps': 'Filename\n',
  'etc/passwd': 'root:x:0:0::/root:/bin/sh\nada:x:1001:1001::/home/ada:/bin/sh\n',
  'etc/group': 'kvm:x:104:ada\n',
  'home/x': '',
  'sys/class/vtconsole/vtcon0/name': '(S) dummy device\n',
  'sys/class/vtconsole/vtcon0/bind': '1\n',
  'dev/disk/by-id/ata-guest': '→ ../../sdb',
}

/** Adds what a guest may be given: a disk, an optical drive, a network card with its name. */
function addThings(dir: string, nic: string | null): void {
  const machine: Machine = { ...loadMachine('vm-no-iommu'), devices: {}, usb: {}, files: {}, links: {} }
  addBlock(machine, 'sdb', { number: '8:16', udev: { ID_SERIAL: 'guest' } })
  addFiles(machine, { '/sys/devices/x/ata1/2:0:0:0/block/sr0/dev': '11:0\n' })
  addLinks(machine, {
    '/sys/class/block/sr0': '../../devices/x/ata1/2:0:0:0/block/sr0',
    '/sys/devices/x/ata1/2:0:0:0/block/sr0/device': '../../../2:0:0:0',
  })
  if (nic !== null) addFiles(machine, { [`/sys/class/net/${nic}/address`]: '52:54:00:12:34:56\n' })
  const more = scratchDir('things')
  writeMachine(machine, more)
  for (const folder of ['sys/class', 'sys/devices/x', 'sys/devices/virtual', 'sys/dev', 'run'])
    runProgram('sh', ['-c', `[ ! -e ${more}/${folder} ] || cp -a --parents ${folder} ${dir}/`], { cwd: more })
}

/** What a command of a guide's page finds beside the guide's own files, at the time when it is given. */
function filesFor(command: string, release: string): Record<string, string> {
  const program = '#!/bin/sh\n'
  return {
    // The packages that guests need are installed before anybody asks whether all is well.
    ...(command.startsWith('check-host') ? { 'usr/bin/qemu-system-x86_64': program } : {}),
    ...(command.includes('--libvirt') ? { 'usr/sbin/libvirtd': program, 'usr/bin/virsh': program } : {}),
    ...(command.includes('--acs-override') ? { [`boot/System.map-${release}`]: '0 t pcie_acs_override_setup\n' } : {}),
    ...(command.includes('--kernel-config')
      ? {
          [`boot/config-${release}`]: kernelConfig(
            { VFIO_PCI: 'n', INTEL_IOMMU_DEFAULT_ON: 'n', DRM_NOUVEAU: 'y' },
            release,
          ),
        }
      : {}),
  }
}

function guideSystem(system: System, nic: string | null, threads: 1 | 2, cores: number, command: string): string {
  const firmware = Object.entries(firmwareFiles('debian')).map(([path, text]) => [path.slice(1), text])
  const { kernel } = loadMachine(system.machine)
  const files = { ...Object.fromEntries(firmware), ...GUESTS, ...filesFor(command, kernel), ...system.files }
  const dir = systemDir({ ...system, files })
  for (const [name, efi] of [
    ['windows', true],
    ['virtio-win', false],
  ] as const)
    writeFileSync(join(dir, `var/lib/libvirt/images/${name}.iso`), iso(efi))
  writeFileSync(join(dir, 'var/lib/libvirt/images/win11.qcow2'), Buffer.from('QFI\u00fb', 'latin1'))
  addThings(dir, nic)
  const cpus = cpuTree(threads === 2 ? smt(cores) : Array.from({ length: cores }, (_, cpu) => ({ cpu, core: cpu })))
  runProgram('cp', ['-a', `${cpus}/.`, dir])
  return dir
}

/** The i9-9900K after the first reboot: its IOMMU is on, the card's functions share a group with their port. */
function withIommu(dir: string): string {
  const machine = loadMachine('kernel-off')
  machine.iommu = 'intel'
  machine.cmdline += ' intel_iommu=on'
  Object.entries(machine.devices).forEach(([address, device], index) => {
    device.group = /^0000:0(0:01|1)/.test(address) ? 1 : index + 2
  })
  const more = scratchDir('iommu')
  writeMachine(machine, more)
  for (const folder of ['sys', 'proc']) runProgram('cp', ['-a', `${more}/${folder}`, dir])
  return dir
}

const ARCH_GRUB = {
  'boot/loader/loader.conf': null,
  'boot/loader/entries/arch.conf': null,
  'usr/bin/bootctl': null,
  'etc/default/grub': 'GRUB_CMDLINE_LINUX_DEFAULT="loglevel=3 quiet"\nGRUB_CMDLINE_LINUX=""\n',
  'usr/bin/grub-mkconfig': '#!/bin/sh\n',
  'boot/grub/grub.cfg':
    "menuentry 'Arch Linux, with Linux linux' {\n\tlinux\t/boot/vmlinuz-linux root=/dev/sda1 rw loglevel=3 quiet\n\tinitrd\t/boot/initramfs-linux.img\n}\n",
}
const YAML = 'network:\n  version: 2\n  ethernets:\n    enp3s0:\n      dhcp4: true\n'
const WIRED = '[Match]\nName=enp3s0\n\n[Network]\nDHCP=yes\n'

/** A guide's heading → its machine, as it is when this command is given. */
export const GUIDE_SYSTEMS: Readonly<Record<string, (command: string) => string>> = {
  'NixOS, two NVIDIA cards': (command) =>
    guideSystem({ machine: 'i9-14900k-vmd', family: 'nixos', iommuByDefault: false }, null, 2, 8, command),
  'Arch, an RTX 2060': (command) => {
    const system = { machine: 'kernel-off', family: 'arch', iommuByDefault: false, files: ARCH_GRUB } as const
    const dir = guideSystem(system, null, 2, 8, command)
    return /intel_iommu|iommu-pt/.test(command) ? dir : withIommu(dir)
  },
  'Gentoo, QEMU alone': (command) =>
    guideSystem(
      {
        machine: 'ivy-bridge-h77',
        family: 'gentoo',
        files: { ...NETWORKD, 'etc/systemd/network/20-wired.network': WIRED },
      },
      'enp3s0',
      1,
      4,
      command,
    ),
  'ArchWiki, 2016': (command) =>
    guideSystem({ machine: 'archwiki-reset', family: 'arch', iommuByDefault: false }, null, 2, 4, command),
  'Ubuntu, a VLAN and a USB card': (command) =>
    guideSystem(
      {
        machine: 'b365-gtx1650',
        family: 'debian',
        builtin: ['vfio_pci', 'vfio', 'vfio_iommu_type1'],
        iommuByDefault: false,
        files: {
          ...NETPLAN,
          ...NETWORKD,
          'etc/os-release': 'ID=ubuntu\nID_LIKE=debian\nVERSION_ID="22.04"\n',
          'etc/netplan/01.yaml': YAML,
        },
      },
      'enp3s0',
      1,
      6,
      command,
    ),
}

/** Two equal cards, which no guide's machine has. */
export const twinSystem = (command: string): string =>
  guideSystem({ machine: 'twin-gpus', family: 'arch' }, null, 2, 4, command)
