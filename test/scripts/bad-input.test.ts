// Broken, unreadable and vanishing input: a clear error in one line, or a complete listing that says what is wrong.
import { chmodSync, mkdirSync, unlinkSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import {
  addressesIn,
  brokenMachine,
  GPU,
  GPU_PATH,
  linkGroup,
  listing,
  smallMachine,
  whole,
} from '../support/broken.ts'
import { copyScript, expectError, newFolder, SCRIPTS, type ScriptName } from '../support/expect.ts'
import { writeMachine } from '../support/machine.ts'
import { type Ran, runProgram, runScript } from '../support/run.ts'

const ALIASES = '/lib/modules/6.14.7-zen1/modules.alias'

describe('files that may not be read', () => {
  const root = process.getuid?.() === 0
  const copies = { 'list-iommu': copyScript('list-iommu'), 'check-reset': copyScript('check-reset') }
  /** Root may read everything: as somebody else. */
  const ask = (script: ScriptName, dir: string, ...args: string[]): Ran =>
    runProgram(process.execPath, [copies[script], '--root', dir, ...args], {
      cwd: '/',
      ...(root && { uid: 65534 }),
    })

  it.each(SCRIPTS)('%s: a uevent, a device folder, the groups: named, and the rest goes on', (script) => {
    const dir = brokenMachine(() => {})
    expect(ask(script, dir, '--json').stdout).toBe(whole[script].stdout)
    const others = addressesIn(whole[script]).filter((address) => address !== GPU)
    for (const path of [`${GPU_PATH}/uevent`, GPU_PATH, '/sys/kernel/iommu_groups']) {
      chmodSync(dir + path, 0)
      const ran = ask(script, dir, '--json')
      expect(ran.stderr).toMatch(new RegExp(`^${script}: ${path}: cannot be read \\(EACCES\\): try as root$`, 'm'))
      expect(ran.code).not.toBe(2)
      expect(addressesIn(ran).filter((address) => address !== GPU)).toEqual(others)
      expect(addressesIn(ran).includes(GPU)).toBe(path !== GPU_PATH)
      chmodSync(dir + path, 0o755)
    }
  })

  it.each(SCRIPTS)('%s: the list of devices: an error, for without it there is no answer', (script) => {
    const dir = brokenMachine((at) => chmodSync(`${at}/sys/bus/pci/devices`, 0))
    expectError(ask(script, dir), '/sys/bus/pci/devices', 'EACCES')
  })

  it('module tables: the whole list, modules unknown, and a remark', () => {
    const dir = brokenMachine((at) => chmodSync(at + ALIASES, 0))
    const { code, stdout, stderr } = ask('list-iommu', dir, '--json')
    expect(stderr).toBe(`list-iommu: ${ALIASES}: cannot be read (EACCES): try as root\n`)
    expect(code).toBe(0)
    expect(stdout).toBe(whole['list-iommu'].stdout.replace(/"modules": \[[^\]]*\]/g, '"modules": null'))
    expect(ask('list-iommu', dir, GPU).stdout.split('\n')[1]).toMatch(/ vfio-pci +\? /)
  })

  it('pci.ids: the whole list without names, and a remark', () => {
    const dir = brokenMachine((at) => chmodSync(`${at}/usr/share/misc/pci.ids`, 0))
    const ran = ask('list-iommu', dir, '--json')
    expect(ran.stderr).toMatch(/^list-iommu: \/usr\/share\/misc\/pci.ids: cannot be read \(EACCES\): try as root\n$/)
    expect(ran.code).toBe(0)
    expect(addressesIn(ran)).toEqual(addressesIn(whole['list-iommu']))
    expect(ran.stdout).toMatch(/"name": "VGA compatible controller"/)
    expect(ran.stdout).not.toMatch(/NVIDIA/)
  })

  it('config space: check-reset says that interrupts are unknown', () => {
    const dir = brokenMachine((at) => chmodSync(`${at}${GPU_PATH}/config`, 0))
    const ran = ask('check-reset', dir, GPU, '--json')
    expect(ran.stderr).toMatch(/^check-reset: [^\n]*config: cannot be read \(EACCES\): try as root\n$/)
    expect(JSON.parse(ran.stdout).cards[0].functions[0]).toMatchObject({ address: GPU, msi: null, msix: null })
  })
})

describe.each(SCRIPTS)('%s: garbage', (script) => {
  const put = (path: string, content: string) => (dir: string) => writeFileSync(dir + path, content)
  const noUevent = (dir: string): void => unlinkSync(`${dir}${GPU_PATH}/uevent`)

  it('no uevent: the same from the other attributes', () => {
    expect(listing(script, brokenMachine(noUevent))).toEqual(whole[script])
    expect(listing(script, brokenMachine(put(`${GPU_PATH}/uevent`, '')))).toEqual(whole[script])
    expect(listing(script, brokenMachine(put(`${GPU_PATH}/uevent`, '\0\xff=\n\nDRIVER\n')))).toEqual(whole[script])
  })

  it.each(['', 'zebra\n', '0x\n', '0x0300000000\n', '-1\n', '3e5!\n'])('class %j', (text) => {
    const dir = brokenMachine((at) => {
      noUevent(at)
      put(`${GPU_PATH}/class`, text)(at)
    })
    expectError(runScript(script, ['--machine', dir]), `${GPU_PATH}/class`, 'hex digits')
  })

  it.each([
    'PCI_ID=10DE',
    'PCI_ID=',
    'PCI_ID=10DEX:1CB6',
    'PCI_ID=:',
    'PCI_ID=0000010DE:1CB6',
    'PCI_ID=10DE:1CB6\nPCI_SUBSYS_ID=q:r',
  ])('%j', (line) => {
    const dir = brokenMachine(put(`${GPU_PATH}/uevent`, `PCI_CLASS=30000\n${line}\n`))
    expectError(runScript(script, ['--machine', dir]), `${GPU_PATH}/uevent`, 'hex digits')
  })

  it('revision', () => {
    const ran = runScript(script, ['--machine', brokenMachine(put(`${GPU_PATH}/revision`, '0xa1a1\n')), '--json'])
    expect(JSON.parse(ran.stdout)).toMatchObject({ error: { code: 'unreadable' } })
    expectError({ ...ran, stdout: '' }, `${GPU_PATH}/revision`)
  })

  it('a folder in place of an attribute', () => {
    const dir = brokenMachine((at) => {
      noUevent(at)
      mkdirSync(`${at}${GPU_PATH}/uevent`)
    })
    expectError(listingText(dir), `${GPU_PATH}/uevent`, 'EISDIR')
  })

  it.each(['none', '14x', '-1', '1e3', '99999999999'])('group link to %j', (name) => {
    const dir = brokenMachine((at) => linkGroup(at, `../../../../kernel/iommu_groups/${name}`))
    expectError(listingText(dir), `${GPU_PATH}/iommu_group`, `"${name}"`)
  })

  it('a group folder that is no number', () => {
    const dir = brokenMachine((at) => mkdirSync(`${at}/sys/kernel/iommu_groups/fourteen`))
    expectError(listingText(dir), '/sys/kernel/iommu_groups/fourteen')
  })

  it.each(['README', '0000:02:00', '0000:02:20.0', '0000:02:00.8', '0000:0G:00.0'])('%j among the devices', (name) => {
    const dir = brokenMachine((at) => mkdirSync(`${at}/sys/bus/pci/devices/${name}`))
    expectError(listingText(dir), `/sys/bus/pci/devices/${name}`, 'not a PCI address')
  })

  it('a pattern in modules.alias that is none', () => {
    const text = 'alias pci:v000010DEd*sv*sd*bc03sc*i*([ broken\nalias\nalias pci:v000010DEd00001CB6sv\nalias pci:v\n\0'
    const ran = listing(script, brokenMachine(put(ALIASES, text)))
    expect(ran.stderr).toBe('')
    expect(addressesIn(ran)).toEqual(addressesIn(whole[script]))
  })

  it.each(['/usr/share/misc/pci.ids.gz', '/usr/share/hwdata/pci.ids.gz'])('%s that is no gzip', (path) => {
    const dir = brokenMachine((at) => {
      unlinkSync(`${at}/usr/share/misc/pci.ids`)
      mkdirSync(`${at}/usr/share/hwdata`)
      put(path, 'not packed')(at)
    })
    expectError(listingText(dir), path)
  })

  const listingText = (dir: string): Ran => runScript(script, ['--root', dir])
})

describe('no groups', () => {
  it.each(['', 'not packed', '\u001f\u008b\b'])('a /proc/config.gz of %j does not stop the listing', (text) => {
    const machine = smallMachine()
    for (const device of Object.values(machine.devices)) delete device.group
    delete machine.iommu
    machine.files = { 'proc/config.gz': text }
    const dir = newFolder()
    writeMachine(machine, dir)
    const ran = listing('list-iommu', dir)
    expect(ran.stderr).toBe('')
    expect(ran.code).toBe(1)
    expect(addressesIn(ran)).toEqual(addressesIn(whole['list-iommu']))
    expect(JSON.parse(ran.stdout).iommu.code).toBe('unknown')
  })
})

describe.each(SCRIPTS)('%s: no machine', (script) => {
  const empty = newFolder()
  const sysfs = newFolder()
  mkdirSync(`${sysfs}/sys/bus`, { recursive: true })
  writeFileSync(`${empty}/file`, '')

  it.each([
    [empty, 'no-sysfs', 'no sysfs here'],
    [sysfs, 'no-pci', 'no PCI bus'],
    [`${empty}/file`, 'unreadable', 'ENOTDIR'],
    ['/dev/null', 'unreadable', 'ENOTDIR'],
    [`${empty}/no/such`, 'unreadable', 'ENOENT'],
    [`${empty}/\u001b[31m`, 'unreadable', '\\u001b[31m'],
  ])('%j: %s', (path, code, message) => {
    for (const option of ['--root', '--machine']) {
      expectError(runScript(script, [option, path]), message)
      expect(JSON.parse(runScript(script, [option, path, '--json']).stdout).error.code).toBe(code)
    }
  })
})
