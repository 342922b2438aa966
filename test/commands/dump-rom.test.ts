import { existsSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { check, host } from '../support/checking.ts'
import { expectError } from '../support/expect.ts'
import { scratchDir } from '../support/machine.ts'

const card = 'sys/bus/pci/devices/0000:02:00.0'
const files = { [`${card}/rom`]: '', [`${card}/power/control`]: 'auto\n' }
const file = `${scratchDir('dump')}/card.rom`
const dump = ['--device', '02:00', '--dump-rom', file]

describe('--dump-rom', () => {
  it('shows what it would write, and writes nothing', () => {
    const { code, stdout } = check(host(files), ...dump)
    expect(code).toBe(1)
    expect(stdout).toMatch(/^check-host --dump-rom: 0000:02:00\.0 NVIDIA GP107GL/)
    expect(stdout).toContain('power/control  auto → on, and back at once')
    expect(stdout).toContain('rom  0 → 1, and back at once')
    expect(stdout).toContain(`+ ${file}\nNothing was changed. Add --apply.\n`)
    expect(existsSync(file)).toBe(false)
    const json = JSON.parse(check(host(files), ...dump, '--json').stdout)
    expect(json).toMatchObject({ schema: 'vfio-scripts/dump-rom/1', action: 'plan', changed: false, rom: null })
  })

  it.each<[string, Record<string, string | null>, string[], RegExp]>([
    ['without a device', files, ['--dump-rom', file], /--dump-rom goes with --device/],
    ['--apply alone', files, ['--apply'], /--apply goes with --dump-rom/],
    ['a machine that does not run', files, [...dump, '--apply'], /leave --root and --machine out/],
    ['a card without a ROM', {}, dump, /0000:02:00\.0, 0000:02:00\.1: has no ROM; that of a GPU on the mainboard/],
    ['a file that is there', files, ['--device', '02:00', '--dump-rom', '/etc/passwd'], /is there already/],
    ['a folder that is not', files, ['--device', '02:00', '--dump-rom', '/no/such/rom'], /no folder for it/],
    ['two ROMs', { ...files, 'sys/bus/pci/devices/0000:01:00.0/rom': '' }, ['--device', '01:00', ...dump], /name one/],
  ])('refuses %s', (_, with_, args, says) => {
    const ran = check(host(with_), ...args)
    expectError(ran)
    expect(ran.stderr).toMatch(says)
  })

  it('refuses while a driver minds', () => {
    const ran = check(host({ 'sys/bus/pci/devices/0000:01:00.0/rom': '' }), '--device', '01:00', '--dump-rom', file)
    expectError(ran, '0000:01:00.0: nvidia has it', 'bind-vfio --now 0000:01:00 --apply')
  })

  it('refuses the shadow of a boot VGA, and says which GPU should boot, in this board’s words', () => {
    const resource = `${'0x0 0x0 0x0\n'.repeat(6)}0xc0000 0xdffff 0x212\n`
    const shadow = { ...files, [`${card}/boot_vga`]: '1\n', [`${card}/resource`]: resource }
    const ran = check(host({ ...shadow, 'sys/class/dmi/id/board_vendor': 'ASRock\n' }), ...dump)
    expectError(ran, 'only the copy of its ROM', 'make 0000:01:00.0 the boot GPU', 'Primary Graphics Adapter')
  })
})
