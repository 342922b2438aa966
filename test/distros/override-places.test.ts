// Binding by address where a system has neither initramfs-tools nor dracut: where the boot script runs, and by what.
import { describe, expect, it } from 'vitest'
import { bind, card, etcOf, expectRan, override } from '../support/bind.ts'
import { arch, booster, commandsOf, none, ORIGIN, oldArch, ostree, RELEASE } from '../support/generators.ts'
import { systemDir, textOf, writeIn } from '../support/system.ts'
import {
  apply,
  dropIn,
  main,
  openrc,
  runs,
  script,
  service,
  systemd,
  twins,
  undo,
  unit,
  wanted,
} from '../support/twins.ts'

type Files = Parameters<typeof twins>[0]

const head = '# Written by vfio-scripts; bind-vfio or override-same-id-gpu --undo --apply takes it back.\n'
const wants = 'etc/systemd/system/sysinit.target.d/vfio-scripts.conf'

describe('is planned, applied, held to and taken back byte for byte', () => {
  it.each<[string, Files, Files, Record<string, unknown>, string[]]>([
    [
      'mkinitcpio',
      arch,
      {},
      {
        [dropIn]: `\n${head}MODULES=(vfio_pci \${MODULES[@]})\nHOOKS=(vfio-scripts \${HOOKS[@]})\n`,
        'etc/initcpio/hooks/vfio-scripts': `${head}run_earlyhook() { /etc/vfio-scripts/override; }\n`,
        'etc/initcpio/install/vfio-scripts': expect.stringContaining('\nvfio_script=/etc/vfio-scripts/override\n'),
        'etc/vfio-scripts/initramfs.service': expect.stringContaining(runs),
        [unit]: null,
      },
      ['mkinitcpio -p linux'],
    ],
    [
      'mkinitcpio before version 36',
      oldArch,
      { [main]: 'MODULES=(i915)\nHOOKS="base systemd modconf block"\n' },
      { [dropIn]: null, [main]: 'MODULES=(vfio_pci i915)\nHOOKS="vfio-scripts base systemd modconf block"\n' },
      ['mkinitcpio -p linux'],
    ],
    [
      'booster',
      booster,
      { ...systemd, 'etc/booster.yaml': 'modules: -nouveau,kernel/fs/\n' },
      { [unit]: expect.stringContaining(runs), [wants]: `${head}[Unit]\nWants=vfio-scripts.service\n` },
      [],
    ],
    [
      'no initramfs, systemd',
      none,
      systemd,
      { [unit]: expect.stringContaining(runs), [wants]: expect.any(String), [service]: null, [wanted]: null },
      [],
    ],
    [
      'no initramfs, OpenRC',
      none,
      openrc,
      {
        [service]: expect.stringMatching(
          /^#!\/sbin\/openrc-run\n[\s\S]*\nstart\(\) \{ \/bin\/sh \/etc\/vfio-scripts\/override; \}\n$/,
        ),
        [wanted]: `${head}rc_udev_want="\${rc_udev_want:-\${rc_want}} vfio-scripts"\nrc_modules_want="\${rc_modules_want:-\${rc_want}} vfio-scripts"\n`,
        [unit]: null,
        'etc/modules-load.d/vfio-scripts.conf': null,
      },
      [],
    ],
    [
      'no initramfs, both of them installed',
      none,
      { ...systemd, ...openrc },
      { [unit]: expect.any(String), [service]: expect.any(String) },
      [],
    ],
  ])('%s', (_, files, more, written, commands) => {
    const dir = twins(files, more)
    const before = etcOf(dir)
    expectRan(override(dir, '05:00'), 1, /\+ \/etc\/vfio-scripts\/override/)
    expect(etcOf(dir)).toBe(before)
    const ran = apply(dir, '--json')
    expect(ran.stderr).toBe('')
    expect(commandsOf(ran)).toEqual(commands)
    for (const [path, text] of Object.entries(written)) expect(textOf(dir, path), path).toEqual(text)
    expect(textOf(dir, script)).toMatch(/\n#= 0000:05:00\.0 10de 2504 1462:397d \S+\n#= 0000:05:00\.1 .*\n$/)
    expectRan(apply(dir), 0, /^Nothing to do/m)
    const status = override(dir, '--status')
    expectRan(status, 1, /^override-same-id-gpu: reboot-needed/)
    // What is in no image is not looked for there.
    expect(/initramfs-linux\.img could not be looked into/.test(status.stdout)).toBe(commands.length > 0)
    expect(status.stdout).not.toMatch(/booster|which program/)
    // Another device adds, and each goes alone.
    const one = etcOf(dir)
    expectRan(override(dir, '04:00', '--apply', '--no-commands'), 0)
    expect(etcOf(dir)).not.toBe(one)
    expectRan(undo(dir, '04:00'), 0)
    expect(etcOf(dir)).toBe(one)
    expect(commandsOf(undo(dir, '--json'))).toEqual(commands.map(() => 'mkinitcpio -p linux'))
    expect(etcOf(dir)).toBe(before)
  })
})

it('rpm-ostree has the script and its unit in the image, and drops them again', () => {
  const dir = twins(ostree, { 'usr/lib/systemd/systemd': '' })
  const before = etcOf(dir)
  const files = [script, unit, wants].map((path) => `/${path}`)
  const args = ['--force-drivers=vfio_pci', ...files.map((path) => `--install=${path}`)]
  const command = (list: string[]): string =>
    `rpm-ostree initramfs --enable ${list.map((one) => `--arg=${one}`).join(' ')}`
  expect(commandsOf(apply(dir, '--json'))).toEqual([command(args)])
  expect(textOf(dir, unit)).toContain(runs)
  // As rpm-ostree then writes it down.
  writeIn(dir, ORIGIN, `${ostree[ORIGIN]}[rpmostree]\nregenerate-initramfs=true\ninitramfs-args=${args.join(';')};\n`)
  expectRan(apply(dir), 0, /^Nothing to do/m)
  expect(commandsOf(override(dir, '04:00', '--apply', '--no-commands', '--json'))).toEqual([command(args)])
  expect(commandsOf(undo(dir, '--json'))).toEqual(['rpm-ostree initramfs --disable'])
  expect(etcOf(dir)).toBe(before)
})

it.each([
  [arch, 'etc/initcpio/install/vfio-scripts', 'mkinitcpio -P'],
  [ostree, unit, 'rpm-ostree initramfs --enable'],
])('on a distribution that is not known, what runs the script is among the steps', (files, path, command) => {
  const dir = twins(files, { 'usr/lib/systemd/systemd': '', 'etc/os-release': 'ID=else\nNAME=Else\n' })
  const before = etcOf(dir)
  const { code, stderr } = apply(dir)
  for (const one of [`Make /${script} say:`, `Make /${path} say:`, command]) expect(stderr).toContain(one)
  expect(code).toBe(2)
  expect(etcOf(dir)).toBe(before)
})

describe('where no image runs a script', () => {
  it.each([
    'modules: nouveau\n',
    'modules_force_load: ext4,nouveau\n',
    'modules: kernel/drivers/\n',
    'modules: "*"\n',
    'modules: kernel/drivers/nouveau.ko.zst\n',
  ])('booster with %j has the display first: refused, nothing is written', (text) => {
    const dir = twins(booster, { ...systemd, 'etc/booster.yaml': text })
    const before = etcOf(dir)
    expectRan(apply(dir), 2, /\/etc\/booster\.yaml: has nouveau in the image/)
    expect(etcOf(dir)).toBe(before)
    // A network card has no display.
    expectRan(override(dir, '04:00'), 1, /\+ \/etc\/vfio-scripts\/override/)
  })

  it.each([booster, none])('the plan says what it means, also of a driver that is built in', (files) => {
    expectRan(override(twins(files, systemd), '05:00'), 1, /The script runs on the root file system, before udev there/)
  })

  it('a driver that is built in has the device first, and the plan says so', () => {
    const gentoo = { machine: 'i9-14900k-vmd', family: 'gentoo', builtin: ['nouveau'] } as const
    const plan = bind(systemDir({ ...gentoo, files: openrc }), card)
    expectRan(plan, 1, /nouveau is built into the kernel and has it before vfio-pci could\.\n.*is unbound from it/)
    expect(plan.stdout).toContain('+ /etc/init.d/vfio-scripts')
    expectRan(
      bind(systemDir({ ...gentoo, files: {} }), card),
      2,
      /nouveau is built into the kernel.*nothing is known here that runs a script/,
    )
  })

  it('another init system is told, and nothing is written', () => {
    const dir = twins(none)
    expectRan(apply(dir), 2, /nothing is known here that runs a script before .*and no image beside it/)
    const unknown = twins(none, { [`boot/kernel-${RELEASE}`]: null, [`boot/vmlinuz-${RELEASE}`]: null, ...systemd })
    expectRan(apply(unknown), 2, /name it: --initramfs/)
    expect(textOf(dir, script)).toBeNull()
  })

  it.each([
    ['genkernel', systemd, /vfio-scripts\.service say:[\s\S]*Leave nouveau, nvidiafb out of the image \(AMODULES_/],
    ['mkinitfs', openrc, /init\.d\/vfio-scripts say:[\s\S]*Leave nouveau, nvidiafb out of the image \(kms among/],
  ])('%s: the files and steps are printed, and nothing is written', (name, more, says) => {
    const dir = twins(none, more)
    const before = etcOf(dir)
    expectRan(apply(dir, '--initramfs', name), 2, says)
    expect(etcOf(dir)).toBe(before)
  })
})
