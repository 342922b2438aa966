import { describe, expect, it } from 'vitest'
import { apply, bind, card, etcOf, expectRan, modprobe, system, undo } from '../support/bind.ts'
import { snapshotOf, systemDir, textOf, writeIn } from '../support/system.ts'

describe('what is set by hand', () => {
  it('and does the job is adopted, and stays', () => {
    const files = {
      'etc/modprobe.d/mine.conf':
        'options vfio_pci ids=10DE:1CB6,10de:0fb9 disable_vga=1\nsoftdep nouveau pre: vfio-pci\n',
    }
    const dir = systemDir({ ...system, files })
    expectRan(apply(dir, card), 0)
    expect(textOf(dir, modprobe)).not.toContain('ids=')
    expect(textOf(dir, modprobe)).not.toContain('softdep nouveau ')
    expectRan(undo(dir), 0)
    expect(textOf(dir, 'etc/modprobe.d/mine.conf')).toBe(files['etc/modprobe.d/mine.conf'])
  })

  it('and lacks an ID is completed in its place', () => {
    const dir = systemDir({
      ...system,
      files: { 'etc/modprobe.d/mine.conf': 'options vfio-pci ids=1b21:2142 # usb\n' },
    })
    const before = etcOf(dir)
    expectRan(apply(dir, card), 0)
    expect(textOf(dir, 'etc/modprobe.d/mine.conf')).toContain('ids=1b21:2142,10de:1cb6,10de:0fb9')
    expect(textOf(dir, modprobe)).not.toContain('ids=')
    expectRan(undo(dir), 0)
    expect(etcOf(dir)).toBe(before)
  })

  it('and hides our argument from an undo is named', () => {
    const files = { 'usr/sbin/grub-mkconfig': '#!/bin/sh\n' }
    const dir = systemDir({ ...system, iommuByDefault: false, files })
    expectRan(apply(dir, card), 0)
    const text = textOf(dir, 'etc/default/grub') ?? ''
    writeIn(dir, 'etc/default/grub', text.replace(/^(GRUB_CMDLINE_LINUX_DEFAULT=.*)$/m, 'if true; then $1; fi'))
    expectRan(undo(dir), 0, /etc\/default\/grub still holds intel_iommu=on, in a place that was changed since/)
    expect(textOf(dir, 'etc/default/grub')).toContain('intel_iommu=on')
  })

  it('on the command line is merged, never followed by a second list', () => {
    const grub = 'GRUB_CMDLINE_LINUX_DEFAULT="quiet vfio_pci.ids=1b21:2142 splash"\n'
    const dir = systemDir({ ...system, builtin: ['vfio_pci', 'vfio'], files: { 'etc/default/grub': grub } })
    expectRan(apply(dir, card), 0)
    expect(textOf(dir, 'etc/default/grub')).toBe(
      'GRUB_CMDLINE_LINUX_DEFAULT="quiet vfio_pci.ids=1b21:2142,10de:1cb6,10de:0fb9 splash"\n',
    )
    expectRan(undo(dir), 0)
    expect(textOf(dir, 'etc/default/grub')).toBe(grub)
  })

  it.each([
    [
      'intel_iommu=off',
      { 'etc/default/grub': 'GRUB_CMDLINE_LINUX="intel_iommu=off"\n' },
      'etc/default/grub:1: intel_iommu=off',
    ],
    [
      'a blank in the IDs',
      { 'etc/modprobe.d/mine.conf': '#\noptions vfio-pci ids=10de:1cb6, 10de:0fb9\n' },
      'etc/modprobe.d/mine.conf:2: 10de:0fb9 is lost',
    ],
    [
      'a mistyped ID',
      { 'etc/modprobe.d/mine.conf': 'options vfio-pci ids=10de:icb6\n' },
      'etc/modprobe.d/mine.conf:1: 10de:icb6 is no ID',
    ],
    [
      'a softdep turned round',
      { 'etc/modprobe.d/mine.conf': 'softdep vfio-pci pre: nouveau\n' },
      'etc/modprobe.d/mine.conf:1: softdep vfio_pci pre: nouveau',
    ],
    [
      'a module that is never loaded',
      { 'etc/modprobe.d/mine.conf': 'install vfio-pci /bin/false\n' },
      'etc/modprobe.d/mine.conf:1: install vfio_pci',
    ],
    [
      'two lists',
      {
        'etc/modprobe.d/a.conf': 'options vfio-pci ids=1b21:2142\n',
        'etc/modprobe.d/b.conf': 'options vfio-pci ids=1b21:2143\n',
      },
      'etc/modprobe.d/a.conf:1: has no effect',
    ],
  ])('and contradicts is named with file and line: %s', (_, files, says) => {
    const dir = systemDir({ ...system, files })
    const before = snapshotOf(dir)
    const ran = apply(dir, card)
    expect(ran.stderr).toContain(says)
    expect(ran.code).toBe(2)
    expect(snapshotOf(dir)).toBe(before)
  })
})

describe('a system that is not known', () => {
  it('gets the steps by hand, and nothing is written', () => {
    const dir = systemDir({
      ...system,
      iommuByDefault: false,
      files: { 'etc/os-release': 'ID=unheard\nPRETTY_NAME="Unheard 1"\n' },
    })
    const before = snapshotOf(dir)
    const ran = apply(dir, card)
    expect(ran.code).toBe(2)
    expect(ran.stderr).toMatch(/Unheard 1 \(ID unheard\).*by hand/)
    expect(ran.stderr).toContain('options vfio-pci ids=10de:1cb6,10de:0fb9')
    expect(ran.stderr).toContain('intel_iommu=on')
    expect(snapshotOf(dir)).toBe(before)
    expectRan(apply(dir, card, '--bootloader', 'grub', '--initramfs', 'initramfs-tools'), 0)
  })

  it('with two generators wants one named', () => {
    const files = {
      'usr/bin/dracut': '#!/bin/bash\n',
      'usr/lib/dracut/dracut-init.sh': '#!/bin/bash\n',
      'etc/kernel/postinst.d/dracut': '#!/bin/sh\n',
    }
    const dir = systemDir({ ...system, files })
    expectRan(bind(dir, card), 2, /more than one initramfs generator.*--initramfs initramfs-tools\|dracut/)
    expectRan(bind(dir, card, '--initramfs', 'dracut'), 1, /dracut\.conf\.d/)
  })
})
