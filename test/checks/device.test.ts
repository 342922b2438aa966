import { Buffer } from 'node:buffer'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { answer, check, host, machine } from '../support/checking.ts'
import { addFiles, addLinks, folderOf } from '../support/fake/host.ts'
import { idle, judge } from '../support/judge.ts'
import { loadMachine, type Machine, scratchDir, writeMachine } from '../support/machine.ts'
import { romOf } from '../support/rom.ts'
import { runScript } from '../support/run.ts'
import { systemDir } from '../support/system.ts'

const device = 'sys/bus/pci/devices/0000:02:00.0'

describe('--device', { concurrent: true }, () => {
  it('says what speaks against a binding, and afterwards whether it is as promised', () => {
    const dir = host()
    const before = answer(check(dir, '--device', '02:00', '--json'))
    expect(before.devices.map(({ address }) => address)).toEqual(['0000:02:00.0', '0000:02:00.1'])
    expect(before.findings.map(({ code }) => code)).toEqual(
      expect.arrayContaining(['groups', 'reset', 'boot-vga', 'only-gpu']),
    )
    runScript('bind-vfio', ['--root', dir, '02:00', '--apply', '--no-commands'])
    const after = answer(check(dir, '--device', '02:00', '--json'))
    expect(after.findings.map(({ code }) => code)).toEqual(expect.arrayContaining(['files', 'images', 'drivers']))
    expect(after.findings.map(({ code }) => code)).not.toContain('boot-vga')
  })

  it("names the boot GPU's shadow ROM, and no ROM of its own", () => {
    const found = (flags: string) => {
      const resource = `${'0x0 0x0 0x0\n'.repeat(6)}0xc0000 0xdffff ${flags}\n`
      const dir = host({ [`${device}/boot_vga`]: '1\n', [`${device}/resource`]: resource })
      return answer(check(dir, '--device', '02:00', '--json')).findings.find(({ code }) => code === 'rom')
    }
    expect(found('0x212')).toMatchObject({ state: 'problem', next: expect.stringMatching(/ROM file that was read/) })
    expect(found('0x7200')).toMatchObject({ state: 'ok' })
  })

  it('names a better slot for a card that shares its group: one with nothing in it', () => {
    const next = (devices: Machine['devices']) => {
      const tree = scratchDir('slots')
      writeMachine({ ...loadMachine(machine), devices: { ...loadMachine(machine).devices, ...devices } }, tree)
      const { findings } = answer(check(host(), '--machine', tree, '--device', '10000:e1:00.0', '--json'))
      const groups = findings.find(({ code }) => code === 'groups')
      expect(groups).toMatchObject({
        state: 'problem',
        evidence: [expect.stringMatching(/0000:00:0e\.0/), expect.anything()],
      })
      return groups?.next
    }
    // All root ports of this machine hold a card.
    expect(next({})).toMatch(/^another slot may help/)
    const port = { class: '060400', id: '8086:7ab0', driver: 'pcieport', group: 77, pcie: true }
    expect(next({ '0000:00:1d.0': port })).toMatch(/^the slots below 0000:00:1d\.0 are empty/)
  })

  it('names the interrupts of a card behind a bridge to conventional PCI', () => {
    const dir = systemDir({ machine: 'ivy-bridge-h77' })
    const state = (named: string) =>
      answer(check(dir, '--device', named, '--json')).findings.find(({ code }) => code === 'shared-interrupts')
    expect(state('05:00')).toMatchObject({
      state: 'problem',
      evidence: expect.arrayContaining(['0000:05:00.0 is below 0000:04:00.0']),
    })
    expect(state('01:00')).toMatchObject({ state: 'ok' })
  })

  it.each<[string, string[], RegExp]>([
    ['a device that there is not', ['--device', '77:00'], /77:00: no such device on this machine/],
    ['no device', ['--device', 'card'], /card: not a device/],
    ['a ROM without its card', ['--rom', '/dev/null'], /--rom goes with --device/],
    [
      'a ROM that there is not',
      ['--device', '02:00', '--rom', '/no/such/rom'],
      /\/no\/such\/rom: there is no such file/,
    ],
  ])('refuses %s', (_, args, says) => {
    const ran = check(host(), ...args)
    expect(ran.stderr).toMatch(says)
    expect(ran).toMatchObject({ code: 2, stdout: '' })
  })
})

describe('--rom', () => {
  it.each<[string, Buffer, 'ok' | 'problem', RegExp]>([
    ['with a UEFI image behind the old one', romOf(0x10de, 0x1cb6, 0, 3), 'ok', /holds a UEFI image/],
    ['without one', romOf(0x10de, 0x1cb6, 0), 'problem', /holds no UEFI image/],
    ['of another card', romOf(0x1002, 0x67df, 0, 3), 'problem', /is of another card/],
    ['that is none', Buffer.from('NVGI and much more that is no ROM at all'), 'problem', /is no expansion ROM/],
    ['whose second image is cut short', romOf(0x10de, 0x1cb6, 0, 3).subarray(0, 1500), 'problem', /is cut short/],
    ['that is cut short', romOf(0x10de, 0x1cb6, 0).subarray(0, 0x30), 'problem', /is no expansion ROM/],
  ])('a file %s', (_, data, state, says) => {
    const file = join(scratchDir('rom'), 'card.rom')
    writeFileSync(file, data)
    const { findings } = answer(check(host(), '--device', '02:00', '--rom', file, '--json'))
    expect(findings.find(({ code }) => code === 'rom-file')).toMatchObject({
      state,
      summary: expect.stringMatching(says),
    })
  })
})

describe('Resizable BAR', () => {
  const found = (files: Record<string, string>) =>
    answer(check(host(files), '--device', '02:00', '--json')).findings.find(({ code }) => code === 'resizable-bar')

  it('says the present size and those that the card offers', () => {
    const resource = `0x0 0x0 0x0\n0x4000000000 0x400fffffff 0x14220c\n${'0x0 0x0 0x0\n'.repeat(11)}`
    const finding = found({ [`${device}/resource`]: resource, [`${device}/resource1_resize`]: '0000000000004700\n' })
    expect(finding).toMatchObject({ state: 'ok' })
    expect(finding?.evidence[0]).toBe(
      '0000:02:00.0 BAR 1: 256 MiB now; the card offers 256 MiB, 512 MiB, 1 GiB, 16 GiB',
    )
    expect(finding?.evidence[1]).toContain('without any driver')
  })

  it('says nothing of a card that has none, and of text that is none', () => {
    expect(found({})).toBeUndefined()
    expect(found({ [`${device}/resource1_resize`]: 'none\n' })).toBeUndefined()
  })
})

describe('the boot display', () => {
  it('boot-vga: the GPU whose display showed the boot, where the kernel says so, and not the first VGA controller', () => {
    const boot = (machine: Machine): void => {
      idle(machine)
      const card = `${folderOf(machine, '0000:05:00.0')}/drm/card1`
      addFiles(machine, { [`${card}/boot_display`]: '1\n' })
      addLinks(machine, { '/sys/class/drm/card1': card, [`${card}/device`]: folderOf(machine, '0000:05:00.0') })
    }
    expect(judge('twin-gpus', ['01:00'], boot).state('boot-vga')).toEqual(['ok', []])
    expect(judge('twin-gpus', ['05:00'], boot).state('boot-vga')[0]).toBe('problem')
  })
})
