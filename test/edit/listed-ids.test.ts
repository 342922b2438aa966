import { describe, expect, it } from 'vitest'
import { addListedId, findListedIds, hasListedId, removeListedId } from '../../lib/edit/listed-ids.ts'

const TEXT = '# modules\nloop\n  vfio-pci  ids=10de:1c03,10de:10f1 disable_vga=1\nvfio_pci ids=8086:10d3\n'

describe('IDs beside a module’s name', () => {
  it('count in the first line that loads the module', () => {
    expect(findListedIds(TEXT, 'vfio-pci').map(({ line, members }) => [line, ...members])).toEqual([
      [3, '10de:1c03', '10de:10f1'],
      [4, '8086:10d3'],
    ])
    expect(hasListedId(TEXT, 'vfio_pci', '10DE:10f1')).toBe(true)
    expect(hasListedId(TEXT, 'vfio_pci', '8086:10d3')).toBe(false)
    expect(findListedIds('# vfio-pci ids=1:2\nvfio-pci\npci-stub ids=1:2\n', 'vfio-pci')).toEqual([])
  })

  it('are added at the end of the list, and taken out byte for byte', () => {
    const more = addListedId(TEXT, 'vfio-pci', '10de:2204')
    expect(more).toContain('  vfio-pci  ids=10de:1c03,10de:10f1,10de:2204 disable_vga=1\nvfio_pci ids=8086:10d3\n')
    expect(addListedId(more, 'vfio-pci', '10de:2204')).toBe(more)
    expect(removeListedId(more, 'vfio-pci', '10de:2204')).toBe(TEXT)
    expect(addListedId('vfio-pci ids=', 'vfio-pci', '1:2')).toBe('vfio-pci ids=1:2')
    expect(addListedId('vfio-pci\n', 'vfio-pci', '1:2')).toBe('vfio-pci\n')
  })
})
