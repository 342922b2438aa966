import { describe, expect, it } from 'vitest'
import { domainHost, genDomain } from '../support/domain.ts'
import { expectError } from '../support/expect.ts'
import { device } from '../support/judge.ts'
import { genVm, INSTALLED, type Node, proxmoxNode, settingsOf, withIgd } from '../support/proxmox.ts'

// The VM that is named, the storages of its node, and what Proxmox cannot have.

const ISO = '/var/lib/vz/template/iso'
const card = ['--gpu', '02:00']
const plain = proxmoxNode()
const vbios = ['--rom', '/usr/share/kvm/vbios.rom']
const linux = ['--name', 'lin', '--guest', 'linux']

describe('storages', () => {
  const disk = (storage: string, ...args: string[]) =>
    genVm(proxmoxNode({ storage }), ...linux, '--disk', '8G', ...args)
  it('several: one has to be named', () => {
    const two =
      'lvmthin: fast\n\tvgname a\n\nzfspool: tank\n\tpool tank\n\tcontent images\n\ndir: local\n\tcontent iso\n'
    expectError(disk(two), '--storage NAME: several storages take disks of VMs, choose one: fast, tank')
    expect(settingsOf(disk(two, '--storage', 'tank')).scsi0).toBe('tank:8,discard=on,iothread=1')
    expectError(disk(two, '--storage', 'local'), '--storage local: takes no disks of VMs on this node')
  })
  it.each([
    ['local of its own where none is configured', '', 'local'],
    ['the content of its kind', 'dir: local\n\tcontent iso\n\nlvm: thick\n\tvgname a\n', 'thick'],
    [
      'not one that is off, nor of other nodes',
      'dir: local\n\tcontent iso\n\nlvm: a\n\tdisable\n\nlvm: b\n\tnodes far\n\nlvm: c\n\tnodes far,pve\n',
      'c',
    ],
    ['not for containers alone', 'dir: local\n\tcontent rootdir\n\nzfspool: z\n\tcontent rootdir\n\nrbd: r\n', 'r'],
    ['not one whose disks are its own', 'dir: local\n\tcontent iso\n\niscsi: target\n\nlvmthin: t\n', 't'],
  ])('%s', (_, storage, wanted) => expect(settingsOf(disk(storage)).scsi0).toBe(`${wanted}:8,discard=on,iothread=1`))
  it('none: said', () => expectError(disk('dir: local\n\tcontent iso\n'), 'no storage of this node takes disks of VMs'))
})

const igd = [...linux, '--gpu', '00:02.0', '--firmware', 'bios', ...vbios, '--headless']

describe('refused in one line', () => {
  it.each<[string[], string, Node?]>([
    [['--vmid', '99', ...linux], '--vmid 99: write the number of a VM, from 100'],
    [['--vmid', 'x;y', ...linux], '--vmid x;y: write the number'],
    [['--vmid', '200', ...linux], '/etc/pve/lxc/200.conf has this number', { files: { '/etc/pve/lxc/200.conf': 'x' } }],
    [
      ['--vmid', '201', ...linux],
      '/etc/pve/nodes/far/qemu-server/201.conf has',
      { files: { '/etc/pve/nodes/far/qemu-server/201.conf': 'x' } },
    ],
    [['--guest', 'linux'], '--name NAME'],
    [['--name', 'a_b', '--guest', 'linux'], '--name a_b: Proxmox takes names as DNS has them'],
    [[...linux, ...card, '--rom', '/var/lib/libvirt/images/card.rom'], 'Proxmox takes ROMs from /usr/share/kvm/ alone'],
    [[...linux, '--hugepages', '16M', '--memory', '1G'], '--hugepages'],
    [[...linux, ...card, '--iommufd'], '--iommufd: Proxmox has no setting for it'],
    [[...linux, '--evdev', '/dev/null'], '--evdev: Proxmox has no setting for it'],
    [[...linux, '--optical', '/dev/sr0'], '--optical: Proxmox has no setting for it'],
    [[...linux, '--loader', '/usr/share/OVMF/OVMF_CODE_4M.fd'], '--loader: Proxmox starts its own UEFI image'],
    [[...linux, '--libvirt', '9.0.0'], '--libvirt: Proxmox has none'],
    [[...linux, '--audio', 'pipewire'], '--audio pipewire: Proxmox plays sound through SPICE alone'],
    [[...linux, '--network', 'macvtap:enp5s0'], '--network macvtap:enp5s0: Proxmox gives guests bridges'],
    [
      [...linux, '--share', '/srv/games'],
      'pvesh create /cluster/mapping/dir --id games --map node=pve,path=/srv/games',
      { files: { '/srv/games/x': '' } },
    ],
    [[...linux, '--iso', '/var/lib/libvirt/images/windows.iso'], `copy it to ${ISO} and name the copy`],
    [[...linux, '--vendor-id', 'Some One'], '--vendor-id Some One: Proxmox takes 1 to 12 letters and digits'],
    [[...igd, '--chipset', 'i440fx', '--x-vga'], '--x-vga: does not go with 0000:00:02.0', { change: withIgd }],
    [igd, '0000:00:02.0: with a BIOS an integrated GPU needs --chipset i440fx', { change: withIgd }],
    [['--patch', '/x', '--vmid', '101'], 'format'],
    [['--name', 'w', '--guest', 'windows11', '--chipset', 'i440fx'], '--chipset i440fx: Windows 11 wants UEFI'],
    [['--name', 'w', '--guest', 'windows11', '--firmware', 'bios'], '--firmware bios: Windows 11 wants UEFI'],
    [card, 'VM 101 has ostype wxp', { vms: { 101: 'ostype: wxp\n' } }],
    [card, 'Proxmox works on it (lock: backup)', { vms: { 101: `lock: backup\n${INSTALLED}` } }],
    [card, 'is a template', { vms: { 101: `template: 1\n${INSTALLED}` } }],
    [
      card,
      'hostpci1 and hostpci4 have parts of one card',
      {
        vms: { 101: `hostpci1: 02:00.0\nhostpci4: 02:00.1\n${INSTALLED}` },
        change: (machine) => {
          machine.devices['0000:02:00.2'] = { ...device(machine, '0000:02:00.1') }
        },
      },
    ],
    [
      card,
      'the VM has 16 of hostpci already',
      {
        vms: {
          101: `${Array.from({ length: 16 }, (_, at) => `hostpci${at}: 09:0${at.toString(16)}\n`).join('')}${INSTALLED}`,
        },
      },
    ],
  ])('%j: %s', (args, message, node) => {
    expectError(genVm(node === undefined ? plain : proxmoxNode(node), ...args), message)
  })

  it('on a host without Proxmox', () => {
    const ran = genVm(domainHost(), ...linux)
    expectError(ran, 'this is no Proxmox host (no /etc/pve): run it on the node, as root')
  })
  it.each(['--vmid', '--storage'])('%s without --format proxmox', (option) => {
    expectError(genDomain(domainHost(), ...linux, option, '101'), `${option} goes with --format proxmox`)
  })
})
