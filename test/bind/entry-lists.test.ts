import { expect, it } from 'vitest'
import { bind, card, expectRan } from '../support/bind.ts'
import { type Files, loaderDir, ROOT, systemdBoot } from '../support/loaders.ts'

const entry = (line: string): string =>
  `title Arch\nlinux /vmlinuz-linux\ninitrd /initramfs-linux.img\noptions ${ROOT} rw ${line}\n`
const [one, two] = ['boot/loader/entries/arch.conf', 'boot/loader/entries/lts.conf'] as const
const LIST = 'vfio-pci.ids=1b21:2142'

it.each<[string, Files, RegExp]>([
  [
    'only one has a list',
    { [one]: entry(LIST), [two]: entry('') },
    /note: Only \/boot\/loader\/entries\/arch\.conf \(vfio-pci\.ids=1b21:2142\) has a list of IDs, and \/boot\/loader\/entries\/lts\.conf has none/,
  ],
  [
    'lists differ',
    { [one]: entry(LIST), [two]: entry('vfio_pci.ids=10de:2204') },
    /note: Boot entries differ: \/boot\/loader\/entries\/arch\.conf \(\S+1b21:2142\), \/boot\/loader\/entries\/lts\.conf \(\S+10de:2204\) have lists/,
  ],
])('boot entries whose lists are not alike are named: %s', (_, files, note) => {
  expectRan(bind(loaderDir(systemdBoot, files), card), 1, note)
})

it.each<[string, Files]>([
  ['alike', { [one]: entry(LIST), [two]: entry('vfio_pci.ids=1B21:2142') }],
  ['none', { [one]: entry(''), [two]: entry('') }],
])('no word of them where they are alike: %s', (_, files) => {
  const ran = bind(loaderDir(systemdBoot, files), card)
  expectRan(ran, 1)
  expect(ran.stdout).not.toMatch(/list of IDs|lists of IDs/)
})
