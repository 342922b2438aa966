import { chmodSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { apply, bind, card, etcOf, expectRan, expectSettled, undo } from '../support/bind.ts'
import {
  arch,
  booster,
  commandsOf,
  generatorDir,
  MODPROBE,
  none,
  ORIGIN,
  oldArch,
  ostree,
  PRESET,
  RELEASE,
} from '../support/generators.ts'
import { needs } from '../support/needs.ts'
import { runScript } from '../support/run.ts'
import { systemDir, textOf, writeIn } from '../support/system.ts'

const head = '# Written by vfio-scripts; bind-vfio or override-same-id-gpu --undo --apply takes it back.\n'
const dropIn = 'etc/mkinitcpio.conf.d/zz-vfio-scripts.conf'
const main = 'etc/mkinitcpio.conf'
const preset = 'etc/mkinitcpio.d/linux.preset'
const goesOn = (first: string): string => `MODULES=(${first} \${MODULES[@]})\n`

describe('each generator is found, set up and taken back byte for byte', () => {
  it.each<[string, Parameters<typeof generatorDir>, Record<string, string | null>, string[]]>([
    ['mkinitcpio', [arch], { [dropIn]: `\n${head}${goesOn('vfio_pci')}` }, ['mkinitcpio -p linux']],
    [
      'mkinitcpio without modconf',
      [arch, { [main]: 'MODULES="i915"\nHOOKS="base udev block"' }],
      { [dropIn]: `\n${head}${goesOn('vfio_pci')}HOOKS=(\${HOOKS[@]} modconf)\n` },
      ['mkinitcpio -p linux'],
    ],
    [
      'mkinitcpio before version 36',
      [oldArch, { [main]: 'MODULES=(i915)\nHOOKS=(base udev autodetect block)\n' }],
      { [dropIn]: null, [main]: 'MODULES=(vfio_pci i915)\nHOOKS=(base udev autodetect modconf block)\n' },
      ['mkinitcpio -p linux'],
    ],
    [
      'mkinitcpio whose presets name the main file, which then stands alone',
      [arch, { [preset]: PRESET.replace('#ALL_config', 'ALL_config'), [main]: 'MODULES=()\nHOOKS=(base modconf)\n' }],
      { [dropIn]: null, [main]: 'MODULES=(vfio_pci)\nHOOKS=(base modconf)\n' },
      ['mkinitcpio -p linux'],
    ],
    [
      'mkinitcpio whose presets name several files',
      [
        arch,
        {
          [preset]: `${PRESET}fallback_config='/etc/mkinitcpio.fallback.conf'\n`,
          'etc/mkinitcpio.fallback.conf': 'MODULES=()\nHOOKS=(modconf)\n',
        },
      ],
      {
        [dropIn]: `\n${head}${goesOn('vfio_pci')}`,
        'etc/mkinitcpio.fallback.conf': 'MODULES=(vfio_pci)\nHOOKS=(modconf)\n',
      },
      ['mkinitcpio -p linux'],
    ],
    [
      'mkinitcpio that makes unified images',
      [
        arch,
        {
          [preset]: `PRESETS=('default')\nALL_kver="/boot/vmlinuz-linux"\ndefault_uki="/efi/EFI/Linux/arch.efi"\n`,
          'efi/EFI/Linux/arch.efi': 'image',
        },
      ],
      { [dropIn]: expect.any(String) },
      ['mkinitcpio -p linux'],
    ],
    [
      'mkinitcpio run by kernel-install',
      [
        arch,
        {
          [preset]: null,
          'boot/initramfs-linux.img': null,
          'etc/machine-id': 'abc\n',
          [`efi/abc/${RELEASE}/initrd`]: 'image',
        },
      ],
      { [dropIn]: expect.any(String) },
      [`mkinitcpio -k ${RELEASE} -g /efi/abc/${RELEASE}/initrd`],
    ],
    [
      'booster',
      [booster],
      { 'etc/booster.yaml': `${head}modules_force_load: vfio_pci\n` },
      [`booster build --force --kernel-version ${RELEASE} /boot/booster-linux.img`],
    ],
    [
      'booster with settings',
      [booster, { 'etc/booster.yaml': 'universal: true\nmodules_force_load: i2c-dev # mine\n' }],
      { 'etc/booster.yaml': 'universal: true\nmodules_force_load: vfio_pci,i2c-dev # mine\n' },
      [`booster build --force --kernel-version ${RELEASE} /boot/booster-linux.img`],
    ],
    ['no initramfs, systemd', [none], { 'etc/modules-load.d/vfio-scripts.conf': `${head}vfio-pci\n` }, []],
    [
      'no initramfs, OpenRC of old',
      [none, { 'etc/init.d/modules': '#!/sbin/openrc-run\n', 'etc/conf.d/modules': '#modules="x"\n' }],
      {
        'etc/conf.d/modules': `#modules="x"\nmodules="vfio-pci \${modules}"\n`,
        'etc/modules-load.d/vfio-scripts.conf': null,
      },
      [],
    ],
    [
      'rpm-ostree',
      [ostree],
      { 'etc/dracut.conf.d/zz-vfio-scripts.conf': null },
      [
        'rpm-ostree initramfs --enable --arg=--force-drivers=vfio_pci --arg=--install=/etc/modprobe.d/00-vfio-scripts.conf',
      ],
    ],
  ])('%s', (_, given, written, commands) => {
    const dir = generatorDir(...given)
    const before = etcOf(dir)
    const ran = apply(dir, card, '--json')
    expect(ran.stderr).toBe('')
    expect(commandsOf(ran)).toEqual(commands)
    for (const [path, text] of Object.entries(written)) expect(textOf(dir, path), path).toEqual(text)
    expect(textOf(dir, MODPROBE)).toContain('options vfio-pci ids=10de:1cb6,10de:0fb9\n')
    if (!('usr/bin/rpm-ostree' in given[0])) expectSettled(dir, card)
    expectRan(undo(dir), 0, /Taken back/)
    expect(etcOf(dir)).toBe(before)
  })
})

describe('mkinitcpio', () => {
  it.each([
    ['the main file', { [main]: 'MODULES=(ext4 vfio-pci)\nHOOKS=(base modconf)\n' }],
    ['a drop-in', { 'etc/mkinitcpio.conf.d/mine.conf': 'MODULES+=(vfio_pci)\n' }],
  ])('is left alone where a person has the module in %s', (_, files) => {
    const dir = generatorDir(arch, files)
    expect(bind(dir, card).stdout).not.toContain('mkinitcpio.conf')
    expectRan(apply(dir, card), 0, /mkinitcpio -p linux/)
    expect(textOf(dir, dropIn)).toBeNull()
  })

  it('serves a second card with the same settings, which stay until both are gone', () => {
    for (const files of [arch, oldArch]) {
      const dir = generatorDir(files)
      const path = files === arch ? dropIn : main
      expectRan(apply(dir, card), 0)
      const one = textOf(dir, path)
      expectRan(bind(dir, '03:00', '--apply', '--no-commands'), 0)
      expect(textOf(dir, path)).toBe(one)
      expectRan(undo(dir, card), 0)
      expect(textOf(dir, path)).toBe(one)
      expectRan(undo(dir), 0)
      expect(textOf(dir, path)).toBe(files[path] ?? null)
    }
  })

  it('keeps what a person edits later', () => {
    const dir = generatorDir(oldArch)
    expectRan(apply(dir, card), 0)
    writeIn(dir, main, (textOf(dir, main) ?? '').replace('(vfio_pci)', '(vfio_pci amdgpu)'))
    expectRan(undo(dir), 0, /was changed since/)
    expect(textOf(dir, main)).toContain('MODULES=(amdgpu)\n')
  })

  it('is not alone where dracut or booster are here too', () => {
    expectRan(bind(generatorDir(arch, booster), card), 2, /more than one initramfs generator.*mkinitcpio.*booster/)
  })
})

describe('a plan without root', () => {
  needs('root', process.getuid?.() === 0).it('goes on where the EFI system partition is closed', () => {
    const efi = { 'etc/machine-id': 'abc\n', [`boot/efi/abc/${RELEASE}/linux`]: 'kernel' }
    for (const dir of [
      generatorDir(arch, efi),
      systemDir({ machine: 'i9-14900k-vmd', generator: 'dracut', files: { ...efi, 'boot/efi/abc/x': '' } }),
    ]) {
      for (const open of [dir, dirname(dir)]) chmodSync(open, 0o755)
      chmodSync(join(dir, 'boot/efi'), 0o700)
      const ran = runScript('bind-vfio', ['--root', dir, card], { uid: 65534 })
      expectRan(ran, 1, /> (mkinitcpio -p linux|dracut --force)/)
    }
  })
})

describe('rpm-ostree', () => {
  const set = `${ostree[ORIGIN]}[rpmostree]\nregenerate-initramfs=true\ninitramfs-args=-I;/etc/foo.conf;--x\\;y;\n`
  const ours = '--arg=--force-drivers=vfio_pci --arg=--install=/etc/modprobe.d/00-vfio-scripts.conf'

  it('keeps former arguments, and gives them back', () => {
    const dir = generatorDir(ostree, { [ORIGIN]: set })
    expect(commandsOf(apply(dir, card, '--json'))).toEqual([
      `rpm-ostree initramfs --enable --arg=-I --arg=/etc/foo.conf --arg=--x;y ${ours}`,
    ])
    // As rpm-ostree then writes it down.
    const added = '--force-drivers=vfio_pci;--install=/etc/modprobe.d/00-vfio-scripts.conf;'
    writeIn(dir, ORIGIN, set.replace('--x\\;y;', `--x\\;y;${added}`))
    expectSettled(dir, card)
    expect(commandsOf(undo(dir, '--json'))).toEqual([
      'rpm-ostree initramfs --enable --arg=-I --arg=/etc/foo.conf --arg=--x;y',
    ])
  })

  it('is switched off again where it was off', () => {
    const dir = generatorDir(ostree)
    expectRan(apply(dir, card), 0)
    const args = '--force-drivers=vfio_pci;--install=/etc/modprobe.d/00-vfio-scripts.conf;'
    writeIn(dir, ORIGIN, `${ostree[ORIGIN]}[rpmostree]\nregenerate-initramfs=true\ninitramfs-args=${args}\n`)
    // Another card: the file in the image has changed, the arguments have not.
    expect(commandsOf(bind(dir, '03:00', '--apply', '--no-commands', '--json'))).toEqual([
      `rpm-ostree initramfs --enable ${ours}`,
    ])
    expect(commandsOf(undo(dir, '--json'))).toEqual(['rpm-ostree initramfs --disable'])
  })
})

describe('by hand', () => {
  it.each([
    ['genkernel', /AMODULES_MISC="vfio-pci"/],
    ['mkinitfs', /features\.d\/vfio\.modules/],
  ])('%s: the steps, and nothing is written', (name, says) => {
    const dir = generatorDir(none)
    const before = etcOf(dir)
    expectRan(apply(dir, card, '--initramfs', name), 2, says)
    expect(etcOf(dir)).toBe(before)
  })

  it('an empty /boot, or an image in another place, is not taken for none', () => {
    const gone = { [`boot/kernel-${RELEASE}`]: null, [`boot/vmlinuz-${RELEASE}`]: null }
    for (const files of [gone, { 'boot/grub/grub.cfg': 'initrd /x/initramfs.img\n' }, { 'boot/EFI/Linux/x.efi': '' }])
      expectRan(bind(generatorDir(none, files), card), 2, /no initramfs generator that is known here was found/)
  })
})
