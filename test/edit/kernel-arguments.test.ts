import { describe, expect, it } from 'vitest'
import { addArgument, hasArgument, removeArgument } from '../../lib/edit/kernel-arguments.ts'

const ids = 'vfio-pci.ids=10de:1cb6'

describe('a kernel argument', () => {
  it.each<[string, string, boolean]>([
    ['', 'intel_iommu=on', false],
    ['quiet intel_iommu=on', 'intel_iommu=on', true],
    ['intel-iommu=on', 'intel_iommu=on', true],
    ['intel_iommu=on,sm_on', 'intel_iommu=on', true],
    ['intel_iommu=off', 'intel_iommu=on', false],
    ['xintel_iommu=on', 'intel_iommu=on', false],
    ['amd_iommu=on', 'iommu=on', false],
    ['iommu=pt', 'iommu', true],
    ['isolcpus=1,2', 'isolcpus=1,2', true],
    ['root=LABEL=A', 'root=LABEL=a', false],
    ['dyndbg="func really_probe +p" quiet', 'dyndbg="func really_probe +p"', true],
    ['dyndbg="x iommu=pt"', 'iommu=pt', false],
    ['quiet -- iommu=pt', 'iommu=pt', false],
    ['vfio_pci.ids=1B21:2142,10DE:1CB6', ids, true],
    [`${ids} vfio-pci.ids=1b21:2142`, ids, false],
    ['pci-stub.ids=10de:1cb6', ids, false],
    ['vfio-pci.ids="10de:1cb6"', ids, true],
    ['vfio-pci.ids=', ids, false],
  ])('in %j, %s: %j', (line, token, there) => {
    expect(hasArgument(line, token)).toBe(there)
  })

  it.each<[string, string, string]>([
    ['', 'iommu=pt', 'iommu=pt'],
    ['quiet', 'iommu=pt', 'quiet iommu=pt'],
    [' quiet  ', 'iommu=pt', ' quiet   iommu=pt'],
    ['quiet amd_iommu=on', 'iommu=pt', 'quiet amd_iommu=on iommu=pt'],
    // arguments sorted, cryptdevice and resume lost: both happened elsewhere
    [
      'cryptdevice=/dev/sda3:luks:allow-discards resume=/dev/vg0/swap default_hugepagesz=1G hugepagesz=1G hugepages=8',
      'intel_iommu=on',
      'cryptdevice=/dev/sda3:luks:allow-discards resume=/dev/vg0/swap default_hugepagesz=1G hugepagesz=1G hugepages=8 intel_iommu=on',
    ],
    ['console=tty0 console=ttyS0', 'iommu=pt', 'console=tty0 console=ttyS0 iommu=pt'],
    ['quiet -- single', 'iommu=pt', 'quiet iommu=pt -- single'],
    ['vfio_pci.ids=1b21:2142 quiet', ids, 'vfio_pci.ids=1b21:2142,10de:1cb6 quiet'],
    ['vfio-pci.ids="1b21:2142" quiet', ids, 'vfio-pci.ids="1b21:2142,10de:1cb6" quiet'],
    ['"vfio-pci.ids=1b21:2142"', ids, '"vfio-pci.ids=1b21:2142,10de:1cb6"'],
    [`${ids} vfio-pci.ids=1b21:2142`, ids, `${ids} vfio-pci.ids=1b21:2142,10de:1cb6`],
    ['vfio-pci.ids=', ids, `vfio-pci.ids= ${ids}`],
    ['dyndbg="func really_probe +p"', ids, `dyndbg="func really_probe +p" ${ids}`],
  ])('is added to %j: %s', (line, token, after) => {
    expect(addArgument(line, token)).toBe(after)
    expect(addArgument(after, token)).toBe(after)
    expect(hasArgument(after, token)).toBe(true)
    expect(removeArgument(after, token)).toBe(line)
  })

  it.each<[string, string, string]>([
    ['amd_iommu=on iommu=pt', 'iommu=on', 'amd_iommu=on iommu=pt'],
    ['iommu=pt quiet', 'iommu=pt', 'quiet'],
    ['quiet iommu=pt splash', 'iommu=pt', 'quiet splash'],
    ['vfio-pci.ids=10de:1cb6,1b21:2142', ids, 'vfio-pci.ids=1b21:2142'],
    ['vfio-pci.ids=1b21:2142,10DE:1CB6,1b21:2143', ids, 'vfio-pci.ids=1b21:2142,1b21:2143'],
    ['vfio-pci.ids=110de:1cb6', ids, 'vfio-pci.ids=110de:1cb6'],
    [`quiet ${ids}`, ids, 'quiet'],
    [`quiet ${ids},`, ids, 'quiet'],
  ])('is taken out of %j: %s', (line, token, after) => {
    expect(removeArgument(line, token)).toBe(after)
  })

  it('is there once after 480 repeats', () => {
    let line = 'quiet'
    for (let run = 0; run < 480; run++)
      for (const token of ['intel_iommu=on', 'isolcpus=2,3', ids, 'vfio-pci.ids=10de:0fb9'])
        line = addArgument(line, token)
    expect(line).toBe('quiet intel_iommu=on isolcpus=2,3 vfio-pci.ids=10de:1cb6,10de:0fb9')
  })
})
