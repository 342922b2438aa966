import { readdirSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { apply, bind, card, expectRan, expectSettled, undo } from '../support/bind.ts'
import {
  applied,
  CMDLINE,
  type Files,
  type Loader,
  loaderDir,
  MACHINE_ID,
  OURS,
  RELEASES,
  ROOT,
  ukiDracut,
  ukiInstall,
  ukiPreset,
  undone,
  unifiedImage,
} from '../support/loaders.ts'
import { snapshotOf, textOf, writeIn } from '../support/system.ts'

const HEAD =
  '# Written by vfio-scripts; bind-vfio, override-same-id-gpu and tune-host take out their own with --undo --apply.\n'
const preset = 'etc/mkinitcpio.d/linux.preset'
const dracutLine = 'etc/dracut.conf.d/zz-vfio-scripts-cmdline.conf'
const dropIn = 'etc/cmdline.d/zz-vfio-scripts.conf'
const line = `${ROOT} rw quiet`
const firmware = 'sys/firmware/efi/efivars'
const variable = (name: string, value: number): Files => ({
  [`${firmware}/${name}-8be4df61-93ca-11d2-aa0d-00e098032b8c`]: `\x06\0\0\0${String.fromCharCode(value)}`,
})
const secureBoot = { ...variable('SecureBoot', 1), ...variable('SetupMode', 0) }

const dracutCommands = RELEASES.map(
  (release) => `dracut --force /efi/EFI/Linux/linux-${release}-${MACHINE_ID}.efi ${release}`,
)
const installCommands = RELEASES.map((release) => `kernel-install add ${release} /usr/lib/modules/${release}/vmlinuz`)

describe('who makes a unified image makes it anew with our arguments, and again without', () => {
  it.each<[string, Loader, Files, Record<string, string | null>, string[]]>([
    [
      'mkinitcpio, with a line that has to be made',
      ukiPreset,
      {},
      { [CMDLINE]: `${line} ${OURS}\n`, [dropIn]: null },
      ['mkinitcpio -p linux'],
    ],
    [
      'mkinitcpio, with /etc/kernel/cmdline',
      ukiPreset,
      { [CMDLINE]: `# mine\n${ROOT}\nrw\n` },
      { [CMDLINE]: `# mine\n${ROOT} ${OURS}\nrw\n`, [dropIn]: null },
      ['mkinitcpio -p linux'],
    ],
    [
      'mkinitcpio, with /etc/cmdline.d',
      ukiPreset,
      { 'etc/cmdline.d/root.conf': `${line}\n` },
      { [dropIn]: `${HEAD}${OURS}\n`, [CMDLINE]: null, 'etc/cmdline.d/root.conf': `${line}\n` },
      ['mkinitcpio -p linux'],
    ],
    [
      'mkinitcpio, with a list in /etc/cmdline.d',
      ukiPreset,
      { 'etc/cmdline.d/root.conf': `${line}\n`, 'etc/cmdline.d/vfio.conf': 'vfio_pci.ids=1b21:2142\n' },
      {
        [dropIn]: `${HEAD}intel_iommu=on\n`,
        'etc/cmdline.d/vfio.conf': 'vfio_pci.ids=1b21:2142,10de:1cb6,10de:0fb9\n',
      },
      ['mkinitcpio -p linux'],
    ],
    [
      'mkinitcpio, with a file that the preset names',
      ukiPreset,
      {
        [preset]: `ALL_kver="/boot/vmlinuz-linux"\nPRESETS=('default')\ndefault_uki="/efi/EFI/Linux/arch-linux.efi"\ndefault_options="--cmdline /etc/mine -S autodetect"\n`,
        'etc/mine': `${line}\n`,
        'etc/cmdline.d/other.conf': 'x\n',
      },
      { 'etc/mine': `${line} ${OURS}\n`, [dropIn]: null, [CMDLINE]: null },
      ['mkinitcpio -p linux'],
    ],
    [
      'dracut, where nothing sets the line: it would look for one no more',
      ukiDracut,
      {},
      { [dracutLine]: `${HEAD}kernel_cmdline="${line} ${OURS}"\n` },
      dracutCommands,
    ],
    [
      'dracut, where the line is set',
      ukiDracut,
      { 'etc/dracut.conf.d/mine.conf': `kernel_cmdline+=" ${line} "\n` },
      { [dracutLine]: `${HEAD}kernel_cmdline="$kernel_cmdline ${OURS}"\n` },
      dracutCommands,
    ],
    [
      'dracut, where the line has a list',
      ukiDracut,
      { 'etc/dracut.conf.d/mine.conf': `kernel_cmdline="${line} vfio-pci.ids=1b21:2142"\n` },
      {
        [dracutLine]: `${HEAD}kernel_cmdline="$kernel_cmdline intel_iommu=on"\n`,
        'etc/dracut.conf.d/mine.conf': `kernel_cmdline="${line} vfio-pci.ids=1b21:2142,10de:1cb6,10de:0fb9"\n`,
      },
      dracutCommands,
    ],
    [
      'kernel-install, with a line that has to be made',
      ukiInstall,
      {},
      { [CMDLINE]: `${line} ${OURS}\n` },
      installCommands,
    ],
    [
      'kernel-install that reads a folder',
      ukiInstall,
      {
        'usr/lib/kernel/install.d/60-ukify.install': '#!/bin/sh\ncat /etc/kernel/cmdline.d/*.conf\n',
        'etc/kernel/cmdline.d/root.conf': `${line}\n`,
      },
      { 'etc/kernel/cmdline.d/zz-vfio-scripts.conf': `${HEAD}${OURS}\n`, [CMDLINE]: null },
      installCommands,
    ],
    [
      'kernel-install that has dracut make the image',
      ukiInstall,
      { 'etc/kernel/install.conf': 'layout=uki\nuki_generator=dracut\n' },
      { [dracutLine]: `${HEAD}kernel_cmdline="${line} ${OURS}"\n`, [CMDLINE]: null },
      installCommands,
    ],
  ])('%s', (_, loader, more, written, commands) => {
    const dir = loaderDir(loader, more)
    const before = ['etc', 'efi', 'boot'].map((one) => snapshotOf(`${dir}/${one}`))
    expect(applied(dir)).toEqual(commands)
    for (const [path, text] of Object.entries(written)) expect(textOf(dir, path), path).toBe(text)
    expectSettled(dir, card)
    expectRan(bind(dir, '--status'), 1, /drifted[\s\S]*\.efi has 0 of/)
    const images = readdirSync(`${dir}/efi/EFI/Linux`).map((name) => `efi/EFI/Linux/${name}`)
    const ours = OURS
    for (const path of images) writeIn(dir, path, unifiedImage(`${line} ${ours}`))
    expectRan(bind(dir, '--status'), 1, /reboot-needed[\s\S]*\.efi has [23] of/)
    for (const path of images) writeIn(dir, path, unifiedImage(line))
    expect(undone(dir)).toEqual(commands)
    expect(['etc', 'efi', 'boot'].map((one) => snapshotOf(`${dir}/${one}`))).toEqual(before)
  })

  it('also where no argument changes: the initramfs is in the image', () => {
    const modular = { ...ukiInstall, builtin: [], iommuByDefault: true }
    const dir = loaderDir(modular)
    expect(applied(dir)).toEqual(installCommands)
    expect(textOf(dir, 'etc/dracut.conf.d/zz-vfio-scripts.conf')).toContain('force_drivers+=" vfio_pci "')
    expect(textOf(dir, CMDLINE)).toBeNull()
    expect(undone(dir)).toEqual(installCommands)
    const ran = apply(
      loaderDir(modular, { 'etc/kernel/uki.conf': '[UKI]\nCmdline=quiet\n' }),
      card,
      '--bootloader',
      'uki',
    )
    expectRan(ran, 2, /uki .* is set up by hand[\s\S]*kernel-install add-all/)
    expect(ran.stderr).not.toContain('line that your unified images')
  })
})

describe('by hand', () => {
  const expectByHand = (more: Files, says: RegExp): void => {
    const dir = loaderDir(ukiInstall, more)
    const before = snapshotOf(dir)
    const ran = apply(dir, card, '--bootloader', 'uki')
    expectRan(ran, 2, says)
    expect(ran.stderr).toContain(OURS)
    expect(ran.stderr).toContain('kernel-install add-all')
    expect(snapshotOf(dir)).toBe(before)
  }

  it('images that nothing here says how to make', () => {
    expectByHand({ 'etc/kernel/install.conf': null }, /uki \(--bootloader uki\) is set up by hand/)
  })

  it('a line in uki.conf, which stands for all others', () => {
    expectByHand({ 'etc/kernel/uki.conf': '[UKI]\nCmdline=quiet\n' }, /set up by hand/)
  })

  it('images that come with the kernel, made and signed elsewhere', () => {
    const own = Object.fromEntries(
      RELEASES.map((release) => [`lib/modules/${release}/vmlinuz-virt.efi`, 'image'] as const),
    )
    expectByHand(own, /set up by hand/)
  })

  it('a command line that nobody knows', () => {
    const images = RELEASES.map((release, at) => [
      `efi/EFI/Linux/linux-${release}-${MACHINE_ID}.efi`,
      unifiedImage(`root=/dev/sd${at} ro`),
    ])
    const dir = loaderDir(ukiDracut, Object.fromEntries(images))
    expectRan(apply(dir, card), 2, /nothing sets kernel_cmdline, and what it has to hold is not known/)
  })
})

describe('Secure Boot', () => {
  it('refuses an image that would start no more', () => {
    const dir = loaderDir(ukiPreset, secureBoot)
    const before = snapshotOf(dir)
    expectRan(
      apply(dir, card),
      2,
      /refused \(uki-secure-boot\)[\s\S]*\/efi\/EFI\/Linux\/arch-linux\.efi would be made again without a signature/,
    )
    expect(snapshotOf(dir)).toBe(before)
    expectRan(apply(dir, card, '--force', 'uki-secure-boot'), 0, /the stub of a unified image ignores an edited line/)
    expectSettled(dir, card, '--force', 'uki-secure-boot')
    expectRan(
      undo(dir),
      0,
      /arch-linux\.efi would be made again without a signature: under Secure Boot, sign it before/,
    )
  })

  it.each<[string, Loader, Files]>([
    ['Secure Boot is off', ukiPreset, variable('SecureBoot', 0)],
    ['the firmware is in setup mode', ukiPreset, { ...variable('SecureBoot', 1), ...variable('SetupMode', 1) }],
    ['another image is left', ukiPreset, { 'efi/EFI/Linux/other.efi': unifiedImage(line) }],
    [
      'mkinitcpio has sbctl sign',
      ukiPreset,
      { 'usr/lib/initcpio/post/sbctl': '#!/bin/bash\nsbctl sign "$3"\n', 'var/lib/sbctl/keys/db/db.key': 'key' },
    ],
    [
      'ukify signs',
      ukiInstall,
      { 'usr/bin/ukify': '#!/usr/bin/python3\n', 'etc/kernel/uki.conf': '[UKI]\nSecureBootPrivateKey=/etc/key\n' },
    ],
    [
      'dracut signs',
      ukiDracut,
      { 'etc/dracut.conf.d/sign.conf': 'uefi_secureboot_cert="/etc/c"\nuefi_secureboot_key="/etc/k"\n' },
    ],
  ])('is no matter where %s', (_, loader, more) => {
    const dir = loaderDir(loader, { ...secureBoot, ...more })
    expectRan(bind(dir, card), 1)
  })

  it.each<[string, Files]>([
    ['has no keys', { 'usr/lib/initcpio/post/sbctl': '#!/bin/bash\nsbctl sign "$3"\n' }],
    ['has no hook', { 'usr/bin/sbctl': '', 'var/lib/sbctl/keys/db/db.key': 'key' }],
  ])('is one where sbctl %s', (_, more) => {
    expectRan(bind(loaderDir(ukiPreset, { ...secureBoot, ...more }), card), 2, /uki-secure-boot/)
  })
})
