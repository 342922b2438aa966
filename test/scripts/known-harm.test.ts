import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { apply, card, undo } from '../support/bind.ts'
import { snapshotOf, systemDir, textOf, writeIn } from '../support/system.ts'

// What other guides and tools did to people's machines; gaps in group numbers, five-digit domains and class 0380 are in
// list-iommu's tests, lines repeated 480 times also in those of arguments.

const system = { machine: 'i9-14900k-vmd', iommuByDefault: false } as const
const onLine = { ...system, builtin: ['vfio_pci', 'vfio'] } as const
const upstream = { 'usr/sbin/grub-mkconfig': '#!/bin/sh\n' }
const GRUB = 'etc/default/grub'

describe('harm that was done elsewhere', () => {
  it.each([
    [
      'GRUB_CMDLINE_LINUX_DEFAULT=\'quiet acpi_osi="!Windows 2012"\'\n',
      'GRUB_CMDLINE_LINUX_DEFAULT=\'quiet acpi_osi="!Windows 2012" OURS\'\n',
    ],
    [
      'GRUB_CMDLINE_LINUX_DEFAULT="cryptdevice=/dev/sda3:luks resume=/swap"  # mine\n',
      'GRUB_CMDLINE_LINUX_DEFAULT="cryptdevice=/dev/sda3:luks resume=/swap OURS"  # mine\n',
    ],
    [
      'GRUB_CMDLINE_LINUX_DEFAULT="hugepagesz=1G hugepages=8 console=ttyS0 amd_iommu=on console=tty0"',
      'GRUB_CMDLINE_LINUX_DEFAULT="hugepagesz=1G hugepages=8 console=ttyS0 amd_iommu=on console=tty0 OURS"',
    ],
  ])(
    'single-quoted values re-quoted, the whole line overwritten, arguments sorted, amd_iommu=on cut: %j',
    (text, after) => {
      const dir = systemDir({ ...onLine, files: { ...upstream, [GRUB]: text } })
      expect(apply(dir, card).code).toBe(0)
      const ours = 'intel_iommu=on vfio-pci.ids=10de:1cb6,10de:0fb9'
      expect(textOf(dir, GRUB)).toBe(after.replace('OURS', ours))
      // An undo that left the ids behind through a quoting bug; also of a file that was edited since.
      writeIn(dir, GRUB, `${textOf(dir, GRUB)}\nGRUB_TIMEOUT=9\n`)
      expect(undo(dir).code).toBe(0)
      expect(textOf(dir, GRUB)).toBe(`${text}\nGRUB_TIMEOUT=9\n`)
    },
  )

  it('duplicate lines after repeated runs, a backup overwritten by the second run', () => {
    const dir = systemDir({ ...onLine, files: upstream })
    const before = snapshotOf(join(dir, 'etc'))
    const was = textOf(dir, GRUB)
    expect(apply(dir, card).code).toBe(0)
    const once = snapshotOf(join(dir, 'etc'))
    for (let run = 0; run < 5; run++) expect(apply(dir, card).code).toBe(0)
    expect(snapshotOf(join(dir, 'etc'))).toBe(once)
    const journal = join(dir, 'var/lib/vfio-scripts')
    const images = readdirSync(journal, { recursive: true, encoding: 'utf8', withFileTypes: true })
      .filter((file) => file.isFile())
      .map((file) => readFileSync(join(file.parentPath ?? file.path, file.name), 'latin1'))
    expect(images).toContain(was)
    expect(undo(dir).code).toBe(0)
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)
  })

  it('a dracut file without .conf, add_driver+= for add_drivers+=', () => {
    const dir = systemDir({ ...system, generator: 'dracut' })
    expect(apply(dir, card).code).toBe(0)
    const folder = join(dir, 'etc/dracut.conf.d')
    expect(readdirSync(folder).filter((name) => !name.endsWith('.conf'))).toEqual([])
    const text = readdirSync(folder)
      .map((name) => readFileSync(join(folder, name), 'utf8'))
      .join('')
    expect(text.match(/^\w+(?=\+=)/gm)).toEqual(['force_drivers', 'install_items'])
    expect(text).toContain('force_drivers+=" vfio_pci "')
  })

  it('the only GPU taken', () => {
    const dir = systemDir({ machine: 'x570-navi10' })
    const ran = apply(dir, '0b:00')
    expect([ran.code, ran.stderr]).toEqual([2, expect.stringMatching(/only-gpu|boot-vga/)])
    expect(existsSync(join(dir, 'var/lib/vfio-scripts'))).toBe(false)
  })

  it('the host bridge chosen', () => {
    const ran = apply(systemDir(system), '00:00.0', '--force', 'bridge')
    expect([ran.code, ran.stderr]).toEqual([2, expect.stringMatching(/bridge/)])
  })
})
