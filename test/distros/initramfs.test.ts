import { spawnSync } from 'node:child_process'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { describe, expect, it } from 'vitest'
import { dracut } from '../../distros/initramfs/dracut.ts'
import { initramfsTools } from '../../distros/initramfs/initramfs-tools.ts'
import type { Setting } from '../../lib/change/settings.ts'
import { addLine } from '../../lib/edit/modprobe.ts'
import { readKernels } from '../../lib/host/installed-kernels.ts'
import { openReader } from '../../lib/host/sysroot.ts'
import type { Host, InitramfsRequirements } from '../../lib/system/system.ts'
import { scratchDir } from '../support/machine.ts'

const needs: InitramfsRequirements = {
  module: 'vfio-pci',
  modprobe: ['/etc/modprobe.d/vfio-scripts.conf'],
  bootScript: null,
  drivers: [],
}

/** A root with these files; a value that starts with `->` is a link. Kernels are named by their releases. */
function hostWith(files: Record<string, string>, ...releases: string[]): Host {
  const root = scratchDir('root')
  const all = Object.fromEntries(releases.map((release) => [`/usr/lib/modules/${release}/modules.dep`, '']))
  for (const [path, text] of Object.entries({ '/lib': '->usr/lib', ...all, ...files })) {
    mkdirSync(dirname(root + path), { recursive: true })
    if (text.startsWith('->')) symlinkSync(text.slice(2), root + path)
    else writeFileSync(root + path, text)
  }
  const reader = openReader(root)
  return { files: reader, machine: reader, running: false, kernels: readKernels(reader) }
}

const script = { mkinitramfs: 'mkinitramfs -o "$1"\n', dracut: 'dracut --force "$1"\n' }
const tools = {
  '/usr/sbin/update-initramfs': script.mkinitramfs,
  '/etc/kernel/postinst.d/initramfs-tools': '',
  '/etc/initramfs-tools/initramfs.conf': 'MODULES=most\n',
}
const core = { '/usr/bin/dracut': '', '/usr/lib/dracut/dracut-functions.sh': '' }
const hook = { '/etc/kernel/postinst.d/dracut': '' }

describe('evidence', () => {
  it.each<[string, Record<string, string>, string | undefined, string | undefined]>([
    ['nothing', {}, undefined, undefined],
    [
      'Debian',
      tools,
      '/usr/sbin/update-initramfs runs mkinitramfs, and there is /etc/kernel/postinst.d/initramfs-tools',
      undefined,
    ],
    ['Debian with dracut-core for other images', { ...tools, ...core }, expect.any(String), undefined],
    [
      'both',
      { ...tools, ...core, ...hook },
      expect.any(String),
      '/usr/bin/dracut, and /etc/kernel/postinst.d/dracut runs it for new kernels',
    ],
    [
      'Debian with dracut; initramfs-tools was removed, its configuration stayed',
      { ...tools, ...core, ...hook, '/usr/sbin/update-initramfs': '->/nowhere' },
      undefined,
      '/usr/bin/dracut, and /etc/kernel/postinst.d/dracut runs it for new kernels',
    ],
    [
      'Ubuntu 25.10, from an older one',
      { ...tools, ...core, ...hook, '/usr/sbin/update-initramfs': script.dracut },
      undefined,
      '/usr/bin/dracut, which update-initramfs runs',
    ],
    [
      'Fedora',
      { ...core, '/usr/lib/kernel/install.d/50-dracut.install': '#!/bin/sh\n' },
      undefined,
      '/usr/bin/dracut, and /usr/lib/kernel/install.d/50-dracut.install runs it for new kernels',
    ],
    ['dracut alone', core, undefined, '/usr/bin/dracut'],
    ['only its configuration', { '/etc/dracut.conf.d/x.conf': '' }, undefined, undefined],
  ])('%s', (_, files, ofTools, ofDracut) => {
    const host = hostWith(files)
    expect(initramfsTools.detect(host)).toEqual(ofTools)
    expect(dracut.detect(host)).toEqual(ofDracut)
  })
})

/** The file that the settings make where there is none. */
function textOf(settings: Setting[]): string {
  let text: string | undefined
  for (const setting of settings) {
    if (setting.kind !== 'line') throw new Error(setting.kind)
    text = addLine(text ?? setting.head ?? '', setting.line)
  }
  return text ?? ''
}

describe('initramfs-tools', () => {
  it('gets a hook of our own', () => {
    const settings = initramfsTools.open(hostWith(tools)).settings(needs)
    expect(settings.map(({ path, mode }) => [path, mode])).toEqual([['/etc/initramfs-tools/hooks/vfio-scripts', 0o755]])
    expect(textOf(settings)).toBe(`#!/bin/sh
# Written by vfio-scripts; bind-vfio or override-same-id-gpu --undo --apply takes it back.
if [ "$1" = prereqs ]; then
  exit 0
fi
. /usr/share/initramfs-tools/hook-functions
force_load vfio-pci
`)
    // What initramfs-tools asks each hook first: nothing is printed, nothing is read.
    const asked = spawnSync('sh', ['-s', 'prereqs'], { input: textOf(settings), encoding: 'utf8' })
    expect(asked).toMatchObject({ status: 0, stdout: '', stderr: '' })
  })

  it('rebuilds the image of each kernel that has one', () => {
    const boot = { '/boot/initrd.img-6.1.0-1': '', '/boot/initrd.img-6.1.0-2': '', '/boot/initrd.img-5.0.0': '' }
    const host = hostWith({ ...tools, ...boot }, '6.1.0-1', '6.1.0-2', '6.1.0-3')
    const image = (release: string) => `/boot/initrd.img-${release}`
    expect(
      initramfsTools
        .open(host)
        .images()
        .map(({ path }) => path),
    ).toEqual([image('6.1.0-1'), image('6.1.0-2')])
    expect(initramfsTools.open(host).commands()).toEqual(
      ['6.1.0-1', '6.1.0-2'].map((release) => ({
        kind: 'command',
        argv: ['update-initramfs', '-u', '-k', release],
        inverse: ['update-initramfs', '-u', '-k', 'all'],
        touches: [image(release)],
        reason: `the initramfs of ${release}`,
      })),
    )
    expect(initramfsTools.open(host).listCommand(image('x'))).toEqual(['lsinitramfs', image('x')])
  })

  it('creates where updates are switched off, which would say that all is well', () => {
    const conf = (text: string) => ({
      ...tools,
      '/boot/initrd.img-6.1.0': '',
      '/etc/initramfs-tools/update-initramfs.conf': text,
    })
    const argv = (text: string) => initramfsTools.open(hostWith(conf(text), '6.1.0')).commands()[0]?.argv[1]
    expect(argv('# x\nupdate_initramfs=yes\nupdate_initramfs="no"\n')).toBe('-c')
    expect(argv('update_initramfs=yes\n#update_initramfs=no\n')).toBe('-u')
  })

  it('says what a person would do', () => {
    expect(initramfsTools.open(hostWith({}, '6.1.0')).steps(needs)).toEqual([
      'echo vfio-pci >> /etc/initramfs-tools/modules',
      'update-initramfs -u -k all',
      "lsinitramfs /boot/initrd.img-$(uname -r) | grep -E 'vfio-pci|modprobe.d'",
    ])
  })
})

describe('dracut', () => {
  it('gets a file of our own, whose name ends in .conf', () => {
    const settings = dracut.open(hostWith(core)).settings(needs)
    expect(new Set(settings.map(({ path }) => path))).toEqual(new Set(['/etc/dracut.conf.d/zz-vfio-scripts.conf']))
    expect(
      textOf(settings),
    ).toBe(`# Written by vfio-scripts; bind-vfio or override-same-id-gpu --undo --apply takes it back.
force_drivers+=" vfio_pci "
install_items+=" /etc/modprobe.d/vfio-scripts.conf "
`)
  })

  const id = '0123456789abcdef0123456789abcdef'
  const machine = { '/etc/machine-id': `${id}\n` }
  it.each<[string, Record<string, string>]>([
    ['/boot/initrd.img-6.1.0', {}],
    ['/boot/initramfs-6.1.0.img', {}],
    ['/boot/initrd-6.1.0', {}],
    [`/efi/${id}/6.1.0/initrd`, machine],
    [`/boot/${id}/6.1.0/initrd`, machine],
    [`/boot/efi/${id}/6.1.0/initrd`, machine],
  ])('rebuilds %s', (path, files) => {
    const host = hostWith({ ...core, ...files, [path]: '' }, '6.1.0', '6.2.0')
    expect(dracut.open(host).images()).toEqual([{ release: '6.1.0', path }])
    expect(dracut.open(host).commands()).toEqual([
      {
        kind: 'command',
        argv: ['dracut', '--force', path, '6.1.0'],
        inverse: ['dracut', '--force', '--regenerate-all'],
        touches: [path],
        reason: 'the initramfs of 6.1.0',
      },
    ])
    expect(dracut.open(host).listCommand(path)).toEqual(['lsinitrd', path])
  })

  it('rebuilds an image where Arch has it, again by its path', () => {
    const pkgbase = { '/usr/lib/modules/6.1.0-arch1-1/pkgbase': 'linux\n', '/boot/initramfs-linux.img': '' }
    const [command] = dracut.open(hostWith({ ...core, ...pkgbase }, '6.1.0-arch1-1')).commands()
    expect(command?.argv).toEqual(['dracut', '--force', '/boot/initramfs-linux.img', '6.1.0-arch1-1'])
    expect(command?.inverse).toEqual(command?.argv)
  })

  it('is run by update-initramfs where that is a part of it', () => {
    const files = { ...core, '/usr/sbin/update-initramfs': script.dracut, '/boot/initrd.img-6.17.0-5-generic': '' }
    const [command] = dracut.open(hostWith(files, '6.17.0-5-generic')).commands()
    expect(command?.argv).toEqual(['update-initramfs', '-u', '-k', '6.17.0-5-generic'])
  })

  it('says what a person would do', () => {
    expect(dracut.open(hostWith({}, '6.1.0')).steps(needs)).toEqual([
      `echo 'force_drivers+=" vfio_pci "' >> /etc/dracut.conf.d/vfio.conf`,
      `echo 'install_items+=" /etc/modprobe.d/vfio-scripts.conf "' >> /etc/dracut.conf.d/vfio.conf`,
      'dracut --force --regenerate-all',
      "lsinitrd | grep -E 'vfio-pci|modprobe.d'",
    ])
  })
})
