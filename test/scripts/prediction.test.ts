// What a plan is judged by: the boot that it brings about, by the scripts themselves on fake systems.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { BindVfio } from '../../lib/views/changes.ts'
import { apply, bind, card, expectRan, modprobe, override, system, undo, updateGrub } from '../support/bind.ts'
import { cpioOf, placed } from '../support/cpio.ts'
import { loaderDir, RELEASES, rpmOstree } from '../support/loaders.ts'
import { runScript } from '../support/run.ts'
import { kmod, order, UDEV } from '../support/stages.ts'
import { snapshotOf, systemDir, textOf, writeIn } from '../support/system.ts'

const RELEASE = '6.14.7-zen1'
const IDS = 'options vfio-pci ids=10de:1cb6,10de:0fb9\n'
const SOFTDEPS = ['nouveau', 'nvidia', 'nvidia_drm', 'nvidiafb', 'snd_hda_intel']
  .map((name) => `softdep ${name} pre: vfio-pci\n`)
  .join('')

/** Writes the image that initramfs-tools would make, with these files and modules in it. */
function writeImage(dir: string, files: Record<string, string> = {}, modules: readonly string[] = []): void {
  const all: Record<string, string> = {
    'scripts/functions': '',
    'conf/initramfs.conf': 'MODULES=most\n',
    'scripts/init-top/udev': UDEV,
    'scripts/init-top/ORDER': order('udev'),
    'usr/bin/kmod': '',
    ...Object.fromEntries(modules.map((name) => [`lib/modules/${RELEASE}/kernel/${name}.ko`, ''])),
    ...files,
  }
  const link = Object.entries(kmod).filter(([, text]) => text.startsWith('→ '))
  const entries = [
    ...Object.entries(all).flatMap(([path, text]) => placed(path, text)),
    ...link.flatMap(([path, text]) => [...placed(path, '').slice(0, -1), { name: path, link: text.slice(2) }]),
  ]
  writeFileSync(join(dir, `boot/initrd.img-${RELEASE}`), cpioOf(entries))
}

function foreseen(dir: string, ...args: string[]): Record<string, { driver: string | null; certainty: string }> {
  const { boots } = JSON.parse(bind(dir, ...args, '--json').stdout) as BindVfio
  const usual = boots?.find((one) => one.default) ?? boots?.[0]
  return Object.fromEntries(usual?.devices?.map((one) => [one.address, one]) ?? [])
}

const taken = { driver: 'vfio-pci', certainty: 'certain' }
const both = { '0000:02:00.0': taken, '0000:02:00.1': taken }

describe('a list of IDs that counts in place of modprobe.d’s', () => {
  it('on the kernel line is completed there', () => {
    const line = 'GRUB_CMDLINE_LINUX_DEFAULT="quiet vfio-pci.ids=10de:1c03"\n'
    const dir = systemDir({ ...system, files: { 'etc/default/grub': line } })
    const before = snapshotOf(join(dir, 'etc'))
    expect(foreseen(dir, card)).toMatchObject(both)
    expectRan(apply(dir, card), 0)
    expect(textOf(dir, 'etc/default/grub')).toContain('vfio-pci.ids=10de:1c03,10de:1cb6,10de:0fb9"')
    expectRan(undo(dir), 0)
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)
  })

  it('beside the module’s name in the list of an initramfs is completed there', () => {
    const dir = systemDir({ ...system, files: { 'etc/initramfs-tools/modules': 'loop\nvfio_pci ids=10de:1c03\n' } })
    const before = snapshotOf(join(dir, 'etc'))
    expect(foreseen(dir, card)).toMatchObject(both)
    expectRan(apply(dir, card), 0)
    expect(textOf(dir, 'etc/initramfs-tools/modules')).toBe('loop\nvfio_pci ids=10de:1c03,10de:1cb6,10de:0fb9\n')
    expectRan(undo(dir), 0)
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)
  })
})

describe('a device that nobody named', () => {
  it.each([
    ['a forgotten ID of the host’s GPU', 'options vfio-pci ids=10de:1ff2\n'],
    ['a wildcard', 'options vfio-pci ids=10de:ffffffff:ffffffff:ffffffff:030000:ff0000\n'],
    ['a file that is read last', 'options vfio-pci ids=10de:1cb6,10de:0fb9,10de:1ff2\n'],
  ])('is guarded: %s', (_, text) => {
    const dir = systemDir({ ...system, files: { 'etc/modprobe.d/old.conf': text } })
    const before = snapshotOf(dir)
    const ran = apply(dir, card)
    expectRan(ran, 2, /refused \(only-gpu\).*0000:01:00\.0 goes to vfio-pci: .*ids=.*also refused \(boot-vga\)/s)
    expect(snapshotOf(dir)).toBe(before)
    expectRan(
      bind(dir, card, '--force', 'only-gpu', '--force', 'boot-vga'),
      1,
      /0000:01:00\.0 \(nvidia now\) was not named/,
    )
  })

  it('is named with the line where the host can spare it', () => {
    const dir = systemDir({ ...system, files: { 'etc/modprobe.d/old.conf': 'options vfio-pci ids=10de:10fa\n' } })
    expectRan(
      bind(dir, card),
      1,
      /note: \S+ \(\S+ now\) was not named, and goes to vfio-pci: \/etc\/modprobe\.d\/old\.conf:1/,
    )
  })

  it('is the twin of one that goes by address, where its ID stands in a file', () => {
    const old = { 'etc/modprobe.d/old.conf': 'options vfio-pci ids=10de:2504\n' }
    const ran = override(systemDir({ machine: 'twin-gpus', files: old }), '05:00')
    expectRan(ran, 2, /refused \(only-gpu\).*0000:01:00\.0 goes to vfio-pci: \/etc\/modprobe\.d\/old\.conf:1/s)
  })
})

describe('what keeps a card from vfio-pci all the same', () => {
  it.each([
    ['module_blacklist=vfio_pci', { 'etc/default/grub': 'GRUB_CMDLINE_LINUX="module_blacklist=foo,vfio_pci"\n' }],
    ['an install line', { 'etc/modprobe.d/x.conf': 'install vfio-pci /bin/false\n' }],
    ['the IOMMU off', { 'etc/default/grub': 'GRUB_CMDLINE_LINUX="intel_iommu=off"\n' }],
  ])('refuses the plan, and is named: %s', (_, files) => {
    const dir = systemDir({ ...system, files })
    const before = snapshotOf(dir)
    expectRan(apply(dir, card), 2, /(module_blacklist=|x\.conf:1: install |intel_iommu=off)/)
    expect(snapshotOf(dir)).toBe(before)
  })
})

describe('rpm-ostree', () => {
  it('has dracut make an image that it keeps the arguments of: the new ones count', () => {
    const image = 'boot/ostree/b/initramfs.img'
    const entry = (text: string | null | undefined): string => `${text}initrd /ostree/b/initramfs.img\n`
    const latest = 'boot/loader/entries/ostree-2-fedora.conf'
    const dir = loaderDir({ ...rpmOstree, builtin: [], iommuByDefault: true }, { 'usr/sbin/update-initramfs': null })
    writeIn(dir, image, '')
    writeIn(dir, latest, entry(textOf(dir, latest)?.replace('/b/vmlinuz', `/b/vmlinuz-${RELEASES[0]}`)))
    writeIn(dir, `boot/ostree/b/vmlinuz-${RELEASES[0]}`, 'kernel')
    const files: Record<string, string> = { 'usr/lib/dracut/dracut-lib.sh': '', 'usr/bin/kmod': '' }
    for (const name of ['nvidia', 'snd_hda_intel']) files[`lib/modules/${RELEASES[0]}/kernel/${name}.ko`] = ''
    writeFileSync(join(dir, image), cpioOf(Object.entries(files).flatMap(([path, text]) => placed(path, text))))
    const ran = bind(dir, card)
    expectRan(ran, 1, /> rpm-ostree initramfs --enable --arg=--force-drivers=vfio_pci/)
    expect(foreseen(dir, card)).toMatchObject(both)
  })
})

describe('what files say and nothing was made of', () => {
  const files = {
    'etc/modprobe.d/mine.conf': IDS + SOFTDEPS,
  }

  it('is made again: the image does not hold it', () => {
    const dir = systemDir(system)
    expectRan(apply(dir, card), 0)
    writeImage(dir, {}, ['snd_hda_intel', 'nvidia'])
    expectRan(bind(dir, card), 1, /^ {2}> update-initramfs -u -k 6\.14\.7-zen1/m)
    expectRan(bind(dir, '--status'), 1, /problem +0000:02:00\.1 is on snd_hda_intel after the boot of 6\.14\.7-zen1/)
    writeImage(dir, { [modprobe]: textOf(dir, modprobe) ?? '', 'conf/modules': 'vfio-pci\n' }, [
      'vfio-pci',
      'snd_hda_intel',
    ])
    expectRan(bind(dir, card), 0, /^Nothing to do/m)
  })

  it('is made again: the menu does not have it', () => {
    const dir = systemDir({ ...system, iommuByDefault: false })
    expectRan(apply(dir, card), 0)
    expectRan(bind(dir, card), 1, /^ {2}> update-grub/m)
    updateGrub(dir)
    expectRan(bind(dir, card), 0, /^Nothing to do/m)
  })

  it('is made again too where it is the person’s own, which would bind the card', () => {
    const dir = systemDir({ ...system, files })
    writeImage(dir, {}, ['snd_hda_intel', 'nvidia'])
    expectRan(bind(dir, card), 1, /^ {2}> update-initramfs -u -k 6\.14\.7-zen1/m)
    const held = { 'etc/modprobe.d/mine.conf': IDS + SOFTDEPS }
    writeImage(dir, held, ['vfio-pci', 'snd_hda_intel', 'nvidia'])
    expectRan(bind(dir, card), 0, /Nothing to do for 0000:02:00\.0: \/etc\/modprobe\.d\/mine\.conf:1 binds it/)
    const line = 'GRUB_CMDLINE_LINUX_DEFAULT="vfio-pci.ids=10de:1cb6,10de:0fb9"\n'
    const onLine = { 'etc/modprobe.d/mine.conf': SOFTDEPS, 'etc/default/grub': line }
    const other = systemDir({ ...system, files: onLine })
    writeImage(other, onLine, ['vfio-pci', 'snd_hda_intel', 'nvidia'])
    expectRan(bind(other, card), 1, /^ {2}> update-grub/m)
    updateGrub(other)
    expectRan(bind(other, card), 0, /Nothing to do for 0000:02:00\.0: \/etc\/default\/grub:1 binds it/)
  })

  it('is made again where the host’s driver is offered the card first, though it may decline', () => {
    const dir = systemDir(system)
    expectRan(apply(dir, card), 0)
    writeImage(dir, {}, ['nvidia'])
    expectRan(bind(dir, card), 1, /^ {2}> update-initramfs/m)
  })

  it('is made again where pci-stub would have the card: no guest gets it from there', () => {
    const dir = systemDir(system)
    expectRan(apply(dir, card), 0)
    writeImage(dir, { 'conf/modules': 'pci_stub ids=10de:1cb6,10de:0fb9\n' }, ['pci_stub'])
    expectRan(bind(dir, card), 1, /^ {2}> update-initramfs/m)
    expectRan(bind(dir, '--status'), 1, /problem +0000:02:00\.0 is on pci-stub after the boot/)
  })

  it('is a problem for check-host, with the commands', () => {
    const dir = systemDir({ ...system, files })
    writeImage(dir, {}, ['snd_hda_intel', 'nvidia'])
    const { findings } = JSON.parse(runScript('check-host', ['--root', dir, '--json']).stdout)
    expect(findings).toContainEqual(
      expect.objectContaining({
        code: 'next-boot',
        state: 'problem',
        summary: 'Files say what no image or boot entry holds yet',
        next: expect.stringMatching(/^update-initramfs -u -k \S+ && update-grub$/),
      }),
    )
  })
})

describe('--predict', () => {
  it('says why the card is not bound, on a machine where this toolkit did nothing', () => {
    const dir = systemDir({ ...system, files: { 'etc/modprobe.d/mine.conf': IDS } })
    writeImage(dir, { 'etc/modprobe.d/mine.conf': IDS, 'conf/modules': 'vfio-pci\n' }, ['snd_hda_intel', 'vfio-pci'])
    const before = snapshotOf(dir)
    const ran = bind(dir, '--predict', card)
    expectRan(
      ran,
      0,
      /02:00\.1 +snd_hda_intel .*\n.*mine\.conf:1: options vfio-pci ids=\S+: another driver has it by then/,
    )
    expect(snapshotOf(dir)).toBe(before)
    expect(foreseen(dir, '--predict')).toMatchObject({
      '0000:02:00.0': taken,
      '0000:02:00.1': { driver: 'snd_hda_intel' },
    })
  })

  it('says what it could not look into', () => {
    const dir = systemDir(system)
    expectRan(
      bind(dir, '--predict'),
      0,
      /as far as can be seen: \/boot\/initrd\.img-\S+ is no initramfs that is known here/,
    )
    expectRan(bind(systemDir({ ...system, kernels: [] }), '--predict'), 0, /no boot entry was found, and no kernel/)
  })

  it.each([
    [['--predict', '--apply'], /changes nothing/],
    [['--predict', '--status'], /choose one/],
    [['--predict', '99:00'], /no such device/],
  ])('%j is refused', (args, says) => expectRan(bind(systemDir(system), ...args), 2, says))
})
