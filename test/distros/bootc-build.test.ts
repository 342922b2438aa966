import { existsSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { expect, it } from 'vitest'
import { bind, card, expectRan, override } from '../support/bind.ts'
import { bootc, type Files, grubby, loaderDir, rpmOstree } from '../support/loaders.ts'
import { scratchDir } from '../support/machine.ts'
import { snapshotOf, systemDir, textOf } from '../support/system.ts'

const KARGS = 'usr/lib/bootc/kargs.d/zz-vfio-scripts.toml'
const HEAD = '# Written by vfio-scripts for an image.\n'

/** A system whose kernel has vfio-pci as a module. */
const bootcDir = (more: Files = {}): string =>
  systemDir({ machine: 'i9-14900k-vmd', files: { ...bootc.files, ...more } })
const target = (): string => join(scratchDir('image'), 'vfio')

it('a folder for the Containerfile has what the same plan would write, and this machine stays as it is', () => {
  const dir = bootcDir()
  const before = snapshotOf(dir)
  const tree = target()
  const name = basename(tree)
  const plan = bind(dir, card, '--output', tree)
  expectRan(plan, 1, new RegExp(`${KARGS.replaceAll('.', '\\.')}|modprobe\\.d/00-vfio-scripts\\.conf`))
  expect(existsSync(tree)).toBe(false)
  const ran = bind(dir, card, '--output', tree, '--apply')
  expectRan(ran, 0, new RegExp(`COPY ${name}/ /[\\s\\S]*RUN kver=.*dracut --force[\\s\\S]*bootc upgrade`))
  expect(textOf(tree, 'etc/modprobe.d/00-vfio-scripts.conf')).toMatch(
    new RegExp(`^${HEAD}[\\s\\S]*options vfio-pci ids=10de:1cb6,10de:0fb9`),
  )
  expect(textOf(tree, 'etc/dracut.conf.d/zz-vfio-scripts.conf')).toContain('force_drivers+=" vfio_pci "')
  expect(ran.stdout + JSON.stringify(snapshotOf(tree))).not.toMatch(/--undo/)
  for (const path of ['', 'etc', 'etc/modprobe.d']) expect(statSync(join(tree, path)).mode & 0o777).toBe(0o755)
  expect(statSync(join(tree, 'etc/modprobe.d/00-vfio-scripts.conf')).mode & 0o777).toBe(0o644)
  expect(snapshotOf(dir)).toBe(before)
})

it.each([
  ['bootc', bootc, '["intel_iommu=on", "vfio-pci.ids=10de:1cb6,10de:0fb9"]'],
  ['rpm-ostree, whose image has a list', rpmOstree, '["vfio_pci.ids=1b21:2142,10de:1cb6,10de:0fb9", "intel_iommu=on"]'],
])('arguments are in kargs.d: %s', (_, loader, kargs) => {
  const tree = target()
  const ran = bind(loaderDir(loader), card, '--output', tree, '--apply')
  expect(textOf(tree, KARGS)).toBe(`${HEAD}kargs = ${kargs}\n`)
  // What is built in takes no initramfs.
  expectRan(ran, 0, /COPY vfio\/ \/(?![\s\S]*RUN )/)
})

it('by address: the script, and what runs it', () => {
  const tree = target()
  expectRan(override(bootcDir(), card, '--force', 'not-needed', '--output', tree, '--apply'), 2)
  const equal = systemDir({ machine: 'i9-14900k-vmd', builtin: ['nouveau', 'snd_hda_intel'], files: bootc.files })
  expectRan(override(equal, card, '--output', tree, '--apply'), 0, /RUN kver=/)
  const hook = 'usr/lib/dracut/modules.d/90vfio-scripts/override.sh'
  expect(textOf(tree, hook)).toContain('vfio-scripts')
  expect(statSync(join(tree, hook)).mode & 0o777).toBe(0o755)
})

it('a folder that is not empty, and systems that are no such image, are refused', () => {
  const tree = target()
  const dir = bootcDir()
  expectRan(bind(dir, card, '--output', tree, '--apply'), 0)
  const before = snapshotOf(tree)
  expectRan(bind(dir, card, '--output', tree, '--apply'), 2, /is not empty; name a new folder/)
  expect(snapshotOf(tree)).toBe(before)
  expectRan(bind(loaderDir(grubby), card, '--output', '/x'), 2, /--output is for NixOS, and this is/)
})
