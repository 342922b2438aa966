import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { machineDir, machineNames, scratchDir } from '../support/machine.ts'
import { runProgram, runScript } from '../support/run.ts'

const UUID = 'c728e022-f16f-434b-ad2c-9665ee634d3d'

function capture(script: string, dir: string): string {
  const target = `${scratchDir('capture')}/copy`
  const ran = runScript(script, ['--machine', dir, '--capture', target])
  expect(ran.stderr).toContain(target)
  return target
}

/** Everything that stands in a folder: paths, link texts and contents. */
function everything(folder: string): string {
  const tree = runProgram('find', [folder, '-printf', '%P %l\n']).stdout
  return tree + execFileSync('grep', ['-rah', '', folder], { encoding: 'utf8', maxBuffer: 1 << 28 })
}

describe('--capture', () => {
  it.each(machineNames())('%s: a capture reads back to the same output', (name) => {
    const dir = machineDir(name)
    for (const [script, format] of [
      ['list-iommu', '--json'],
      ['list-iommu', '--format=lspci'],
      ['check-reset', '--json'],
    ] as const) {
      const copy = capture(script, dir)
      // The capture alone must do: no name or module table from elsewhere.
      const from = (machine: string) => runScript(script, ['--machine', machine, '--root', machine, format])
      const original = from(dir)
      const plain = original.stdout.replace(new RegExp(UUID.replaceAll(/\w/g, '[0-9a-f]'), 'g'), 'UUID')
      const again = from(copy)
      expect(again.stdout.replace(new RegExp(UUID.replaceAll(/\w/g, '[0-9a-f]'), 'g'), 'UUID')).toBe(plain)
      expect([again.code, again.stderr]).toEqual([original.code, original.stderr])
    }
  })

  it('works where /lib is a link to usr/lib, as almost everywhere', () => {
    const dir = scratchDir('merged')
    runProgram('cp', ['-a', `${machineDir('i9-14900k-vmd')}/.`, dir])
    runProgram('mv', [`${dir}/lib`, `${dir}/usr/lib`])
    symlinkSync('usr/lib', `${dir}/lib`)
    const copy = capture('list-iommu', dir)
    const from = (root: string) => runScript('list-iommu', ['--root', root, '--json'])
    expect(from(copy)).toEqual(from(dir))
    expect(from(copy).stdout).toContain('"nouveau"')
    expect(runProgram('readlink', [`${copy}/lib`]).stdout).toBe('usr/lib\n')
  })

  it('is small: of the big tables only the lines that were used', () => {
    const copy = capture('list-iommu', machineDir('i9-14900k-vmd'))
    const [kilobytes = ''] = runProgram('du', ['-sk', '--apparent-size', copy]).stdout.split('\t')
    expect(Number(kilobytes)).toBeLessThan(1000)
    expect(everything(copy)).not.toMatch(/^alias pci:v00001002/m)
  })

  it('replaces UUIDs, MAC addresses, serial numbers and the host name, the same ones alike', () => {
    const dir = scratchDir('private')
    runProgram('cp', ['-a', `${machineDir('vm-no-iommu')}/.`, dir])
    mkdirSync(`${dir}/proc/sys/kernel`, { recursive: true })
    writeFileSync(`${dir}/proc/sys/kernel/hostname`, 'bigbox\n')
    writeFileSync(
      `${dir}/proc/cmdline`,
      `BOOT_IMAGE=/vmlinuz root=UUID=${UUID} resume=UUID=${UUID} rd.luks.uuid=luks-${UUID.replace('c7', 'aa')} ` +
        'boot=PARTUUID=1234abcd-02 ip=10.0.0.2::10.0.0.1:255.0.0.0:bigbox:enx001122334455 ifname=lan:00:11:22:33:44:55 ' +
        'BOOTIF=01-00-11-22-33-44-55 crypt=/dev/disk/by-id/ata-DISK_SN12345 usb_serial=SN12345 quiet\n',
    )
    const copy = capture('list-iommu', dir)
    const text = everything(copy)
    for (const secret of [UUID, 'aa28e022', 'bigbox', '00:11:22', '00-11-22', '001122334455', '1234abcd', 'SN12345']) {
      expect(text).not.toContain(secret)
    }
    const cmdline = readFileSync(`${copy}/proc/cmdline`, 'utf8')
    const [root, resume] = [...cmdline.matchAll(/=UUID=(\S+)/g)].map((match) => match[1])
    expect(root).toMatch(/^00000000-0000-4000-8000-/)
    expect(resume).toBe(root)
    expect(cmdline).toContain('quiet')
    // One card, written three ways, is one pseudonym.
    expect(cmdline).toMatch(/enx020000000001 ifname=lan:02:00:00:00:00:01 BOOTIF=01-02-00-00-00-00-01/)
  })

  it('keeps symbolic links, and holds nothing from outside the root', () => {
    const dir = scratchDir('links')
    runProgram('cp', ['-a', `${machineDir('i9-14900k-vmd')}/.`, dir])
    const outside = scratchDir('outside')
    writeFileSync(`${outside}/secret`, 'vault-word\n')
    const device = `${dir}/sys/devices/pci0000:00/0000:00:04.0`
    runProgram('rm', [`${device}/revision`])
    symlinkSync(`${outside}/secret`, `${device}/revision`)
    const copy = capture('list-iommu', dir)
    expect(everything(copy)).not.toContain('vault-word')
    const link = runProgram('readlink', [`${copy}/sys/bus/pci/devices/0000:00:04.0`]).stdout
    expect(link).toBe('../../../devices/pci0000:00/0000:00:04.0\n')
  })

  it('writes a new folder or none: a folder with something in it is refused', () => {
    const target = scratchDir('full')
    writeFileSync(`${target}/mine`, 'keep me')
    const ran = runScript('list-iommu', ['--machine', machineDir('i9-14900k-vmd'), '--capture', target])
    expect([ran.code, ran.stdout]).toEqual([2, ''])
    expect(ran.stderr).toBe(`list-iommu: ${target}: is not empty; name a new folder\n`)
    expect(readdirSync(target)).toEqual(['mine'])
  })

  it('a target that cannot be written is one line and leaves nothing behind', () => {
    const ran = runScript('list-iommu', ['--machine', machineDir('i9-14900k-vmd'), '--capture', '/proc/none/there'])
    expect([ran.code, ran.stdout]).toEqual([2, ''])
    expect(ran.stderr).toMatch(/^list-iommu: \/proc\/none\/there: cannot be written \(ENOENT\)\n$/)
  })
})
