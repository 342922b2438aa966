import { describe, expect, it } from 'vitest'
import { addYamlMember, hasYamlMember, removeYamlMember } from '../../lib/edit/yaml.ts'

const key = 'modules_force_load'
const add = (text: string): string => addYamlMember(text, key, 'vfio_pci')
const remove = (text: string): string => removeYamlMember(text, key, 'vfio_pci')

describe('members of a list in YAML', () => {
  it.each([
    ['', `${key}: vfio_pci\n`],
    ['universal: true', `universal: true\n${key}: vfio_pci`],
    [`${key}: i915\n`, `${key}: vfio_pci,i915\n`],
    [`${key}:   i915, ext4 # mine\nstrip: true\n`, `${key}:   vfio_pci,i915, ext4 # mine\nstrip: true\n`],
    [`${key}: "i915"\r\n`, `${key}: "vfio_pci,i915"\r\n`],
    [`${key}: 'i915,ext4'`, `${key}: 'vfio_pci,i915,ext4'`],
    [`${key}: ""\n`, `${key}: "vfio_pci"\n`],
    [`${key}:\n`, `${key}:  vfio_pci\n`],
    [`${key}: # nothing\n`, `${key}:  vfio_pci # nothing\n`],
    [`${key}: i915,\n  ext4\nstrip: true\n`, `${key}: vfio_pci,i915,\n  ext4\nstrip: true\n`],
    [`${key}: >\n  i915,\n  ext4\n`, `${key}: >\n  vfio_pci,i915,\n  ext4\n`],
    [`# ${key}: vfio_pci\n`, `# ${key}: vfio_pci\n${key}: vfio_pci\n`],
    [`x:\n  ${key}: vfio_pci\n`, `x:\n  ${key}: vfio_pci\n${key}: vfio_pci\n`],
    [`${key}: i915 # vfio_pci\n`, `${key}: vfio_pci,i915 # vfio_pci\n`],
    [`${key}: vfio_pci_core,a-vfio_pci\n`, `${key}: vfio_pci,vfio_pci_core,a-vfio_pci\n`],
  ])('go in and out, byte for byte: %j', (before, after) => {
    expect(hasYamlMember(before, key, 'vfio_pci')).toBe(false)
    expect(add(before)).toBe(after)
    expect(add(after)).toBe(after)
    expect(hasYamlMember(after, key, 'vfio-pci')).toBe(true)
    expect(remove(after)).toBe(before)
  })

  it.each([
    [`${key}: i915,vfio-pci\n`, `${key}: i915\n`],
    [`${key}: i915,\n  vfio_pci,\n  ext4\n`, `${key}: i915,\n  \n  ext4\n`],
    [`${key}: "vfio_pci"\n`, `${key}: ""\n`],
  ])('are found wherever they stand: %j', (before, after) => {
    expect(add(before)).toBe(before)
    expect(remove(before)).toBe(after)
  })
})
