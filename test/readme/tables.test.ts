import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { adapters, DISTROS } from '../../distros/index.ts'
import { HAND_OVER_GUARDS } from '../../lib/checks/hand-over-guards.ts'
import { libvirtHookCheck } from '../../lib/checks/libvirt-hook.ts'
import { BINDING_GUARDS, GUEST_CHECKS } from '../../lib/checks/registry.ts'
import { readKernels } from '../../lib/host/installed-kernels.ts'
import { openReader } from '../../lib/host/sysroot.ts'
import { TUNING_GUARDS } from '../../lib/tune/features.ts'
import { FAMILIES } from '../support/families.ts'
import { tableOf } from '../support/pages.ts'
import { PROJECT } from '../support/run.ts'
import { systemDir } from '../support/system.ts'

const PAGE = readFileSync(`${PROJECT}docs/distributions.md`, 'utf8')
const codes = (cell = ''): string[] => [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? '')
const names = (some: readonly { name: string }[]): string[] => some.map(({ name }) => name)

describe('the table of distributions', () => {
  const rows = tableOf(PAGE, 'distribution')

  it('has each that is known', () => expect(rows.map(([name]) => name)).toEqual(names(DISTROS)))

  it('calls loaders and generators by the names that --bootloader and --initramfs take', () => {
    expect(names(adapters.bootloaders)).toEqual(expect.arrayContaining(rows.flatMap(([, loader]) => codes(loader))))
    expect(names(adapters.initramfs)).toEqual(expect.arrayContaining(rows.flatMap(([, , image]) => codes(image))))
  })

  it.each(Object.keys(FAMILIES).filter((family) => family !== 'nixos') as (keyof typeof FAMILIES)[])(
    '%s has what is found on it',
    (family) => {
      const dir = systemDir({ machine: 'i9-14900k-vmd', family })
      const files = openReader(dir)
      const host = { files, machine: files, running: false, kernels: readKernels(files) }
      const [name, loader, image] = rows.find(([each]) => each?.toLowerCase().startsWith(family)) ?? []
      expect(name).toBeDefined()
      expect(codes(loader)).toContain(adapters.findBootloader(host, undefined).adapter?.name)
      expect(codes(image)).toContain(adapters.findInitramfs(host, undefined).adapter?.name)
    },
  )

  it('goes with the packages that are installed there', () => {
    const block = /```text\n([\s\S]*?)```/.exec(PAGE)?.[1] ?? ''
    const packaged = DISTROS.filter(({ declarative }) => declarative === undefined)
    expect(
      block
        .trimEnd()
        .split('\n')
        .map((line) => line.split(/ {2,}/)),
    ).toEqual(
      packaged.map(({ name, packages }) => [
        name,
        [packages.command, ...Object.values(packages.packageNames)].join(' '),
      ]),
    )
  })
})

it.each([
  ['boot loader', adapters.bootloaders],
  ['initramfs', adapters.initramfs],
])('every %s has a row', (head, known) => {
  expect([...new Set(tableOf(PAGE, head).flatMap(([name]) => codes(name)))].sort()).toEqual(names(known).sort())
})

it.each([
  ['docs/binding.md', 'guard', 'yes', 'never'],
  ['docs/binding.ja.md', 'ガード', '可', '不可'],
])('every guard has a row in %s, which says whether it can be overridden', (file, head, yes, never) => {
  const rows = tableOf(readFileSync(PROJECT + file, 'utf8'), head).map(([name, , forced]) => [codes(name)[0], forced])
  const guards = [BINDING_GUARDS, GUEST_CHECKS, TUNING_GUARDS, HAND_OVER_GUARDS, libvirtHookCheck].flat()
  const known = guards.map(({ code, forceable }) => [code, forceable ? yes : never])
  expect(rows.sort()).toEqual(known.sort())
})
