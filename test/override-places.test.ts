// Binding by address where a system has neither initramfs-tools nor dracut: where the boot script runs, and by what.
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  arch,
  booster,
  commandsOf,
  etcOf,
  expectRan,
  generatorDir,
  none,
  ORIGIN,
  oldArch,
  ostree,
} from './generators.ts'
import { scratchDir } from './machine.ts'
import { has, type Ran, runProgram, runScript } from './run.ts'
import { textOf, writeIn } from './system.ts'

type Files = Parameters<typeof generatorDir>[0]

const head = '# Written by vfio-scripts; bind-vfio --undo --apply takes it back.\n'
const dropIn = 'etc/mkinitcpio.conf.d/zz-vfio-scripts.conf'
const main = 'etc/mkinitcpio.conf'
const script = 'etc/vfio-scripts/override'
const unit = 'etc/systemd/system/vfio-scripts.service'
const wants = 'etc/systemd/system/sysinit.target.d/vfio-scripts.conf'
const service = 'etc/init.d/vfio-scripts'
const wanted = 'etc/rc.conf.d/vfio-scripts.conf'
const runs = 'ExecStart=/bin/sh /etc/vfio-scripts/override\n'

const systemd: Files = { 'usr/lib/systemd/systemd': '' }
const openrc: Files = {
  'sbin/openrc-run': '',
  'etc/init.d/udev': '#!/sbin/openrc-run\n',
  'etc/init.d/modules': '#!/sbin/openrc-run\n',
}

const twins = (files: Files, more: Files = {}): string => generatorDir(files, more, 'twin-gpus')
const override = (dir: string, ...args: string[]): Ran => runScript('override-same-id-gpu', ['--root', dir, ...args])
const apply = (dir: string, ...args: string[]): Ran => override(dir, '05:00', '--apply', '--no-commands', ...args)
const undo = (dir: string, ...args: string[]): Ran => override(dir, '--undo', '--apply', '--no-commands', ...args)

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
    expect(status.stdout).not.toMatch(/booster|not known/)
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

/** Runs bash on files of a system as mkinitcpio does: with its own functions, which copy into an image. */
const CALLS = `
root=$1 BUILDROOT=$2 _d_hooks=/etc/initcpio/hooks
add_file() { install -D -m "\${3:-644}" "$root$1" "$BUILDROOT\${2:-$1}"; }
add_symlink() { mkdir -p "$BUILDROOT\${1%/*}" && ln -sfn "$2" "$BUILDROOT$1"; }
add_binary() { case $1 in /*) add_file "$1" "$2" 755 ;; *) add_file "/usr/bin/$1" '' 755 ;; esac; }
add_runscript() { add_file "$_d_hooks/\${BASH_SOURCE[1]##*/}" "/hooks/\${BASH_SOURCE[1]##*/}" 755; }
script=mine
. "$root/etc/initcpio/install/vfio-scripts"
build && declare -f help >/dev/null && echo "$script"
`

describe('with mkinitcpio', () => {
  const applied = (): string => {
    const dir = twins(arch, { 'usr/lib/initcpio/busybox': 'busybox', 'usr/bin/kmod': 'kmod' })
    expectRan(apply(dir), 0)
    return dir
  }

  it('the install hook has all that the script needs in the image', () => {
    const [dir, image] = [applied(), scratchDir('image')]
    // mkinitcpio's own variable is as it was.
    expect(runProgram('bash', ['-euc', CALLS, 'bash', dir, image])).toEqual({ code: 0, stdout: 'mine\n', stderr: '' })
    expect(textOf(image, script)).toBe(textOf(dir, script))
    expect(textOf(image, 'hooks/vfio-scripts')).toContain('run_earlyhook')
    expect(textOf(image, unit)).toContain(runs)
    const links = runProgram('find', [image, '-type', 'l', '-printf', '%P %l\n']).stdout.trim().split('\n').sort()
    expect(links).toEqual([
      `etc/systemd/system/sysinit.target.wants/vfio-scripts.service /${unit}`,
      'usr/bin/modprobe kmod',
      'usr/bin/readlink busybox',
      'usr/bin/sh busybox',
    ])
  })

  it.each(['dash', 'busybox'].filter(has))('the runtime hook runs the script (%s)', (shell) => {
    const [dir, image] = [applied(), scratchDir('image')]
    writeIn(image, 'hook', (textOf(dir, 'etc/initcpio/hooks/vfio-scripts') ?? '').replace('/etc', `${image}/etc`))
    writeIn(image, script, '#!/bin/sh\necho "$$"\nexit 3\n')
    const ran = runProgram(shell, [
      ...(shell === 'busybox' ? ['sh'] : []),
      '-c',
      `. ${image}/hook; run_earlyhook; echo "$? $$"`,
    ])
    // In a process of its own: what it sets and how it ends is not the init's.
    expect(ran.stdout).toMatch(/^(\d+)\n3 (?!\1)\d+\n$/)
  })

  it('the hook comes before all others, whatever the configuration says', () => {
    for (const HOOKS of ['(base udev block)', '"systemd sd-vconsole block"', '(udev base)']) {
      const dir = twins(arch, { [main]: `MODULES=()\nHOOKS=${HOOKS}` })
      expectRan(apply(dir), 0)
      const { stdout } = runProgram('bash', [
        '-c',
        // An old string among the words of an array is cut up when they are used.
        `cat "$1" "$2" >"$3"; . "$3"; echo \${HOOKS[@]}`,
        'bash',
        join(dir, main),
        join(dir, dropIn),
        join(dir, 'joined'),
      ])
      expect(stdout).toMatch(/^vfio-scripts (base|systemd|udev) .*modconf\n$/)
    }
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

  it('another init system is told, and nothing is written', () => {
    const dir = twins(none)
    expectRan(apply(dir), 2, /neither systemd nor OpenRC starts this system/)
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

describe('what is written is clean', () => {
  const dirs = (): string[] => [twins(arch), twins(none, { ...systemd, ...openrc })]

  it.runIf(has('shellcheck'))('for shellcheck', () => {
    const files = [script, 'etc/initcpio/install/vfio-scripts', 'etc/initcpio/hooks/vfio-scripts', service, wanted]
    for (const dir of dirs()) {
      expectRan(apply(dir), 0)
      for (const file of files.filter((one) => textOf(dir, one) !== null)) {
        const shell = file.includes('/install/') ? 'bash' : 'sh'
        // Variables that others read or set, and the shebang of OpenRC.
        const args = ['--shell', shell, '--exclude', 'SC2034,SC2154,SC1008', join(dir, file)]
        expect(runProgram('shellcheck', args)).toEqual({ code: 0, stdout: '', stderr: '' })
      }
    }
  })

  it.runIf(has('systemd-analyze'))('for systemd', () => {
    const dir = twins(none, systemd)
    expectRan(apply(dir), 0)
    const ran = runProgram('systemd-analyze', ['verify', '--man=no', join(dir, unit)])
    expect(ran.stderr.split('\n').filter((line) => line.includes('vfio-scripts'))).toEqual([])
  })
})
