// Names that try to reach the terminal: escapes, C1 controls, bidirectional overrides, broken UTF-8.
import { symlinkSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { brokenMachine, GPU, GPU_PATH, smallMachine } from '../support/broken.ts'
import { expectNoTrace, newFolder } from '../support/expect.ts'
import { writeMachine } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { PROJECT, type Ran, runProgram, runScript } from '../support/run.ts'

const ESC = '\u001b'
/** A title, a cleared screen, red by CSI in one character and in two; an override, an isolate, blanks that are none. */
const HOSTILE =
  '\u001b]0;evil\u0007\u001b[2J\u009b31m\u001b[31mred\r\b\u007f\u202egpj.exe\u2066\u200b\u2028\ufeff\ufffe\uffff'
/** The same with bytes that are no UTF-8: a lone continuation, an overlong slash, a surrogate, a cut sequence. */
const BYTES = Buffer.concat([Buffer.from(HOSTILE), Buffer.from([0x9b, 0xff, 0xc0, 0xaf, 0xed, 0xa0, 0x80, 0xe2, 0x82])])
const lines = (...parts: (string | Buffer)[]): Buffer => Buffer.concat(parts.map((part) => Buffer.from(part)))

const RAW =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not get through
  /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufffe\uffff]/

const USB = '/sys/devices/pci0000:00/0000:00:14.0/usb1'
const dir = brokenMachine((at) => {
  const put = (path: string, ...parts: (string | Buffer)[]): void => writeFileSync(at + path, lines(...parts))
  put('/usr/share/misc/pci.ids', '\n10de  ', BYTES, '\n\t1cb6  ', BYTES, '\nC 03  ', BYTES, '\n\t00  ', BYTES, '\n')
  put(`${GPU_PATH}/uevent`, 'DRIVER=', BYTES, '\nPCI_CLASS=30000\nPCI_ID=10DE:1CB6\n')
  put(`${GPU_PATH}/reset_method`, BYTES, '\n')
  put(`${GPU_PATH}/power_state`, BYTES, '\n')
  put('/sys/kernel/iommu_groups/14/type', BYTES, '\n')
  put(
    '/lib/modules/6.14.7-zen1/modules.alias',
    '\nalias pci:v000010DEd*sv*sd*bc03sc*i* ',
    '\u001b[31m\u0007',
    BYTES.subarray(-9),
    '\n',
  )
  for (const file of ['1-3/product', '1-3/manufacturer', '1-3/idVendor', 'speed']) put(`${USB}/${file}`, BYTES, '\n')
  symlinkSync('nowhere', `${at}/sys/kernel/iommu_groups/14/devices/${HOSTILE.replaceAll('/', '')}`)
})

/** Nothing raw came out, and the text got as far as being escaped. */
function expectTame(ran: Ran): void {
  expectNoTrace(ran)
  // The guide's listing has tabs of its own.
  expect(ran.stdout.replace(/^(\[RESET\])?\t/gm, '')).not.toMatch(RAW)
  expect(ran.stderr).not.toMatch(RAW)
  expect(ran.stdout + ran.stderr).toContain('\\u001b')
}

describe('hostile names', () => {
  it.each([
    'list-iommu',
    'list-iommu --format lspci',
    'list-iommu --format tree',
    'list-iommu --format svg',
    'list-iommu --format html',
    'list-iommu --usb-ports',
    'list-iommu --json --usb-ports',
    'check-reset',
    'check-reset --format guide',
    'check-reset --json',
  ])('%s', (command) => {
    const [script = '', ...args] = command.split(' ')
    expectTame(runScript(script, [...args, '--root', dir]))
  })

  it.each(['addresses', 'ids'])('list-iommu --format %s holds none', (format) => {
    const ran = runScript('list-iommu', ['--format', format, '--root', dir])
    expect(ran.stdout).toMatch(/^([0-9a-f:.]+\n)+$/)
    expect(ran.stderr).toBe('')
  })

  it('JSON carries them unchanged, as escapes', () => {
    const { groups, usb } = JSON.parse(runScript('list-iommu', ['--json', '--usb-ports', '--root', dir]).stdout)
    const group = groups.find((each: { id: number }) => each.id === 14)
    const gpu = group.devices.find((each: { address: string }) => each.address === GPU)
    const text = BYTES.toString('utf8')
    expect(gpu).toMatchObject({ class: { name: text }, vendor: { name: text }, device: { name: text } })
    expect(usb[0].devices[0].product).toBe(text)
    expect(group.others[0].name).toBe(HOSTILE)
  })

  needs('script').it('on a terminal only our own colours are sent (script of util-linux)', () => {
    for (const args of [
      'list-iommu.mjs',
      'list-iommu.mjs --format tree',
      'list-iommu.mjs --usb-ports',
      'check-reset.mjs',
    ]) {
      const command = `stty cols 120; exec ${process.execPath} ${PROJECT}scripts/${args} --root ${dir}`
      const { stdout } = runProgram('script', ['-qec', command, '/dev/null'], {
        env: { TERM: 'xterm', NO_COLOR: undefined },
      })
      expect(stdout).toContain(`${ESC}[`)
      expect(stdout.replaceAll('\r\n', '\n').replace(new RegExp(`${ESC}\\[(0|1|2|3[1-6])m`, 'g'), '')).not.toMatch(RAW)
    }
  })

  it('XML holds no character that XML forbids', () => {
    const { stdout } = runScript('list-iommu', ['--format', 'svg', '--root', dir])
    expect(stdout).toMatch(/^[\t\n\r\u0020-\ud7ff\ue000-\ufffd]*$/)
  })
})

describe('hostile text in what a person is told', () => {
  it('arguments, folders, and names of files', () => {
    expectTame(runScript('list-iommu', [HOSTILE]))
    expectTame(runScript('list-iommu', [`--${HOSTILE}`, '--json']))
    expectTame(runScript('list-iommu', ['--driver', HOSTILE, '--machine', dir, `--root=/${HOSTILE}`]))
    expectTame(runScript('check-reset', ['--root', HOSTILE, '--json']))
    const strange = brokenMachine((at) => symlinkSync('nowhere', `${at}/sys/bus/pci/devices/${HOSTILE}`))
    expectTame(runScript('list-iommu', ['--root', strange]))
  })

  it('a revision', () => {
    expectTame(
      runScript('list-iommu', ['--root', brokenMachine((at) => writeFileSync(`${at}${GPU_PATH}/revision`, BYTES))]),
    )
  })

  it('the kernel parameter, or the virtual machine, that explains why there are no groups', () => {
    for (const flags of [['vmx'], ['vmx', 'hypervisor']]) {
      const machine = smallMachine()
      for (const device of Object.values(machine.devices)) delete device.group
      delete machine.iommu
      machine.cmdline = `"intel_iommu=off,${HOSTILE.replace(/\s/g, '')}"`
      machine.dmi = { sys_vendor: HOSTILE, product_name: HOSTILE }
      machine.cpu.flags = flags
      if (flags.includes('hypervisor')) machine.acpi = []
      const at = newFolder()
      writeMachine(machine, at)
      expectTame(runScript('list-iommu', ['--root', at]))
      expectTame(runScript('list-iommu', ['--root', at, '--json']))
      const ran = runScript('list-iommu', ['--root', at, '--format', 'lspci'])
      expect(ran.stderr).not.toMatch(RAW)
      expect(ran.stderr).toContain('\\u001b')
    }
  })
})
