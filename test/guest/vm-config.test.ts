import { describe, expect, it } from 'vitest'
import { parseVmConfig } from '../../lib/guest/proxmox/vm-config.ts'
import { expectError } from '../support/expect.ts'
import { genVm, INSTALLED, nodeWith, proxmoxNode, settingsOf, writeVm } from '../support/proxmox.ts'

// A VM that there is: what it has, and what it lacks.

const card = ['--gpu', '02:00']
const linux = ['--name', 'lin', '--guest', 'linux']

describe('the configuration of a VM', () => {
  it('snapshots and other sections are not of the present, what waits for the next start is', () => {
    const text =
      'cores: 2\nvga: none\ncdrom: none\n# hostpci3: 01:00\n\n[PENDING]\ncores: 4\ndelete: vga\n\n[special:cloudinit]\nname: x\n\n[one]\nmemory: 9\n'
    expect(Object.fromEntries(parseVmConfig(text))).toEqual({ cores: '4', ide2: 'none' })
  })

  it('a card in a snapshot alone is missing', () => {
    expect(settingsOf(genVm(nodeWith(INSTALLED), ...card))).toEqual({ hostpci0: '0000:02:00,pcie=1' })
  })

  it.each([
    ['hostpci0: 02:00,pcie=1', {}],
    ['hostpci2: host=0000:02:00,pcie=1,rombar=0', {}],
    ['hostpci0: 02:00.0;02:00.1,pcie=1', {}],
    ['hostpci0: 0000:02:00.0,pcie=1\nhostpci1: 0000:02:00.1,pcie=1', {}],
    ['hostpci1: 02:00', { hostpci1: '02:00,pcie=1' }],
    ['hostpci0: 02:00.0,x-vga=1', { hostpci0: '0000:02:00,x-vga=1,pcie=1' }],
    ['hostpci0: 01:00,pcie=1', { hostpci1: '0000:02:00,pcie=1' }],
    ['hostpci0: mapping=gpu,pcie=1', {}],
    ['hostpci0: mapping=other,pcie=1', { hostpci1: '0000:02:00,pcie=1' }],
  ])('with %s', (line, wanted) => {
    const mapping =
      'gpu\n\tmap node=pve,path=0000:02:00,id=10de:1cb6\n\nother\n\tmap node=far,path=0000:02:00,id=10de:1cb6\n'
    const dir = nodeWith(`${line}\n${INSTALLED}`, { files: { '/etc/pve/mapping/pci.cfg': mapping } })
    expect(settingsOf(genVm(dir, ...card))).toEqual(wanted)
  })

  it('a board of i440fx stays, and its card has no pcie; another is asked for by name', () => {
    const dir = nodeWith(INSTALLED.replace('machine: pc-q35-9.2+pve1', 'machine: pc-i440fx-9.2'))
    expect(settingsOf(genVm(dir, ...card))).toEqual({ hostpci0: '0000:02:00' })
    const ran = genVm(dir, ...card, '--chipset', 'q35')
    expect(settingsOf(ran)).toEqual({ machine: 'q35', hostpci0: '0000:02:00,pcie=1' })
    expect(ran.stderr).toContain('another chipset')
  })

  it('what UEFI and Windows 11 need is completed, on the storage of its disks', () => {
    const dir = nodeWith(
      INSTALLED.replace(/^(efidisk0|tpmstate0).*\n/gm, '').replace('scsi0: local-lvm', 'scsi0: tank'),
      {
        storage: 'lvmthin: local-lvm\n\tvgname pve\n\nzfspool: tank\n\tpool tank\n',
      },
    )
    expect(settingsOf(genVm(dir))).toEqual({
      efidisk0: 'tank:1,efitype=4m,pre-enrolled-keys=1',
      tpmstate0: 'tank:1,version=v2.0',
    })
  })

  it('a disk goes to the bus of the others, and is not added twice', () => {
    const dir = nodeWith(INSTALLED.replace(/^scsi0/m, 'virtio0'))
    expect(settingsOf(genVm(dir, '--disk', '/dev/sdb'))).toEqual({ virtio1: '/dev/sdb,discard=on,iothread=1' })
    writeVm(dir, 101, `virtio1: /dev/sdb,backup=0\n${INSTALLED}`)
    expect(genVm(dir, '--disk', '/dev/sdb').stdout).toBe('')
  })

  it.each([
    [['--mac', '52:54:00:ab:cd:ef'], '--mac 52:54:00:ab:cd:ef: the VM has net0 on that network already'],
    [['--network', 'bridge:vmbr0', '--mac', '52:54:00:ab:cd:ef'], 'the VM has net0 on that network already'],
    [['--nic-model', 'e1000e'], '--nic-model e1000e: the VM has net0 on that network already'],
  ])('a network card that is there is no other one by %j', (args, message) => {
    expectError(genVm(nodeWith(INSTALLED), ...args), message)
  })

  it('a network card that is asked for by its address alone is added where there is none', () => {
    const mac = ['--mac', 'bc:24:11:00:00:01', '--nic-model', 'virtio']
    const none = nodeWith(INSTALLED.replace(/^net0.*\n/m, ''))
    expect(settingsOf(genVm(none, ...mac))).toEqual({ net0: 'virtio=BC:24:11:00:00:01,bridge=vmbr0' })
    expect(genVm(nodeWith(INSTALLED), ...mac)).toMatchObject({ code: 0, stdout: '' })
  })

  it.each(['host=0x046D:0xC52B,usb3=1', 'mapping=pad', 'mapping=other', '1-3'])(
    'a USB device that it has by %s',
    (line) => {
      const usb = 'pad\n\tmap node=pve,id=046d:c52b\n\nother\n\tmap node=far,id=046d:c52b\n'
      const dir = nodeWith(`usb1: ${line}\n${INSTALLED}`, { files: { '/etc/pve/mapping/usb.cfg': usb } })
      const has = !/other|1-3/.test(line)
      expect(settingsOf(genVm(dir, '--usb', '1234:5678'))).toEqual({ usb0: '1234:5678' })
      expect(settingsOf(genVm(dir, '--usb', '1-1'))).toEqual(has ? {} : { usb0: '046d:c52b' })
    },
  )

  it('a folder that is shared already keeps how it is shared', () => {
    const files = { '/etc/pve/mapping/directory.cfg': 'games\n\tmap node=pve,path=/srv/games\n' }
    const dir = nodeWith(`virtiofs3: dirid=games,cache=auto\n${INSTALLED}`, { files })
    expect(genVm(dir, '--share', '/srv/games')).toMatchObject({ code: 0, stdout: '' })
  })

  it('an image of a storage is named, another is copied', () => {
    const image = Buffer.from('QFI\u00fb', 'latin1')
    const dir = proxmoxNode({
      storage: 'dir: local\n\tpath /var/lib/vz\n\tcontent images,iso\n',
      files: { '/var/lib/vz/images/101/vm-101-disk-0.qcow2': image, '/srv/x.qcow2': image },
    })
    const ran = genVm(dir, ...linux, '--disk', '/var/lib/vz/images/101/vm-101-disk-0.qcow2', '--disk', '/srv/x.qcow2')
    expect(settingsOf(ran)).toMatchObject({
      scsi0: 'local:101/vm-101-disk-0.qcow2,discard=on,iothread=1',
      scsi1: 'local:0,discard=on,iothread=1,import-from=/srv/x.qcow2',
    })
    expect(ran.stderr).toContain('/srv/x.qcow2: lies on no storage of Proxmox; the command copies it to local')
  })
})
