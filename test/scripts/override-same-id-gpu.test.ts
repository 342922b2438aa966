import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { bind, expectRan, override } from '../support/bind.ts'
import { needs } from '../support/needs.ts'
import { runProgram, runScript } from '../support/run.ts'
import { snapshotOf, systemDir, textOf } from '../support/system.ts'

const both = (dir: string): string => snapshotOf(join(dir, 'etc')) + snapshotOf(join(dir, 'usr'))
const script = 'etc/vfio-scripts/override'

describe('without a device', () => {
  it('lists equal devices, and which one shows the console', async () => {
    const ran = override(systemDir({ machine: 'twin-gpus' }))
    await expect(ran.stdout).toMatchFileSnapshot('../golden/override-same-id-gpu/twins.txt')
    expect({ code: ran.code, stderr: ran.stderr }).toEqual({ code: 0, stderr: '' })
  })

  it('says so when there are none, exit 1', () => {
    const ran = override(systemDir({ machine: 'b365-gtx1650' }))
    expect(ran.stdout).toMatch(/^No two devices have the same ID/)
    expect(ran.code).toBe(1)
  })

  it('changes nothing with --apply', () => {
    expect(override(systemDir({ machine: 'twin-gpus' }), '--apply').code).toBe(2)
  })

  it('--kernel-config answers as bind-vfio does', () => {
    const dir = systemDir({ machine: 'twin-gpus' })
    expect(override(dir, '--kernel-config').stdout).toBe(bind(dir, '--kernel-config').stdout)
  })

  it('--help has every option', async () => {
    await expect(runScript('override-same-id-gpu', ['--help']).stdout).toMatchFileSnapshot(
      '../golden/override-same-id-gpu/help.txt',
    )
  })
})

describe.each(['initramfs-tools', 'dracut'] as const)('with %s', (generator) => {
  it('plans, applies, applies nothing twice, and is undone byte for byte', async () => {
    const dir = systemDir({ machine: 'twin-gpus', generator })
    const before = both(dir)
    const plan = override(dir, '05:00')
    await expect(plan.stdout.replaceAll(dir, 'ROOT')).toMatchFileSnapshot(
      `../golden/override-same-id-gpu/${generator}.txt`,
    )
    expect(plan.code).toBe(1)
    const whole = override(dir, '05:00', '--verbose').stdout
    expect(whole).toContain(`${plan.stdout.split(/^ +\(\d+ lines/m)[0]?.split('+#=')[0]}+#!/bin/sh\n`)
    expect(whole.split('\n').length).toBeGreaterThan(plan.stdout.split('\n').length + 90)
    expect(whole).toContain('/sbin/modprobe vfio-pci')
    expect(both(dir)).toBe(before)
    expect(override(dir, '05:00', '--apply', '--no-commands').code).toBe(0)
    expect(textOf(dir, script)).toMatch(
      /\n#= 0000:05:00\.0 10de 2504 1462:397d \/sys\/devices\/pci0000:00\/0000:00:1d\.0\/0000:05:00\.0\n/,
    )
    expect(override(dir, '05:00', '--apply', '--no-commands').stdout).toMatch(/^Nothing to do/m)
    // another device adds, and each goes alone
    const one = both(dir)
    expect(override(dir, '04:00', '--apply', '--no-commands').code).toBe(0)
    expect(override(dir, '04:00', '--undo', '--apply', '--no-commands').code).toBe(0)
    expect(both(dir)).toBe(one)
    expect(override(dir, '--undo', '--apply', '--no-commands').code).toBe(0)
    expect(both(dir)).toBe(before)
  })
})

it('where IDs tell devices apart, bind-vfio is enough', () => {
  const ran = override(systemDir({ machine: 'i9-14900k-vmd' }), '02:00')
  expect(ran.stderr).toMatch(/no other device is 10de:1cb6 and 10de:0fb9: bind-vfio is enough/)
  expect(ran.code).toBe(2)
})

it('bind-vfio goes by address too when an ID is shared, unless it is forced', () => {
  const dir = systemDir({ machine: 'twin-gpus' })
  expect(runScript('bind-vfio', ['--root', dir, '05:00']).stdout).toContain('+ /etc/vfio-scripts/override')
  // The ID of both is that of the boot display.
  expectRan(bind(dir, '05:00', '--force', 'shared-id'), 2, /refused \(only-gpu\).*\n.*0000:01:00\.0 .* is chosen/s)
  const forced = bind(dir, '05:00', '--force', 'shared-id', '--force', 'only-gpu', '--force', 'boot-vga').stdout
  expect(forced).toContain('ids=10de:2504,10de:228e')
  expect(forced).toMatch(/note: 0000:01:00\.0 \(nouveau now\) was not named, and goes to vfio-pci: .*ids=10de:2504/)
})

needs('shellcheck').it('shellcheck finds nothing in the shell programs that are written', () => {
  for (const generator of ['initramfs-tools', 'dracut'] as const) {
    const dir = systemDir({ machine: 'twin-gpus', generator })
    override(dir, '05:00', '--apply', '--no-commands')
    const files =
      generator === 'dracut'
        ? [
            'usr/lib/dracut/modules.d/90vfio-scripts/module-setup.sh',
            'usr/lib/dracut/modules.d/90vfio-scripts/override.sh',
          ]
        : ['etc/initramfs-tools/hooks/vfio-scripts', 'etc/initramfs-tools/scripts/init-top/00-vfio-scripts']
    const ran = runProgram('shellcheck', [
      '--exclude',
      'SC1091,SC2154',
      ...[script, ...files].map((file) => join(dir, file)),
    ])
    expect(ran).toEqual({ code: 0, stdout: '', stderr: '' })
  }
})
