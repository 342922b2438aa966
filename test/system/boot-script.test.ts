// The boot script, run by shells: which cards it takes where others are missing or not what they were.
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, it } from 'vitest'
import { override } from '../support/bind.ts'
import { scratchDir } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { runProgram } from '../support/run.ts'
import { systemDir, textOf } from '../support/system.ts'
import { script } from '../support/twins.ts'

/** Two cards of two functions each and a network card, which the boot script knows by their ports. */
const FUNCTIONS: Readonly<Record<string, { path: string; ids: string; group: string }>> = {
  '05:00.0': { path: '1d.0/0000:05:00.0', ids: '10de 2504 1462:397d', group: '20' },
  '05:00.1': { path: '1d.0/0000:05:00.1', ids: '10de 228e 1462:397d', group: '20' },
  '06:00.0': { path: '1c.0/0000:06:00.0', ids: '10de 2504 1462:397d', group: '21' },
  '06:00.1': { path: '1c.0/0000:06:00.1', ids: '10de 228e 1462:397d', group: '21' },
  '07:00.0': { path: '1b.0/0000:07:00.0', ids: '8086 1533 8086:0001', group: '22' },
}
const folderOf = (address: string): string => `sys/devices/pci0000:00/0000:00:${FUNCTIONS[address]?.path}`
const linkOf = (address: string): string => `sys/bus/pci/devices/0000:${address}`

/** The boot script on a /sys, /proc and /dev of its own: what it says, and which functions it tried to take. */
for (const name of ['dash', 'busybox']) needs(name).describe(`the boot script under ${name}`, () => underShell(name))

function underShell(shell: string): void {
  const at = folderOf('05:00.0')

  function joinGroup(root: string, address: string, group: string): void {
    const folder = join(root, 'sys/kernel/iommu_groups', group)
    mkdirSync(folder, { recursive: true })
    rmSync(join(root, linkOf(address), 'iommu_group'), { force: true })
    symlinkSync(folder, join(root, linkOf(address), 'iommu_group'))
  }

  function addFunction(root: string, address: string, folder: string, ids: string, group: string | null): void {
    const [vendor, device, board = ''] = ids.split(' ')
    mkdirSync(join(root, folder), { recursive: true })
    const [maker, model] = board.split(':')
    const files = { vendor, device, subsystem_vendor: maker, subsystem_device: model }
    for (const [name, text] of Object.entries(files)) writeFileSync(join(root, folder, name), `0x${text}\n`)
    writeFileSync(join(root, folder, 'driver_override'), '(null)\n')
    symlinkSync(join(root, folder), join(root, linkOf(address)))
    if (group !== null) joinGroup(root, address, group)
  }

  function boot(change: (root: string) => void, cmdline = 'quiet', grouped = true) {
    const dir = systemDir({ machine: 'twin-gpus' })
    expect(override(dir, '05:00', '--apply', '--no-commands').code).toBe(0)
    const root = scratchDir('boot')
    mkdirSync(join(root, 'sys/bus/pci/devices'), { recursive: true })
    for (const port of ['1b', '1c', '1d'])
      addFunction(root, `00:${port}.0`, `sys/devices/pci0000:00/0000:00:${port}.0`, '8086 7ab8', grouped ? port : null)
    for (const [address, { ids, group }] of Object.entries(FUNCTIONS))
      addFunction(root, address, folderOf(address), ids, grouped ? group : null)
    mkdirSync(join(root, 'sys/bus/pci/drivers/vfio-pci'), { recursive: true })
    mkdirSync(join(root, 'proc'))
    mkdirSync(join(root, 'dev'))
    writeFileSync(join(root, 'proc/cmdline'), `${cmdline}\n`)
    writeFileSync(join(root, 'dev/kmsg'), '')
    change(root)
    // Its lines keep the paths that the machine has: readlink's answer is taken back below the root.
    const text = readFileSync(join(dir, script), 'utf8')
      .replace('$(readlink -f "$at")', `$(readlink -f "$at" | sed 's|^${root}||')`)
      .replace('self=/', `self=${root}/`)
      .replace('pci=/', `pci=${root}/`)
      .replace('</proc', `<${root}/proc`)
      .replace('>/dev/kmsg', `>>${root}/dev/kmsg`)
      .replace(
        '/sbin/modprobe vfio-pci 2>/dev/null || modprobe vfio-pci',
        `[ -z "\${MODPROBE_OPTIONS+set}" ] || echo "modprobe has $MODPROBE_OPTIONS" >>${root}/dev/kmsg`,
      )
    const lines = Object.entries(FUNCTIONS).map(
      ([address, { ids }]) => `#= 0000:${address} ${ids} /${folderOf(address)}\n`,
    )
    mkdirSync(join(root, dirname(script)), { recursive: true })
    const file = join(root, script)
    writeFileSync(file, text.replace(/^#= .*\n/gm, '') + lines.join(''))
    // As the init of initramfs-tools has it: with it, `blacklist vfio-pci` would keep the module from being loaded.
    const env = { MODPROBE_OPTIONS: '-qb' }
    const ran = runProgram(shell, shell === 'busybox' ? ['sh', file] : [file], { env })
    expect(ran).toEqual({ code: 0, stdout: '', stderr: '' })
    // What vfio-pci, which no kernel runs here, did not take got its override and lost it again: an empty line.
    const tried = Object.keys(FUNCTIONS).filter(
      (address) => textOf(root, `${linkOf(address)}/driver_override`) === '\n',
    )
    return { log: readFileSync(join(root, 'dev/kmsg'), 'utf8'), tried: tried.join(' ') }
  }
  const ALL = Object.keys(FUNCTIONS).join(' ')

  it('takes all functions when all is as it was, and lets go of what vfio-pci did not take', () => {
    const { log, tried } = boot(() => {})
    expect(log).toMatch(/0000:05:00\.0 was not taken: none has it; the host may use it\n.*0000:05:00\.1 was not taken/)
    expect(tried).toBe(ALL)
    expect(boot(() => {}, 'quiet', false).tried).toBe(ALL)
  })

  it('loads vfio-pci whatever the blacklist says', () => {
    expect(boot(() => {}).log).not.toContain('modprobe has')
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

  const gone = (root: string, address: string): void => rmSync(join(root, linkOf(address)))
  const others = '06:00.0 06:00.1 07:00.0'

  it.each<[string, (root: string) => void, RegExp, string]>([
    [
      'another device at the address',
      (root) => writeFileSync(join(root, at, 'device'), '0x1f82\n'),
      /nothing is taken: 0000:05:00\.0 is 10de 1f82 1462:397d \S+, not 10de 2504 [\s\S]*0000:05:00\.1 is not taken: one of its card/,
      others,
    ],
    [
      'another board of the same kind',
      (root) => writeFileSync(join(root, folderOf('05:00.1'), 'subsystem_device'), '0x0001\n'),
      /nothing is taken: 0000:05:00\.1 is 10de 228e 1462:0001/,
      others,
    ],
    [
      'nothing at the address of a function, and its group gone with it',
      (root) => gone(root, '05:00.1'),
      /nothing is taken: 0000:05:00\.1 is not there/,
      others,
    ],
    [
      'a whole card that is missing',
      (root) => {
        gone(root, '05:00.0')
        gone(root, '05:00.1')
      },
      /nothing is taken: 0000:05:00\.0 is not there\n.*nothing is taken: 0000:05:00\.1 is not there\n/,
      others,
    ],
    [
      'a missing card, whose group was that of its port and of another card',
      (root) => {
        gone(root, '07:00.0')
        for (const address of ['00:1b.0', '00:1c.0', '06:00.0', '06:00.1']) joinGroup(root, address, '7')
      },
      /nothing is taken: 0000:07:00\.0 is not there[\s\S]*0000:06:00\.0 is not taken: one of its card or IOMMU group/,
      '05:00.0 05:00.1',
    ],
    [
      'another device that shares its group with another card',
      (root) => {
        writeFileSync(join(root, folderOf('07:00.0'), 'device'), '0x1521\n')
        for (const address of ['07:00.0', '06:00.0', '06:00.1']) joinGroup(root, address, '7')
      },
      /nothing is taken: 0000:07:00\.0 is 8086 1521/,
      '05:00.0 05:00.1',
    ],
    [
      'the same card in another port',
      (root) => {
        const other = join(root, 'sys/devices/pci0000:00/0000:00:01.0/0000:05:00.0')
        mkdirSync(dirname(other), { recursive: true })
        runProgram('cp', ['-r', join(root, at), other])
        gone(root, '05:00.0')
        symlinkSync(other, join(root, linkOf('05:00.0')))
      },
      /nothing is taken: .*0000:00:01\.0\/0000:05:00\.0, not .*0000:00:1d\.0/,
      others,
    ],
    [
      'no card that is as it was',
      (root) => {
        for (const address of Object.keys(FUNCTIONS)) gone(root, address)
      },
      /not there/,
      '',
    ],
    [
      'no vfio-pci',
      (root) => rmSync(join(root, 'sys/bus/pci/drivers/vfio-pci'), { recursive: true }),
      /nothing is taken: there is no vfio-pci/,
      '',
    ],
  ])('takes what is left, and says why: %s', (_, change, says, left) => {
    const { log, tried } = boot(change)
    expect(log).toMatch(says)
    expect(tried).toBe(left)
  })

  it('without IOMMU groups one card that is missing is that card alone', () => {
    expect(boot((root) => gone(root, '05:00.1'), 'quiet', false).tried).toBe(others)
  })

  it('is skipped by vfio_scripts.override=off, a whole word', () => {
    expect(boot(() => {}, 'quiet vfio_scripts.override=off splash')).toEqual({
      log: 'vfio-scripts: skipped: vfio_scripts.override=off\n',
      tried: '',
    })
    expect(boot(() => {}, 'quiet vfio_scripts.override=offset').tried).toBe(ALL)
  })
}
