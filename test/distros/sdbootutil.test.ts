import { describe, expect, it } from 'vitest'
import { adapters } from '../../distros/index.ts'
import { apply, card, expectSettled } from '../support/bind.ts'
import { applied, CMDLINE, type Files, loaderDir, OURS, ROOT, sdbootutil, treeOf, undone } from '../support/loaders.ts'
import { hostWith } from '../support/root.ts'
import { textOf } from '../support/system.ts'

const HEAD =
  '# Written by vfio-scripts; bind-vfio, override-same-id-gpu and tune-host take out their own with --undo --apply.\n'
const NEW = {
  'usr/bin/sdbootutil': '#!/bin/bash\nfor i in /usr/kernel/cmdline.d/* /etc/kernel/cmdline.d/*; do :; done\n',
}
const ETC = 'etc/kernel/cmdline.d'
const USR = 'usr/kernel/cmdline.d'
const own = `${ETC}/zz-vfio-scripts.conf`

it.each<[string, Files, Record<string, string | null>]>([
  ['nothing is in cmdline.d', {}, { [CMDLINE]: `${ROOT} splash=silent quiet ${OURS}\n`, [own]: null }],
  [
    'something is there',
    { [`${ETC}/serial`]: 'console=ttyS0\n' },
    { [own]: `${HEAD}${OURS}\n`, [CMDLINE]: `${ROOT} splash=silent quiet\n` },
  ],
  [
    'a list there would win over ours',
    { [`${ETC}/zzz`]: '# mine\nvfio-pci.ids=1b21:2142\n' },
    { [own]: `${HEAD}intel_iommu=on\n`, [`${ETC}/zzz`]: '# mine\nvfio-pci.ids=1b21:2142,10de:1cb6,10de:0fb9\n' },
  ],
  [
    'a list of the vendor is taken over',
    { [`${USR}/50-x.conf`]: 'vfio-pci.ids=1b21:2142\n' },
    {
      [own]: `${HEAD}vfio-pci.ids=1b21:2142,10de:1cb6,10de:0fb9 intel_iommu=on\n`,
      [`${USR}/50-x.conf`]: 'vfio-pci.ids=1b21:2142\n',
    },
  ],
  [
    'a list of the vendor that a name in /etc masks',
    { [`${USR}/50-x.conf`]: 'vfio-pci.ids=1b21:2142\n', [`${ETC}/50-x.conf`]: '' },
    { [own]: `${HEAD}${OURS}\n` },
  ],
])('the line is what sdbootutil makes of all files: %s', (_, more, files) => {
  const dir = loaderDir(sdbootutil, { ...NEW, ...more })
  const before = treeOf(dir)
  expect(applied(dir)).toEqual(['sdbootutil update-all-entries'])
  for (const [path, text] of Object.entries(files)) expect(textOf(dir, path) ?? null, path).toBe(text)
  expectSettled(dir, card)
  expect(undone(dir)).toEqual(['sdbootutil update-all-entries'])
  expect(treeOf(dir)).toBe(before)
})

it('an older sdbootutil does not read cmdline.d: nothing there counts', () => {
  const dir = loaderDir(sdbootutil, { [`${ETC}/zzz`]: 'vfio-pci.ids=1b21:2142\n' })
  expect(apply(dir, card).code).toBe(0)
  expect(textOf(dir, CMDLINE)).toBe(`${ROOT} splash=silent quiet ${OURS}\n`)
})

it('the order is that in which it reads: the file, the vendor, /etc, each by name', () => {
  const files: Record<string, string> = {
    ...Object.fromEntries(
      Object.entries(sdbootutil.files).flatMap(([path, text]) => (text === null ? [] : [[`/${path}`, text]])),
    ),
    '/usr/bin/sdbootutil': NEW['usr/bin/sdbootutil'],
    [`/${ETC}/10`]: 'c',
    [`/${USR}/90`]: 'b',
    [`/${USR}/10`]: 'masked',
    [`/${ETC}/.hidden`]: 'hidden',
    [`/${ETC}/20.txt`]: '#no\nd\n',
  }
  const line = adapters.openBootloader(hostWith(files), 'sdbootutil')?.configured() ?? []
  expect(line.map(({ token }) => token)).toEqual([ROOT, 'splash=silent', 'quiet', 'b', 'c', 'd'])
})

describe('entries of other snapshots', () => {
  const [release = ''] = sdbootutil.kernels ?? []
  const entryOf = (snapshot: number): Files => {
    const folder = `opensuse-tumbleweed/${release}`
    return {
      [`boot/efi/loader/entries/opensuse-tumbleweed-${release}-${snapshot}.conf`]: `title openSUSE\nversion ${snapshot}@${release}\noptions ${ROOT} quiet\nlinux /${folder}/linux-0a\ninitrd /${folder}/initrd-${snapshot}a\n`,
      [`boot/efi/${folder}/linux-0a`]: 'kernel',
      [`boot/efi/${folder}/initrd-${snapshot}a`]: 'image',
    }
  }
  const files: Record<string, string> = {}
  for (const [path, text] of Object.entries({
    'usr/bin/sdbootutil': '',
    'usr/bin/dracut': '',
    'usr/lib/dracut/x': '',
    [`lib/modules/${release}/modules.dep`]: '',
    [CMDLINE]: `${ROOT} quiet\n`,
    'proc/self/mountinfo': '31 1 0:27 /@/.snapshots/2/snapshot / rw shared:1 - btrfs /dev/sda2 rw\n',
    ...entryOf(1),
    ...entryOf(2),
  }))
    files[`/${path}`] = text ?? ''

  it('are for recovery, with the images that they boot', () => {
    const host = hostWith(files, true)
    const loader = adapters.openBootloader(host, 'sdbootutil')
    expect(loader?.entries().map(({ file, recovery }) => [file.at(-6), recovery])).toEqual([
      ['2', false],
      ['1', true],
    ])
    const touches = loader?.commands().flatMap((one) => one.touches.map((path) => path.replace(/.*\//, '')))
    expect(touches).toEqual([`opensuse-tumbleweed-${release}-2.conf`])
    expect(loader?.observe(['quiet'], false)[0]).toMatchObject({ ok: true })
    expect(loader?.observe(['nosuch'], false)[0]).toMatchObject({ ok: false })
    const dracut = adapters.openInitramfs(host, 'dracut')
    expect(dracut?.images().map(({ path }) => path.replace(/.*\//, ''))).toEqual(['initrd-2a'])
    // The new image has another name, which the entry has to say: both go back when a later step fails.
    const [made] = dracut?.commands() ?? []
    expect(made?.argv).toEqual(['sdbootutil', 'mkinitrd'])
    expect(made?.touches.map((path) => path.replace(/.*\//, ''))).toEqual([
      'initrd-2a',
      `opensuse-tumbleweed-${release}-2.conf`,
    ])
  })

  it('where another system runs, are not told apart', () => {
    const host = hostWith(files, false)
    const loader = adapters.openBootloader(host, 'sdbootutil')
    expect(loader?.entries().every(({ recovery }) => !recovery)).toBe(true)
    expect(loader?.observe(['nosuch'], false)[0]).toMatchObject({ ok: null })
  })
})
