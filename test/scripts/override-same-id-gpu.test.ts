import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { bind, override } from '../support/bind.ts'
import { scratchDir } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { has, runProgram, runScript } from '../support/run.ts'
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
  expect(runScript('bind-vfio', ['--root', dir, '05:00', '--force', 'shared-id']).stdout).toContain(
    'ids=10de:2504,10de:228e',
  )
})

/** The boot script on a /sys, /proc and /dev of its own: what it says, and what it wrote. */
describe.each(['dash', 'busybox'].filter(has))('the boot script under %s', (shell) => {
  const at = '/sys/devices/pci0000:00/0000:00:1d.0/0000:05:00.0'

  function boot(change: (root: string) => void, cmdline = 'quiet'): { log: string; overrides: string } {
    const dir = systemDir({ machine: 'twin-gpus' })
    expect(override(dir, '05:00', '--apply', '--no-commands').code).toBe(0)
    const root = scratchDir('boot')
    for (const [fn, device] of [
      ['0', '2504'],
      ['1', '228e'],
    ] as const) {
      const folder = join(root, at.slice(0, -1) + fn)
      mkdirSync(folder, { recursive: true })
      const files = { vendor: '0x10de', device: `0x${device}`, subsystem_vendor: '0x1462', subsystem_device: '0x397d' }
      for (const [name, text] of Object.entries({ ...files, driver_override: '(null)' }))
        writeFileSync(join(folder, name), `${text}\n`)
      mkdirSync(join(root, 'sys/bus/pci/devices'), { recursive: true })
      symlinkSync(folder, join(root, `sys/bus/pci/devices/0000:05:00.${fn}`))
    }
    mkdirSync(join(root, 'sys/bus/pci/drivers/vfio-pci'), { recursive: true })
    mkdirSync(join(root, 'proc'))
    mkdirSync(join(root, 'dev'))
    writeFileSync(join(root, 'proc/cmdline'), `${cmdline}\n`)
    writeFileSync(join(root, 'dev/kmsg'), '')
    change(root)
    // Its lines keep the paths that the machine has: readlink's answer is taken back below the root.
    const text = readFileSync(join(dir, script), 'utf8')
      .replace('$(readlink -f "$at")', `$(readlink -f "$at" | sed 's|^${root}||')`)
      .replace('self=/', `self=${dir}/`)
      .replace('pci=/', `pci=${root}/`)
      .replace('</proc', `<${root}/proc`)
      .replace('>/dev/kmsg', `>>${root}/dev/kmsg`)
      .replace(
        '/sbin/modprobe vfio-pci 2>/dev/null || modprobe vfio-pci',
        `echo "modprobe has \${MODPROBE_OPTIONS-no options}" >>${root}/dev/kmsg`,
      )
    const file = join(root, 'override')
    writeFileSync(file, text)
    // As the init of initramfs-tools has it: with it, `blacklist vfio-pci` would keep the module from being loaded.
    const env = { MODPROBE_OPTIONS: '-qb' }
    const ran = runProgram(shell, shell === 'busybox' ? ['sh', file] : [file], { env })
    expect(ran).toEqual({ code: 0, stdout: '', stderr: '' })
    const overrides = ['0', '1'].map(
      (fn) => textOf(root, `sys/bus/pci/devices/0000:05:00.${fn}/driver_override`) ?? '(null)\n',
    )
    return { log: readFileSync(join(root, 'dev/kmsg'), 'utf8'), overrides: overrides.join('') }
  }
  const untouched = '(null)\n(null)\n'

  it('takes both functions when all is as it was, and lets go of what vfio-pci did not take', () => {
    const { log, overrides } = boot(() => {})
    expect(log).toMatch(/0000:05:00\.0 was not taken: none has it; the host may use it\n.*0000:05:00\.1 was not taken/)
    expect(overrides).toBe('\n\n')
  })

  it('loads vfio-pci whatever the blacklist says', () => {
    expect(boot(() => {}).log).toMatch(/^modprobe has no options$/m)
  })

  it('takes a device from the driver that has it, which may be built in', () => {
    let unbind = ''
    const { log } = boot((root) => {
      const driver = join(root, 'sys/bus/pci/drivers/nouveau')
      mkdirSync(driver)
      unbind = join(driver, 'unbind')
      symlinkSync(driver, join(root, at, 'driver'))
    })
    expect(readFileSync(unbind, 'utf8')).toBe('0000:05:00.0\n')
    expect(log).toMatch(/0000:05:00\.0 was not taken: nouveau has it/)
  })

  it.each<[string, (root: string) => void, RegExp]>([
    [
      'another device at the address',
      (root) => writeFileSync(join(root, at, 'device'), '0x1f82\n'),
      /nothing is taken: 0000:05:00\.0 is 10de 1f82 1462:397d/,
    ],
    [
      'another board of the same kind',
      (root) => writeFileSync(join(root, `${at.slice(0, -1)}1`, 'subsystem_device'), '0x0001\n'),
      /nothing is taken: 0000:05:00\.1 is 10de 228e 1462:0001/,
    ],
    [
      'nothing at the address',
      (root) => rmSync(join(root, 'sys/bus/pci/devices/0000:05:00.1')),
      /nothing is taken: 0000:05:00\.1 is not there/,
    ],
    [
      'the same card in another port',
      (root) => {
        const other = join(root, 'sys/devices/pci0000:00/0000:00:01.0/0000:05:00.0')
        mkdirSync(dirname(other), { recursive: true })
        runProgram('cp', ['-r', join(root, at), other])
        rmSync(join(root, 'sys/bus/pci/devices/0000:05:00.0'))
        symlinkSync(other, join(root, 'sys/bus/pci/devices/0000:05:00.0'))
      },
      /nothing is taken: .*0000:00:01\.0\/0000:05:00\.0, not .*0000:00:1d\.0/,
    ],
    [
      'no vfio-pci',
      (root) => rmSync(join(root, 'sys/bus/pci/drivers/vfio-pci'), { recursive: true }),
      /nothing is taken: there is no vfio-pci/,
    ],
  ])('takes nothing, and says why: %s', (_, change, says) => {
    const { log, overrides } = boot(change)
    expect(log).toMatch(says)
    expect(overrides).toBe(untouched)
  })

  it('is skipped by vfio_scripts.override=off, a whole word', () => {
    expect(boot(() => {}, 'quiet vfio_scripts.override=off splash')).toEqual({
      log: 'vfio-scripts: skipped: vfio_scripts.override=off\n',
      overrides: untouched,
    })
    expect(boot(() => {}, 'quiet vfio_scripts.override=offset').overrides).not.toBe(untouched)
  })
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
