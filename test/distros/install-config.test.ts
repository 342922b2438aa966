import { expect, it } from 'vitest'
import { dracutConfig } from '../../distros/boot/dracut-images.ts'
import { kernelInstallPlugins, readInstallConfig, ukifyConfig } from '../../distros/boot/install-config.ts'
import { apply, card, expectRan } from '../support/bind.ts'
import { applied, CMDLINE, type Files, loaderDir, OURS, RELEASES, ROOT, ukiInstall } from '../support/loaders.ts'
import { hostWith } from '../support/root.ts'
import { textOf } from '../support/system.ts'

const ETC = '/etc/kernel/install.conf.d'
const USR = '/usr/lib/kernel/install.conf.d'
const vendor = { [`${USR}/30-vendor.conf`]: 'layout=bls\n', [`${ETC}/20-local.conf`]: 'layout=uki\n' }

// The answers of `kernel-install inspect` of systemd 257.13, and what the shell script of systemd 252 reads.
it.each<[string, Files, string | undefined]>([
  [
    'the later name, whatever its folder',
    { [`${USR}/10-vendor.conf`]: 'layout=bls\n', [`${ETC}/20-local.conf`]: 'layout=uki\n' },
    'uki',
  ],
  ['the later name, of a package', vendor, 'bls'],
  ['a masked name', { ...vendor, [`${ETC}/30-vendor.conf`]: '->/dev/null' }, 'uki'],
  ['an equal name in /etc', { ...vendor, [`${ETC}/30-vendor.conf`]: 'uki_generator=dracut\n' }, 'uki'],
  ['an equal name in /run', { ...vendor, '/run/kernel/install.conf.d/30-vendor.conf': 'layout=uki\n' }, 'uki'],
  [
    'a name with more digits, which sorts by its characters',
    { [`${ETC}/9-b.conf`]: 'layout=uki\n', [`${ETC}/10-b.conf`]: 'layout=bls\n' },
    'uki',
  ],
  [
    'drop-ins after the file',
    { '/etc/kernel/install.conf': 'layout=uki\n', [`${USR}/10.conf`]: 'layout=bls\n' },
    'bls',
  ],
  [
    'the first file alone',
    { '/run/kernel/install.conf': 'layout=bls\n', '/usr/lib/kernel/install.conf': 'layout=uki\n' },
    'bls',
  ],
  [
    'a file that a link masks',
    { '/etc/kernel/install.conf': '->/dev/null', '/usr/lib/kernel/install.conf': 'layout=uki\n' },
    undefined,
  ],
  ['an empty file, which masks', { ...vendor, [`${ETC}/30-vendor.conf`]: '' }, 'uki'],
  ['a link that leads nowhere, which does not', { ...vendor, [`${ETC}/30-vendor.conf`]: '->/nowhere' }, 'bls'],
  ['a folder, which does not either', { ...vendor, [`${ETC}/30-vendor.conf/x`]: '' }, 'bls'],
  ['blanks around it', { '/etc/kernel/install.conf': ' layout = uki \n' }, 'uki'],
  ['a comment', { '/etc/kernel/install.conf': 'layout=uki\n#layout=bls\n; layout=bls\n' }, 'uki'],
  ['an empty value', { '/etc/kernel/install.conf': 'layout=uki\nlayout=\n' }, undefined],
  ['a section', { '/etc/kernel/install.conf': 'layout=uki\n[x]\nlayout=bls\n' }, 'uki'],
  ['quotes, which are part of it', { '/etc/kernel/install.conf': 'layout="uki"\n' }, '"uki"'],
  ['names that are no drop-ins', { [`${ETC}/.50.conf`]: 'layout=uki\n', [`${ETC}/50.txt`]: 'layout=uki\n' }, undefined],
  [
    'a shell script, which reads no drop-ins',
    { ...vendor, '/usr/bin/kernel-install': '#!/bin/sh\n', '/usr/lib/kernel/install.conf': 'layout="other"\n' },
    'other',
  ],
])('kernel-install takes its layout from %s', (_, files, layout) => {
  expect(readInstallConfig(hostWith(files as Record<string, string>).files).layout).toBe(layout)
})

it('a plugin in /etc stands for the one of its name, and a link to /dev/null or an empty file masks it', () => {
  const { files } = hostWith({
    '/usr/lib/kernel/install.d/50-dracut.install': 'x',
    '/usr/lib/kernel/install.d/51-dracut-rescue.install': 'x',
    '/usr/lib/kernel/install.d/60-ukify.install': 'x',
    '/usr/lib/kernel/install.d/90-loaderentry.install': 'x',
    '/etc/kernel/install.d/50-dracut.install': '->/dev/null',
    '/etc/kernel/install.d/51-dracut-rescue.install': '',
    '/etc/kernel/install.d/60-ukify.install': 'y',
    '/etc/kernel/install.d/README': '',
  })
  expect(kernelInstallPlugins(files).map(({ path }) => path)).toEqual([
    '/etc/kernel/install.d/60-ukify.install',
    '/usr/lib/kernel/install.d/90-loaderentry.install',
  ])
})

it.each<[string, Files, string]>([
  ['its own file in the first folder', { '/run/kernel/uki.conf': 'a', '/usr/lib/kernel/uki.conf': 'b' }, 'a'],
  ['no drop-in', { '/etc/kernel/uki.conf.d/10.conf': 'a', '/usr/lib/kernel/uki.conf': 'b' }, 'b'],
  ["else ukify's", { '/etc/kernel/uki.conf.d/10.conf': 'a', '/etc/systemd/ukify.conf': 'b' }, 'b'],
  ['none where its own is masked', { '/etc/kernel/uki.conf': '->/dev/null', '/etc/systemd/ukify.conf': 'b' }, ''],
])('ukify of kernel-install reads one file: %s', (_, files, text) => {
  expect(ukifyConfig(hostWith(files as Record<string, string>).files)).toBe(text)
})

it('dracut reads its drop-ins by number', () => {
  const { files } = hostWith({
    '/etc/dracut.conf': '',
    '/etc/dracut.conf.d/10-b.conf': '',
    '/etc/dracut.conf.d/9-a.conf': '',
    '/etc/dracut.conf.d/50-of-both.conf': '',
    '/usr/lib/dracut/dracut.conf.d/50-of-both.conf': '',
    '/usr/lib/dracut/dracut.conf.d/100-c.conf': '',
    '/usr/lib/dracut/dracut.conf.d/.60-hidden.conf': '',
    '/run/initramfs/dracut.conf.d/70-run.conf': '',
    '/run/initramfs/dracut.conf.d/9-a.conf': '',
  })
  expect(dracutConfig(files).map(({ path }) => path.replace(/.*\//, ''))).toEqual([
    'dracut.conf',
    '9-a.conf',
    '10-b.conf',
    '50-of-both.conf',
    '70-run.conf',
    '100-c.conf',
  ])
  expect(dracutConfig(files).map(({ path }) => path)).toContain('/etc/dracut.conf.d/50-of-both.conf')
})

const commands = RELEASES.map((release) => `kernel-install add ${release} /usr/lib/modules/${release}/vmlinuz`)

it('a unified image whose layout a drop-in sets is made again', () => {
  const dir = loaderDir(ukiInstall, {
    'etc/kernel/install.conf': null,
    'etc/kernel/install.conf.d/20-local.conf': 'layout=uki\nuki_generator=ukify\n',
    'usr/lib/kernel/install.conf.d/10-vendor.conf': 'layout=bls\n',
  })
  expect(applied(dir)).toEqual(commands)
  expect(textOf(dir, CMDLINE)).toBe(`${ROOT} rw quiet ${OURS}\n`)
})

it("the initramfs in a unified image is made by the plugin of Gentoo's installkernel too", () => {
  const dir = loaderDir(
    { ...ukiInstall, builtin: [], iommuByDefault: true },
    {
      'usr/lib/kernel/install.d/50-dracut.install': null,
      'usr/lib/kernel/install.d/52-dracut.install': '#!/bin/bash\n',
    },
  )
  expect(applied(dir)).toEqual(commands)
})

it.each<[string, Files]>([
  ['/usr/lib', { 'usr/lib/kernel/uki.conf': '[UKI]\nCmdline=quiet\n' }],
  ['/run', { 'run/kernel/uki.conf': '[UKI]\nCmdline=quiet\n' }],
])("a line in ukify's configuration in %s stands for all others", (_, more) => {
  expectRan(apply(loaderDir(ukiInstall, more), card, '--bootloader', 'uki'), 2, /set up by hand/)
})
