// Binding by address where a system has neither initramfs-tools nor dracut: where the boot script runs, and by what.
import { describe, expect, it } from 'vitest'
import { arch, booster, commandsOf, etcOf, expectRan, generatorDir, none, oldArch } from './generators.ts'
import { type Ran, runScript } from './run.ts'
import { textOf } from './system.ts'

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
    expectRan(override(dir, '--status'), 1, /^override-same-id-gpu: reboot-needed/)
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
