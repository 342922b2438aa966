import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { loadMachine, scratchDir, writeMachine } from '../support/machine.ts'
import { PROJECT, runScript } from '../support/run.ts'

describe('names', () => {
  const pciIds = readFileSync(`${PROJECT}test/machines/pci.ids`)
  const named = (place: string, content: Buffer | string, ids?: string) => {
    const dir = scratchDir('names')
    writeMachine(loadMachine('i9-14900k-vmd'), dir)
    rmSync(`${dir}/usr/share`, { recursive: true })
    const file = `${dir}/${place}`
    mkdirSync(file.slice(0, file.lastIndexOf('/')), { recursive: true })
    writeFileSync(file, content)
    if (ids !== undefined) {
      mkdirSync(`${dir}/usr/share/misc`, { recursive: true })
      writeFileSync(`${dir}/usr/share/misc/pci.ids`, `x\n${ids}`)
    }
    const ran = runScript('list-iommu', ['--machine', dir, '--root', dir, '--format', 'lspci', '02:00.0'])
    expect(ran.stderr).toBe('')
    return ran.stdout
  }
  const line = 'VGA compatible controller [0300]: NVIDIA Corporation GP107GL [Quadro P620] [10de:1cb6] (rev a1)\n'

  it.each(['usr/share/misc/pci.ids', 'usr/share/hwdata/pci.ids', 'usr/share/pci.ids'])('%s', (place) => {
    expect(named(place, pciIds)).toContain(line)
  })

  it('compressed', () => {
    expect(named('usr/share/hwdata/pci.ids.gz', gzipSync(pciIds))).toContain(line)
  })

  it("udev's hwdb sources", () => {
    const hwdb =
      '# comment\n\npci:v000010DE*\n ID_VENDOR_FROM_DATABASE=NVIDIA Corporation\n\n' +
      'pci:v000010DEd00001CB6*\n ID_MODEL_FROM_DATABASE=GP107GL [Quadro P620]\n'
    expect(named('usr/lib/udev/hwdb.d/20-pci-vendor-model.hwdb', hwdb)).toContain(line)
  })

  it("udev's hwdb has what pci.ids lacks, and pci.ids what both have", () => {
    const hwdb =
      'pci:v000010DE*\n ID_VENDOR_FROM_DATABASE=Other\n\npci:v000010DEd00001CB6*\n ID_MODEL_FROM_DATABASE=Newer\n'
    const both = (device: string): string =>
      named('usr/lib/udev/hwdb.d/20-pci-vendor-model.hwdb', hwdb, `10de  NVIDIA Corporation\n${device}`)
    expect(both('\t0fb9  Audio\n')).toContain('NVIDIA Corporation Newer [10de:1cb6]')
    expect(both('\t1cb6  Known\n')).toContain('NVIDIA Corporation Known [10de:1cb6]')
  })

  it('none at all: class names and bare IDs', () => {
    expect(named('usr/share/other', '')).toContain('VGA compatible controller [0300]: Device [10de:1cb6] (rev a1)\n')
  })

  it('a device is not named after its neighbour in the database', () => {
    // 1cb6 exists under another vendor only.
    const other = 'x\n10de  NVIDIA Corporation\n\t0fb9  Audio\n10df  Emulex\n\t1cb6  Wrong\n'
    expect(named('usr/share/misc/pci.ids', other)).toContain('NVIDIA Corporation Device [10de:1cb6]')
  })
})

describe('modules', () => {
  it('wildcards, built-in drivers and other vendors, in the order of the tables', () => {
    const machine = loadMachine('i9-14900k-vmd')
    const dir = scratchDir('modules')
    writeMachine(machine, dir)
    const folder = `${dir}/lib/modules/${machine.kernel}`
    mkdirSync(folder, { recursive: true })
    writeFileSync(
      `${folder}/modules.alias`,
      [
        '# Aliases extracted from modules themselves.',
        'alias pci:v000010DEd*sv*sd*bc03sc02i00* only_3d',
        'alias pci:v000010DEd00001CB6sv*sd*bc*sc*i* nvidiafb',
        'alias pci:v*d*sv*sd*bc03sc00i00* any_vga',
        'alias pci:v000010DEd*sv*sd*bc03sc*i* nouveau',
        'alias pci:v000010DEd00001CB6sv000017AAsd*bc*sc*i* lenovo_only',
        'alias pci:v00001002d00001CB6sv*sd*bc*sc*i* other_vendor',
        'alias usb:v10DEp* not_pci',
        '',
      ].join('\n'),
    )
    writeFileSync(
      `${folder}/modules.builtin.modinfo`,
      'vfio_pci.alias=vfio_pci:v*\0simple.alias=pci:v*d*sv*sd*bc03sc*i*\0',
    )
    const ran = runScript('list-iommu', ['--machine', dir, '--json', '02:00.0'])
    expect(JSON.parse(ran.stdout).groups[0].devices[0].modules).toEqual(['nvidiafb', 'any_vga', 'nouveau', 'simple'])
  })
})
