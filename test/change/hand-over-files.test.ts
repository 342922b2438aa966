// What hand-over writes: looked at, changed, and taken back.
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { handOverFiles, hookFile } from '../../lib/hand-over/hook-files.ts'
import { expectRan } from '../support/bind.ts'
import { newFolder } from '../support/expect.ts'
import { conf, desktopDir, domain, handOver, hook, hostdev, uuid, write } from '../support/hand-over.ts'
import { needs } from '../support/needs.ts'
import { readTexts } from '../support/nix.ts'
import { runProgram, runScript } from '../support/run.ts'
import { snapshotOf, textOf, writeIn } from '../support/system.ts'

describe('written, looked at, changed and taken back', () => {
  it('byte for byte', () => {
    const dir = desktopDir('twin-gpus')
    const before = snapshotOf(dir)
    const ran = handOver(dir, 'win11', '05:00', '--stop', 'smbd', ...write)
    expectRan(ran, 0, /systemctl daemon-reload|try-reload-or-restart|at each start and stop of win11/)
    expect(textOf(dir, conf)).toMatch(
      new RegExp(
        `^uuid ${uuid}\nfunction 0000:05:00.0 10de [0-9a-f]{4} \\S+ /sys/devices/\\S+/0000:05:00.0\nfunction 0000:05:00.1 10de [0-9a-f]{4} \\S+ /sys/\\S+\nstop smbd.service\n`,
        'm',
      ),
    )
    expect(textOf(dir, hook)).toMatch(/^#!\/bin\/sh/)
    expectRan(handOver(dir, '--status'), 0, /in-force.*win11.*the host has the devices of win11 now/s)
    expectRan(handOver(dir, 'win11', '05:00', '--stop', 'smbd'), 0, /Nothing to do/)
    const back = handOver(dir, '--undo', ...write)
    expectRan(back, 0, /Taken back/)
    expect(back.stdout).not.toMatch(/[Rr]eboot/)
    expect(
      snapshotOf(dir)
        .replace(/^\/var\/lib\/vfio-scripts.*\n?/gm, '')
        .replace(/^\/(var|var\/lib) .*\n/gm, ''),
    ).toBe(before.replace(/^\/(var|var\/lib) .*\n/gm, ''))
  })

  it('another run changes it, and keeps the devices', () => {
    const dir = desktopDir('twin-gpus')
    expectRan(handOver(dir, 'win11', '05:00', '--stop', 'smbd', ...write), 0)
    expectRan(handOver(dir, 'win11', '--start', 'smbd', ...write), 0)
    expect(textOf(dir, conf)).toMatch(/function 0000:05:00\.0.*start smbd\.service/s)
    expect(textOf(dir, conf)).not.toContain('stop smbd')
    expectRan(handOver(dir, '--status'), 0, /in-force/)
    expectRan(handOver(dir, '--undo', ...write), 0)
    expect(textOf(dir, conf)).toBeNull()
    expect(textOf(dir, hook)).toBeNull()
  })

  it('of two guests one goes, and the other stays whole', () => {
    const other = domain('linux', hostdev('05'), 'c0ffee00-0000-4000-8000-000000000002')
    const dir = desktopDir('twin-gpus', { 'etc/libvirt/qemu/linux.xml': other })
    expectRan(handOver(dir, 'win11', '05:00', ...write), 0)
    expectRan(handOver(dir, 'linux', '05:00', ...write), 0)
    expectRan(handOver(dir, 'nosuch', '--undo'), 2, /nosuch: not set up by hand-over; there is win11, linux/)
    expectRan(handOver(dir, 'win11', '--undo', ...write), 0)
    expect(textOf(dir, conf)).toBeNull()
    expect(textOf(dir, hook)).not.toBeNull()
    expectRan(handOver(dir, '--status'), 0, /in-force.*linux/s)
    expectRan(handOver(dir, '--undo', ...write), 0)
    expect(textOf(dir, hook)).toBeNull()
  })

  it('is not taken back while the guest has the card', () => {
    const dir = desktopDir('twin-gpus')
    expectRan(handOver(dir, 'win11', '05:00', ...write), 0)
    writeIn(dir, 'run/vfio-scripts/hand-over/win11/record', 'driver 0000:05:00.0 nouveau (null)\n')
    expectRan(handOver(dir, '--undo', '--apply'), 2, /win11 has its devices now/)
  })

  it('a file that somebody changed is told by --status', () => {
    const dir = desktopDir('twin-gpus')
    expectRan(handOver(dir, 'win11', '05:00', ...write), 0)
    writeIn(dir, hook, '#!/bin/sh\nexit 0\n')
    expectRan(handOver(dir, '--status'), 1, /drifted.*50-vfio-scripts-hand-over was changed/s)
  })

  it('a run that was cut short is told by --status', () => {
    const dir = desktopDir('twin-gpus')
    expectRan(handOver(dir, 'win11', '05:00', ...write), 0)
    rmSync(join(dir, 'var/lib/vfio-scripts/0001/done'))
    expectRan(handOver(dir, '--status'), 1, /drifted.*A run of hand-over of \S+ was cut short/s)
  })

  it('bind-vfio, tune-host and their undo leave it alone', () => {
    const dir = desktopDir('twin-gpus')
    expectRan(handOver(dir, 'win11', '05:00', ...write), 0)
    expectRan(runScript('tune-host', ['--root', dir, '--undo', ...write]), 0, /nothing to take back/)
    expectRan(runScript('bind-vfio', ['--root', dir, '--undo', ...write]), 0, /nothing to take back/)
    expectRan(handOver(dir, '--status'), 0, /in-force/)
  })
})

describe('a guest that gen-domain --format qemu starts', () => {
  /** What the script has done, in order, where QEMU ends with this code. */
  function ran(dir: string, code: number): string[] {
    const made = runScript('gen-domain', [
      ...[
        '--root',
        dir,
        '--name',
        'win11',
        '--guest',
        'linux',
        '--memory',
        '4G',
        '--format',
        'qemu',
        '--firmware',
        'bios',
      ],
      ...['--gpu', '05:00'],
    ])
    expectRan(made, 0, /^#!\/bin/)
    const home = newFolder()
    const log = join(home, 'log')
    for (const [name, text] of [
      ['systemctl', `echo "systemctl $*" >>${log}`],
      ['qemu', `echo qemu >>${log}; exit ${code}`],
    ])
      writeIn(home, `bin/${name}`, `#!/bin/sh\n${text}\n`)
    writeIn(home, 'guest', made.stdout)
    const path = `PATH=${home}/bin:$PATH HOME=${home} QEMU=${home}/bin/qemu`
    runProgram('sh', ['-c', `${path} sh ${home}/guest`])
    return readFileSync(log, 'utf8').trimEnd().split('\n')
  }

  it('takes the card before, and gives it back after, however QEMU ends', () => {
    const dir = desktopDir('twin-gpus')
    expect(ran(dir, 0)).toEqual(['qemu'])
    expectRan(handOver(dir, 'win11', '05:00', ...write), 0)
    const unit = 'vfio-scripts-hand-over@win11.service'
    for (const code of [0, 1])
      expect(ran(dir, code)).toEqual([`systemctl restart ${unit}`, 'qemu', `systemctl stop ${unit}`])
  })
})

describe('on NixOS', () => {
  const nixos = (): string => desktopDir('twin-gpus', {}, 'nixos')

  it('is a module, which is printed, or written where it is asked for', () => {
    const dir = nixos()
    expectRan(handOver(dir, 'win11', '05:00'), 1, /environment\.etc\."vfio-scripts\/hand-over\.d\/win11".*Save this/s)
    expectRan(handOver(dir, 'win11', '05:00', '--apply'), 2, /needs --output FILE.*hand-over-win11\.nix/)
    const output = ['--output', '/etc/nixos/hand-over-win11.nix']
    expectRan(handOver(dir, 'win11', '05:00', ...output, ...write), 0, /Import it.*nixos-rebuild/s)
    expect(textOf(dir, hook)).toBeNull()
    expectRan(handOver(dir, '--undo', ...write), 0, /hand-over-win11\.nix.*nixos-rebuild/s)
    expect(textOf(dir, 'etc/nixos/hand-over-win11.nix')).toBeNull()
    expectRan(handOver(desktopDir('twin-gpus'), 'win11', '05:00', ...output), 2, /--output is for NixOS/)
  })

  needs('nix-instantiate').it('gives each file the same text as elsewhere, by Nix itself', () => {
    const dir = nixos()
    const there = desktopDir('twin-gpus')
    expectRan(handOver(dir, 'win11', '05:00', '--output', '/etc/nixos/x.nix', ...write), 0)
    expectRan(handOver(there, 'win11', '05:00', ...write), 0)
    const module = readTexts(textOf(dir, 'etc/nixos/x.nix') ?? '')
    for (const name of ['hand-over', 'hand-over-facts', 'hand-over.d/win11'])
      expect(module.environment.etc[`vfio-scripts/${name}`]?.source).toBe(textOf(there, `etc/vfio-scripts/${name}`))
    expect(module.virtualisation.libvirtd.hooks.qemu['50-vfio-scripts-hand-over']).toBe(textOf(there, hook))
    const units = Object.entries(module.systemd.units)
    expect(units.length).toBe(2)
    for (const [name, { text }] of units)
      expect(text.replace('Environment=PATH=/run/current-system/sw/bin\n', '')).toBe(
        textOf(there, `etc/systemd/system/${name}`),
      )
  })
})

it('programs are plain ASCII: a file is written a byte for each character', () => {
  for (const one of [...handOverFiles(), hookFile()])
    expect(one.kind === 'file' ? one.content : '').toMatch(/^[\n\t -~]+$/)
})
