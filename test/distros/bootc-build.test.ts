import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { expect, it } from 'vitest'
import { bind, card, expectRan, override, tune, write } from '../support/bind.ts'
import { bootc, type Files, grubby, loaderDir, rpmOstree } from '../support/loaders.ts'
import { scratchDir } from '../support/machine.ts'
import { snapshotOf, systemDir, textOf } from '../support/system.ts'

const KARGS = 'usr/lib/bootc/kargs.d/zz-vfio-scripts.toml'
const HEAD = '# Written by vfio-scripts for an image.\n'

/** A system whose kernel has vfio-pci as a module. */
const bootcDir = (more: Files = {}): string =>
  systemDir({ machine: 'i9-14900k-vmd', files: { ...bootc.files, ...more } })
const raise = (): never => expect.fail('it did not run')
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

it('both scripts write into one folder, in either order, beside files of the person', () => {
  const texts = [0, 1].map((first) => {
    const dir = systemDir({ machine: 'i9-14900k-vmd', iommuByDefault: false, files: bootc.files })
    const before = snapshotOf(dir)
    const tree = target()
    mkdirSync(join(tree, 'etc'), { recursive: true })
    writeFileSync(join(tree, 'etc/motd'), 'mine\n')
    const scripts = [
      () => bind(dir, card, '--output', tree, '--apply'),
      () => tune(dir, '--hugepages', '4G', '--page-size', '1G', '--ignore-msrs', '--output', tree, '--apply'),
    ]
    const ran = [scripts[first]?.(), scripts[1 - first]?.()].map((one) => one ?? raise())
    for (const one of ran) expectRan(one, 0, /COPY vfio\/ \//)
    // What the initramfs of the one is made of is told by the other too.
    expectRan(ran[1] ?? raise(), 0, /RUN kver=.*dracut --force/)
    expect(snapshotOf(dir)).toBe(before)
    expect(textOf(tree, 'usr/lib/bootc/kargs.d/zz-vfio-scripts-tuning.toml')).toBe(
      `${HEAD}kargs = ["hugepagesz=1G", "hugepages=4"]\n`,
    )
    expect(textOf(tree, 'etc/modprobe.d/vfio-scripts-kvm.conf')).toMatch(
      new RegExp(`^${HEAD}options kvm ignore_msrs=1`),
    )
    expect(textOf(tree, KARGS)).toBe(`${HEAD}kargs = ["intel_iommu=on"]\n`)
    return snapshotOf(tree)
  })
  expect(texts[0]).toBe(texts[1])
})

it('what the build runs is told, and what is of this machine alone is refused', () => {
  const tree = target()
  const os = { 'etc/os-release': 'ID=fedora\nVARIANT_ID=silverblue\n', 'usr/bin/rpm-ostree': '' }
  const ran = tune(bootcDir(os), '--packages', '--vfio-group', 'kvm', '--output', tree, '--apply')
  expectRan(ran, 0, /RUN dnf install -y qemu-kvm .*[\s\S]*COPY vfio\/ \/(?![\s\S]*RUN )/)
  expect(textOf(tree, 'etc/udev/rules.d/99-vfio-scripts.rules')).toContain('SUBSYSTEM=="vfio"')
  expectRan(tune(bootcDir(), '--tap', 'tap0', '--output', target(), '--apply'), 2, /--tap is of this machine alone/)
})

it('what is set up on this machine already is in the folder all the same', () => {
  const dir = systemDir({
    machine: 'i9-14900k-vmd',
    family: 'fedora',
    files: { ...bootc.files, 'usr/bin/rpm-ostree': '' },
  })
  expectRan(bind(dir, card, ...write), 0)
  expectRan(tune(dir, '--hugepages', '4G', ...write), 0)
  const tree = target()
  expectRan(bind(dir, card, '--output', tree, '--apply'), 0)
  expectRan(tune(dir, '--hugepages', '8G', '--output', tree, '--apply'), 0)
  expect(textOf(tree, 'etc/modprobe.d/00-vfio-scripts.conf')).toContain('ids=10de:1cb6,10de:0fb9')
  expect(textOf(tree, 'etc/sysctl.d/zz-vfio-scripts.conf')).toBe(
    '# Written by vfio-scripts for an image.\nvm.nr_hugepages = 4096\n',
  )
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

it('a file that says something else, and systems that are no such image, are refused', () => {
  const tree = target()
  const dir = loaderDir(bootc)
  expectRan(bind(dir, card, '--output', tree, '--apply'), 0)
  const before = snapshotOf(tree)
  expectRan(bind(dir, card, '--output', tree, '--apply'), 0, /No file to write/)
  expectRan(
    bind(dir, card, '--iommu-pt', '--output', tree, '--apply'),
    2,
    /is there already and says something else; name a new folder/,
  )
  expectRan(bind(dir, card, '--output', tree, '--apply', '--no-commands'), 2, /--no-commands is for changes of this/)
  expect(snapshotOf(tree)).toBe(before)
  expectRan(bind(loaderDir(grubby), card, '--output', '/x'), 2, /--output is for NixOS, and this is/)
})
