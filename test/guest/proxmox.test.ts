import { describe, expect, it } from 'vitest'
import { expectError } from '../support/expect.ts'
import { device } from '../support/judge.ts'
import {
  configAfter,
  genVm,
  INSTALLED,
  type Node,
  nodeWith,
  proxmoxNode,
  settingsOf,
  twoNodes,
  withArc,
  withIgd,
  writeVm,
} from '../support/proxmox.ts'

// The same guests as VMs of Proxmox: a command for a new one, and what a present one lacks.

const ISO = '/var/lib/vz/template/iso'
const media = ['--iso', `${ISO}/win.iso`, '--virtio-iso', `${ISO}/virtio-win.iso`]
const card = ['--gpu', '02:00']
const linux = ['--name', 'lin', '--guest', 'linux']
const windows = ['--name', 'win11', '--guest', 'windows11', '--disk', '64G']

const rom = (name: string): string[] => ['--rom', `/usr/share/kvm/${name}.rom`]

const CASES: Record<string, { node?: Node; args: string[] }> = {
  windows11: { args: [...windows, ...card, ...media, '--memory', '16G', '--vcpus', '8'] },
  'windows10-no-drivers': {
    args: ['--name', 'win10', '--guest', 'windows10', '--disk', '40G', '--iso', `${ISO}/win.iso`, '--memory', '8G'],
  },
  linux: {
    node: { change: withArc },
    args: [
      ...[...linux, '--gpu', '23:00', '--disk', '/dev/sdb', '--headless', '--hugepages', '1G', '--memory', '8G'],
      ...['--usb', '1-1', '--network', 'bridge:vmbr1', '--mac', '52:54:00:ab:cd:ef', '--network', 'user'],
    ],
  },
  'bios-x-vga': {
    args: [
      ...['--name', 'win7', '--guest', 'windows7', ...card, '--x-vga', '--rom', '/usr/share/kvm/card.rom'],
      '--headless',
    ],
  },
  'old-nvidia': {
    args: [
      ...['--name', 'win10', '--guest', 'windows10', ...card, '--disk', '64G', '--nvidia-driver', '430', '--headless'],
    ],
  },
  'legacy-igd': {
    node: { change: withIgd },
    args: [...linux, '--gpu', '00:02.0', '--chipset', 'i440fx', '--firmware', 'bios', ...rom('vbios'), '--headless'],
  },
  'near-node': { node: twoNodes, args: [...linux, ...card, '--vcpus', '4', '--memory', '4G', '--hugepages', '2M'] },
  'looking-glass': { args: [...windows, ...card, '--looking-glass', '2560x1440', '--audio', 'spice'] },
  share: {
    node: { files: { '/etc/pve/mapping/directory.cfg': 'games\n\tmap node=pve,path=/srv/games\n' } },
    args: [...linux, '--share', '/srv/games', '--network', 'none'],
  },
  'installed-card': { node: { vms: { 101: INSTALLED } }, args: [...card, '--headless'] },
  'installed-tuned': {
    node: { vms: { 101: INSTALLED } },
    args: [...card, '--hugepages', '2M', '--cores', '3', '--hide-kvm', '--usb', '1-2', '--disk', '100G'],
  },
}

describe('--format proxmox', () => {
  it.each(Object.keys(CASES))('%s: the command as it was read', async (name) => {
    const { node = {}, args = [] } = CASES[name] ?? {}
    const ran = genVm(proxmoxNode(node), ...args)
    expect(ran).toMatchObject({ code: 0 })
    await expect(ran.stdout).toMatchFileSnapshot(`../golden/gen-domain/proxmox/${name}.sh`)
  })

  it.each(Object.keys(CASES).filter((name) => name !== 'bios-x-vga'))('%s: done once, nothing is lacking', (name) => {
    const { node = {}, args = [] } = CASES[name] ?? {}
    const dir = proxmoxNode(node)
    const before = node.vms?.[101] ?? ''
    const ran = genVm(dir, ...args)
    writeVm(dir, 101, configAfter(before, ran))
    // A size asks for a further disk each time.
    const again = genVm(
      dir,
      ...args
        .filter((word, at) => !/^\d+G$/.test(word) || args[at - 1] !== '--disk')
        .filter((word, at, all) => word !== '--disk' || all[at + 1]?.startsWith('/')),
    )
    expect(again.stderr).toContain('VM 101 has all of it already')
    expect(again.stdout).toBe('')
  })

  it('is one document with --json', () => {
    const { stdout } = genVm(nodeWith(INSTALLED), ...card, '--json')
    const { proxmox, changed, xml, script } = JSON.parse(stdout)
    expect({ changed, xml, script }).toEqual({ changed: true, xml: null, script: null })
    expect(proxmox).toBe('qm set 101 \\\n  --hostpci0 0000:02:00,pcie=1\n')
  })
})

describe('rules of Proxmox', () => {
  const said = (...args: string[]): string => genVm(proxmoxNode(), ...linux, ...args).stderr

  it('a card by its address, and a ROM, are for root@pam alone', () => {
    expect(said(...card)).toContain('root@pam alone may set devices by address, and ROMs')
    expect(said()).not.toContain('root@pam')
  })
  it('affinity is said to be no pinning', () => {
    expect(said('--vcpus', '4')).toContain('affinity is taskset for all threads of QEMU together, and no pinning')
    expect(said('--vcpus', '4', '--pin', 'none')).not.toContain('affinity')
  })
  it('huge pages bring numa: 1', () => {
    const ran = genVm(nodeWith(INSTALLED), '--hugepages', '1G')
    expect(settingsOf(ran)).toEqual({ numa: '1', hugepages: '1024' })
  })
  it('own nodes are told the one of the host, where there is one', () => {
    const own = `numa0: cpus=0-3,memory=8192\n${INSTALLED}`
    expect(settingsOf(genVm(nodeWith(own), '--hugepages', '2M'))).toMatchObject({
      numa0: 'cpus=0-3,memory=8192,hostnodes=0,policy=bind',
    })
    expectError(genVm(nodeWith(own, twoNodes), '--hugepages', '2M'), 'numa0: huge pages need its hostnodes')
    const half = own.replace('memory=8192', 'memory=4096')
    expectError(genVm(nodeWith(half), '--hugepages', '2M'), 'numa0: have 4096 MiB together, and the VM 8192 MiB')
    const both = own.replace('memory=8192', 'memory=8192,hostnodes=0-1')
    expectError(genVm(nodeWith(both, twoNodes), '--hugepages', '2M'), 'numa0: has hostnodes=0-1')
    const far = own.replace('memory=8192', 'memory=8192,hostnodes=12,policy=bind')
    expect(settingsOf(genVm(nodeWith(far, twoNodes), '--hugepages', '2M'))).toEqual({ numa: '1', hugepages: '2' })
  })
  it('x-vga says what it takes away', () => {
    const ran = genVm(proxmoxNode(), ...linux, ...card, '--x-vga')
    expect(settingsOf(ran).hostpci0).toBe('0000:02:00,pcie=1,x-vga=1')
    expect(ran.stderr).toContain('x-vga=1 takes the virtual display away')
  })
  it("Intel's graphics on q35 are said to be behind a port", () => {
    const ran = genVm(proxmoxNode({ change: withIgd }), ...linux, '--gpu', '00:02.0', ...rom('igd'))
    expect(settingsOf(ran).hostpci0).toBe('0000:00:02.0,pcie=1,romfile=igd.rom')
    expect(ran.stderr).toContain('with --chipset i440fx it is at 00:02.0 (legacy-igd)')
  })
  it.each([
    ['without --headless', [], '0000:00:02.0: with legacy-igd the integrated GPU has to be the only graphics'],
    ['beside another card', ['--headless', ...card], '0000:02:00.0: with legacy-igd the integrated GPU has to be'],
  ])("Intel's graphics at 00:02.0 are the only ones under UEFI, too: %s", (_, more, message) => {
    const dir = proxmoxNode({ change: withIgd })
    const own = [...linux, '--gpu', '00:02.0', '--chipset', 'i440fx', ...rom('igd')]
    expectError(genVm(dir, ...own, ...more), message)
    const alone = settingsOf(genVm(dir, ...own, '--headless'))
    expect(alone).toMatchObject({ bios: 'ovmf', hostpci0: '0000:00:02.0,legacy-igd=1,romfile=igd.rom', vga: 'none' })
  })
  it("who may set devices is said once, and of Intel's graphics on q35 no reason that is libvirt's", () => {
    const dir = proxmoxNode({ change: withIgd })
    const { stderr } = genVm(dir, ...linux, '--gpu', '00:02.0', ...card, ...rom('igd'), '--explain')
    expect(stderr.match(/root@pam alone/g)).toHaveLength(1)
    expect(stderr).toContain('because: 0000:00:02.0: its ROM sets up OpRegion')
  })
  it('a guest that starts from a card has its medium in the order, and the number that the card gets', () => {
    const nvme: NonNullable<Node['change']> = (machine) => {
      const { under: _, ...drive } = device(machine, '10000:e1:00.0')
      machine.devices['0000:03:00.0'] = { ...drive, driver: 'vfio-pci', group: 61 }
    }
    const drive = ['--pci', '03:00.0', '--gpu', '00:02.0', ...rom('igd')]
    const ran = genVm(
      proxmoxNode({
        change: (machine) => {
          withIgd(machine)
          nvme(machine)
        },
      }),
      ...linux,
      ...drive,
      '--iso',
      `${ISO}/win.iso`,
    )
    expect(settingsOf(ran)).toMatchObject({ hostpci1: '0000:03:00.0,pcie=1', boot: 'order=hostpci1;ide2' })
    // Not every device at 00:02.0 is Intel's graphics.
    const other: NonNullable<Node['change']> = (machine) => {
      nvme(machine)
      machine.devices['0000:00:02.0'] = { class: '020000', id: '8086:1533', driver: 'vfio-pci', group: 41 }
    }
    const second = genVm(proxmoxNode({ change: other }), ...linux, '--pci', '00:02.0', '--pci', '03:00.0')
    expect(settingsOf(second)).toMatchObject({ hostpci1: '0000:03:00.0,pcie=1', boot: 'order=hostpci1' })
  })
  it('one function of a card that has more is named as it is', () => {
    const change: NonNullable<Node['change']> = (machine) => {
      machine.devices['0000:02:00.1'] = { ...device(machine, '0000:02:00.1'), group: 60 }
    }
    const ran = genVm(proxmoxNode({ change }), ...linux, '--gpu', '02:00.0', '--force', 'partial-card')
    expect(settingsOf(ran).hostpci0 ?? ran.stderr).toBe('0000:02:00.0,pcie=1')
  })
  it('the bridge is vmbr0, or the only one', () => {
    const one = { files: { '/etc/network/interfaces': 'iface vmbr7 inet manual\n' } }
    expect(settingsOf(genVm(proxmoxNode(one), ...linux)).net0).toBe('virtio,bridge=vmbr7')
    const two = { files: { '/etc/network/interfaces': 'iface vmbr1 inet manual\niface vmbr2 inet manual\n' } }
    expectError(genVm(proxmoxNode(two), ...linux), '--network bridge:NAME: this host has no vmbr0')
  })
})
