import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { rpmOstree } from '../../distros/initramfs/rpm-ostree.ts'
import { openReader } from '../../lib/host/sysroot.ts'
import type { Host } from '../../lib/system/system.ts'
import { scratchDir } from '../support/machine.ts'
import { writeIn } from '../support/system.ts'

/** Deployments `aa.0` (booted) and `bb.0`, with an entry for each of `entries`, the first choice first. */
function hostWith(entries: readonly string[], staged: boolean): Host {
  const root = scratchDir('ostree')
  for (const [name, args] of [
    ['aa.0', ''],
    ['bb.0', 'regenerate-initramfs=true\ninitramfs-args=--x;\n'],
  ]) {
    writeIn(root, `ostree/deploy/fedora/deploy/${name}.origin`, `[rpmostree]\n${args}`)
    writeIn(root, `ostree/deploy/fedora/deploy/${name}/usr/lib/modules/6.9.1/initramfs.img`, '')
  }
  entries.forEach((name, index) => {
    mkdirSync(join(root, `ostree/boot.1/fedora/${name}`), { recursive: true })
    symlinkSync(`../../../deploy/fedora/deploy/${name}`, join(root, `ostree/boot.1/fedora/${name}/0`))
    const text = `title Fedora\nlinux /vmlinuz\nversion ${9 - index}\noptions root=UUID=1 ostree=/ostree/boot.1/fedora/${name}/0 rw\n`
    writeIn(root, `boot/loader/entries/ostree-${index}.conf`, text)
  })
  if (staged) writeIn(root, 'run/ostree/staged-deployment', '')
  const files = openReader(root)
  return { files, machine: files, running: true, kernels: [] }
}

const image = (name: string): string => `/ostree/deploy/fedora/deploy/${name}/usr/lib/modules/6.9.1/initramfs.img`

describe('rpm-ostree: the deployment that boots next', () => {
  it.each([
    ['of the first boot entry', hostWith(['aa.0', 'bb.0'], false), 'aa.0', []],
    ['of the first boot entry', hostWith(['bb.0', 'aa.0'], false), 'bb.0', ['--enable', '--x']],
    ['made in this boot, which has no entry yet', hostWith(['aa.0'], true), 'bb.0', ['--enable', '--x']],
    ['left over without an entry does not count', hostWith(['aa.0'], false), 'aa.0', []],
  ])('%s', (_, host, name, kept) => {
    expect(rpmOstree.open(host).images()).toEqual([{ release: '6.9.1', path: image(name) }])
    expect(rpmOstree.open(host).externalTokens?.()).toEqual(kept)
  })
})
