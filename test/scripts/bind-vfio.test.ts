import { appendFileSync, chmodSync, existsSync, readdirSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { apply, bind, card, etcOf, expectRan, modprobe, system, undo, updateGrub } from '../support/bind.ts'
import { runScript } from '../support/run.ts'
import { snapshotOf, systemDir, textOf, writeIn } from '../support/system.ts'

describe('a plan', () => {
  it.each(['initramfs-tools', 'dracut'] as const)('with %s', async (generator) => {
    const dir = systemDir({ ...system, generator, iommuByDefault: false })
    const before = snapshotOf(dir)
    const ran = bind(dir, card)
    await expect(ran.stdout.replaceAll(dir, 'ROOT')).toMatchFileSnapshot(`../golden/bind-vfio/${generator}.txt`)
    expect(ran.stderr).toBe('')
    expect(ran.code).toBe(1)
    expect(snapshotOf(dir)).toBe(before)
  })

  it.each(['arch', 'fedora', 'opensuse', 'gentoo'] as const)('on %s', async (family) => {
    const dir = systemDir({ ...system, family, iommuByDefault: false })
    const ran = bind(dir, card)
    await expect(ran.stdout.replaceAll(dir, 'ROOT')).toMatchFileSnapshot(`../golden/bind-vfio/${family}.txt`)
    expect(ran).toMatchObject({ code: 1, stderr: '' })
  })

  it('as JSON carries what is written, and why', () => {
    const ran = bind(systemDir(system), card, '--json')
    const { schema, action, changed, rebootNeeded, devices, changes } = JSON.parse(ran.stdout)
    expect({ schema, action, changed, rebootNeeded }).toEqual({
      schema: 'vfio-scripts/bind-vfio/1',
      action: 'plan',
      changed: false,
      rebootNeeded: true,
    })
    expect(devices.map((one: { address: string }) => one.address)).toEqual(['0000:02:00.0', '0000:02:00.1'])
    expect(
      changes.map(
        (one: { sign: string; path?: string; command?: string[] }) =>
          `${one.sign} ${one.path ?? one.command?.join(' ')}`,
      ),
    ).toEqual([
      '+ /etc/modprobe.d/00-vfio-scripts.conf',
      '+ /etc/initramfs-tools/hooks/vfio-scripts',
      expect.stringMatching(/^> update-initramfs -u/),
    ])
    expect(changes[0].diff).toContain('+options vfio-pci ids=10de:1cb6,10de:0fb9')
  })

  it('for a vfio-pci that is built in goes by the kernel command line', () => {
    const dir = systemDir({ ...system, builtin: ['vfio_pci', 'vfio'] })
    expectRan(apply(dir, card), 0)
    expect(textOf(dir, modprobe)).toBeNull()
    expect(textOf(dir, 'etc/default/grub.d/zz-vfio-scripts.cfg')).toMatch(
      /\$GRUB_CMDLINE_LINUX_DEFAULT vfio-pci\.ids=10de:1cb6,10de:0fb9"$/m,
    )
    expectRan(undo(dir), 0)
    expect(existsSync(join(dir, 'etc/default/grub.d'))).toBe(false)
  })

  it('of a GPU whose host driver is built in goes by address, on a generator that can', () => {
    const ran = bind(systemDir({ ...system, builtin: ['nouveau'] }), card)
    expectRan(ran, 1, /By address, not by ID: 0000:02:00\.0: nouveau is built into the kernel/)
    expect(ran.stdout).toContain('+ /etc/vfio-scripts/override')
    expect(ran.stdout).not.toContain('options vfio-pci')
  })

  it('holds for every installed kernel', () => {
    const dir = systemDir({ ...system, kernels: ['6.1.0-37-amd64', '6.12.1-1-other'] })
    expect(bind(dir, card).stdout.match(/> update-initramfs -u -k \S+/g)).toEqual([
      '> update-initramfs -u -k 6.1.0-37-amd64',
      '> update-initramfs -u -k 6.12.1-1-other',
    ])
  })

  it('refuses a virtual function, which is made after the boot binding, and says what binds it', () => {
    const dir = systemDir({ ...system, machine: 'sriov-nic' })
    const before = snapshotOf(dir)
    for (const more of [[], ['--apply'], ['--force', 'virtual-functions', '--apply']]) {
      const ran = bind(dir, '3b:02.0', ...more)
      expectRan(ran, 2, /refused \(virtual-function\): A virtual function is not there yet/)
      expect(ran.stderr).toMatch(/0000:3b:02\.0 is made by 0000:3b:00\.0[\s\S]*--now/)
    }
    expect(snapshotOf(dir)).toBe(before)
  })

  it('uses pci-stub where every kernel is older than 4.1', () => {
    const dir = systemDir({ ...system, kernels: ['3.16.0-4-amd64'], builtin: ['pci_stub'] })
    const ran = bind(dir, card)
    expectRan(ran, 1, /pci-stub\.ids=10de:1cb6,10de:0fb9/)
    expect(ran.stdout).toContain('pci-stub holds the devices')
    expect(ran.stdout).toMatch(/^If it does not boot: .*append vfio-pci\.ids= pci-stub\.ids= /m)
  })

  it('names no vfio_virqfd, whatever the kernel', () => {
    for (const release of ['5.15.0-101-generic', '6.8.0-1-amd64']) {
      expect(bind(systemDir({ ...system, kernels: [release] }), card).stdout).not.toContain('virqfd')
    }
  })
})

describe('apply', () => {
  it('then undo: /etc is byte-identical, modes and folders too', () => {
    for (const generator of ['initramfs-tools', 'dracut'] as const) {
      const dir = systemDir({ ...system, generator, iommuByDefault: false })
      const before = etcOf(dir)
      expectRan(apply(dir, card), 0, /Now run these/)
      expect(etcOf(dir)).not.toBe(before)
      updateGrub(dir)
      expectRan(apply(dir, card), 0, /^Nothing to do/m)
      expectRan(undo(dir), 0, /Taken back/)
      expect(etcOf(dir)).toBe(before)
      expectRan(undo(dir), 0, /nothing to take back/)
      expectRan(bind(dir, '--undo'), 0, /nothing to take back/)
    }
  })

  it('says what changed in JSON', () => {
    const dir = systemDir(system)
    const first = JSON.parse(apply(dir, card, '--json').stdout)
    expect(first).toMatchObject({ action: 'apply', changed: true, rebootNeeded: true })
    expect(first.commands[0].slice(0, 2)).toEqual(['update-initramfs', '-u'])
    expect(JSON.parse(apply(dir, card, '--json').stdout)).toMatchObject({ changed: false, changes: [] })
  })

  it('of a second card adds; each is taken back alone', () => {
    const dir = systemDir({ ...system, iommuByDefault: false })
    const none = etcOf(dir)
    expectRan(apply(dir, card), 0)
    const one = etcOf(dir)
    expectRan(apply(dir, '03:00'), 0)
    expect(textOf(dir, modprobe)).toContain('options vfio-pci ids=10de:1cb6,10de:0fb9,10ec:525a\n')
    const both = etcOf(dir)
    expectRan(undo(dir, '03:00'), 0)
    expect(etcOf(dir)).toBe(one)
    expectRan(apply(dir, '03:00'), 0)
    expect(etcOf(dir)).toBe(both)
    expectRan(undo(dir, card), 0, /other devices still need the rest/)
    expect(textOf(dir, modprobe)).toContain('options vfio-pci ids=10ec:525a\n')
    expect(textOf(dir, modprobe)).not.toContain('nouveau')
    expectRan(undo(dir), 0)
    expect(etcOf(dir)).toBe(none)
  })

  it('keeps what a person edited since', () => {
    const dir = systemDir({ ...system, iommuByDefault: false })
    expectRan(apply(dir, card), 0)
    appendFileSync(join(dir, modprobe), 'options kvm ignore_msrs=1\n')
    expectRan(undo(dir), 0, /was changed since/)
    expect(textOf(dir, modprobe)).toMatch(/^#.*\noptions kvm ignore_msrs=1\n$/)
  })

  it('leaves files that are gone alone, and takes back the rest', () => {
    const dir = systemDir(system)
    expectRan(apply(dir, card), 0)
    rmSync(join(dir, modprobe))
    expectRan(undo(dir), 0, /is gone already/)
    expect(readdirSync(join(dir, 'etc/initramfs-tools'))).not.toContain('hooks')
  })

  it('writes to the file that a symbolic link leads to', () => {
    const dir = systemDir({ ...system, iommuByDefault: false, files: { 'usr/sbin/grub-mkconfig': '#!/bin/sh\n' } })
    renameSync(join(dir, 'etc/default/grub'), join(dir, 'etc/grub.mine'))
    symlinkSync('/etc/grub.mine', join(dir, 'etc/default/grub'))
    chmodSync(join(dir, 'etc/grub.mine'), 0o640)
    const before = etcOf(dir)
    expectRan(apply(dir, card), 0)
    expect(textOf(dir, 'etc/grub.mine')).toContain('GRUB_CMDLINE_LINUX_DEFAULT="quiet intel_iommu=on"\n')
    expectRan(undo(dir), 0)
    expect(etcOf(dir)).toBe(before)
  })

  it('of a captured machine needs the root that it belongs to', () => {
    expectRan(runScript('bind-vfio', ['--machine', systemDir(system), card, '--apply']), 2, /--apply needs the --root/)
  })
})

describe('a part of the system that is not mounted', () => {
  const fstab = (line: string): string =>
    systemDir({ ...system, files: { 'etc/fstab': `UUID=1 / ext4 defaults 0 1\n${line}\n` } })

  it.each(['/var', '/boot', '/boot/efi'])('%s: nothing is written, and an undo is no "nothing to do"', (point) => {
    const dir = fstab(`UUID=2 ${point} ext4 defaults 0 2`)
    const before = snapshotOf(dir)
    for (const args of [[card, '--apply'], ['--undo'], ['--undo', '--apply']]) {
      expectRan(bind(dir, ...args), 2, new RegExp(`${dir}${point}: is in fstab and not mounted`))
    }
    expect(snapshotOf(dir)).toBe(before)
    expectRan(bind(dir, card), 1)
  })

  it('does not count with noauto, nor elsewhere', () => {
    expectRan(apply(fstab('UUID=2 /boot/efi vfat noauto 0 2'), card), 0)
    expectRan(apply(fstab('UUID=2 /home ext4 defaults 0 2'), card), 0)
  })
})

describe('an IOMMU that is off', () => {
  it('is switched on first, without a device', () => {
    const dir = systemDir({ machine: 'kernel-off', iommuByDefault: false })
    const ran = bind(dir, '01:00', '--force', 'boot-vga', '--force', 'only-gpu')
    expectRan(ran, 1, /intel_iommu=on/)
    expect(ran.stdout).not.toContain('modprobe.d')
    expect(ran.stdout).toMatch(/The IOMMU is off/)
  })

  it('by the firmware is refused', () => {
    expectRan(
      bind(systemDir({ machine: 'firmware-off' }), '01:00', '--force', 'boot-vga', '--force', 'only-gpu'),
      2,
      /the IOMMU is off: .*firmware/,
    )
  })
})

describe('usage', () => {
  it('--help has every option', async () => {
    const ran = runScript('bind-vfio', ['--help'])
    await expect(ran.stdout).toMatchFileSnapshot('../golden/bind-vfio/help.txt')
    expect(ran).toMatchObject({ code: 0, stderr: '' })
  })

  const dir = systemDir(system)
  it.each([
    [[], /no device given/],
    [['--apply'], /no device given/],
    [['99:00'], /no such device/],
    [['02:00', '--apply=no'], /takes no value/],
    [['02:00', '--status'], /leave the devices out/],
    [['--status', '--undo'], /choose one/],
    [['--status', '--apply'], /changes nothing/],
    [['--all'], /goes with --undo/],
    [['--choose'], /needs a terminal/],
    [['02:00', '--now'], /leave --root and --machine out/],
    [['02:00', '--bootloader', 'lilo'], /must be one of/],
    [['02:00', '--undo'], /not bound by/],
  ])('%j is refused', (args, says) => {
    const ran = bind(dir, ...args)
    expectRan(ran, 2, says)
    expect(ran.stderr.trim().split('\n')).toHaveLength(1)
  })
})

describe('status', () => {
  it('names a state, with what it saw and did not', () => {
    const dir = systemDir({ ...system, iommuByDefault: false })
    expectRan(bind(dir, '--status'), 1, /^bind-vfio: nothing is set up$/m)
    expectRan(apply(dir, card), 0)
    // grub.cfg was not made again
    expectRan(bind(dir, '--status'), 1, /^bind-vfio: drifted.*problem.*grub\.cfg/s)
    updateGrub(dir)
    expectRan(bind(dir, '--status'), 1, /^bind-vfio: reboot-needed.*unknown/s)
    writeIn(dir, modprobe, '')
    const ran = bind(dir, '--status', '--json')
    expect(JSON.parse(ran.stdout)).toMatchObject({ action: 'status', state: 'drifted', changed: false })
    expect(ran.stdout).toContain('not there: softdep nouveau pre: vfio-pci')
  })
})
