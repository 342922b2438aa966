import { describe, expect, it } from 'vitest'
import type { PciDevice } from '../../lib/host/pci.ts'
import type { BootStep } from '../../lib/system/boot.ts'
import { bootScriptFunction } from '../../lib/system/boot-script.ts'
import {
  all,
  coldplug,
  device,
  gpu,
  IDS,
  kernelWith,
  load,
  nic,
  predict,
  SOFTDEPS,
  sound,
  usb,
} from '../support/boots.ts'

describe('probe', () => {
  it('is declined without an IOMMU', () => {
    const bare = all.map((one) => ({ ...one, group: null }))
    const off = { modprobe: IDS + SOFTDEPS, devices: bare, iommu: { enabled: false, kind: null } } as const
    expect(predict(off)('01:00.0')).toMatchObject({ driver: 'nouveau' })
    expect(predict({ ...off, line: 'intel_iommu=on' })('01:00.0')).toMatchObject({
      driver: 'vfio-pci',
      certainty: 'may-decline',
    })
    expect(predict({ modprobe: IDS + SOFTDEPS, line: 'intel_iommu=off' })('01:00.0').driver).toBe('nouveau')
  })

  it('may be declined by a driver that does not know every chip, unless it has the device in this very kernel', () => {
    const free = { ...gpu, driver: 'vfio-pci' }
    expect(predict({ devices: [free], loaded: [] })('01:00.0')).toMatchObject({
      driver: 'nouveau',
      certainty: 'may-decline',
      or: ['no driver'],
    })
    expect(predict({ devices: [gpu] })('01:00.0').certainty).toBe('certain')
    expect(predict({ devices: [gpu], release: '6.0.0' })('01:00.0').certainty).toBe('may-decline')
  })

  it('of another kernel that runs is not foreseen for one that does not have it', () => {
    const bare = { ...nic, modules: [] }
    const kernel = { ...kernelWith(), provides: () => 'absent' as const }
    expect(predict({ devices: [bare], kernel, release: '6.0.0' })('02:00.0').driver).toBe(null)
    expect(predict({ devices: [bare], release: '6.0.0' })('02:00.0').driver).toBe('e1000e')
  })

  it('may be declined by an AGP driver, whose table names bridges without AGP; what it drives it has now', () => {
    const bridge = device('00:00.0', '8086:29c0', '060000', null, ['intel_agp'])
    const kernel = kernelWith(['intel_agp'])
    expect(predict({ devices: [bridge], kernel, release: '6.0.0' })('00:00.0')).toMatchObject({
      driver: 'agpgart-intel',
      certainty: 'may-decline',
      or: ['no driver'],
    })
    const driven = { ...bridge, driver: 'agpgart-intel' }
    expect(predict({ devices: [driven], kernel })('00:00.0').certainty).toBe('certain')
  })

  it('is declined by displays under nomodeset', () => {
    expect(predict({ line: 'nomodeset' })('01:00.0')).toMatchObject({ driver: null, certainty: 'certain' })
  })

  it('is declined by vfio-pci for what is on its own list', () => {
    const qat = device('05:00.0', '8086:37c8', '0b4000', 'c6xx', ['c6xx'])
    const modprobe = 'options vfio-pci ids=8086:37c8\n'
    const early = [load('vfio-pci'), coldplug()]
    expect(predict({ devices: [{ ...qat, driver: null }], modprobe, early })('05:00.0').driver).not.toBe('vfio-pci')
    const permitted = { modprobe, early, line: 'vfio-pci.disable_denylist=1' }
    expect(predict({ devices: [qat], ...permitted })('05:00.0').driver).toBe('vfio-pci')
  })
})

describe('the boot script', () => {
  const script = (functions: readonly string[]): BootStep => ({ kind: 'boot-script', functions, cause: 'the script' })
  const early = (...functions: PciDevice[]) => [script(functions.map(bootScriptFunction)), coldplug()]

  it('takes one of two twins', () => {
    const who = predict({ early: early(nic) })
    expect(who('02:00.0')).toMatchObject({ driver: 'vfio-pci', because: 'the script' })
    expect(who('03:00.0').driver).toBe('e1000e')
  })

  it('loads vfio-pci with the IDs that stand in modprobe.d, and those take the twin', () => {
    const who = predict({ early: early(nic), modprobe: 'options vfio-pci ids=8086:10d3\n' })
    expect(who('03:00.0').driver).toBe('vfio-pci')
  })

  it('takes from a driver that is built in, and from one that was earlier', () => {
    expect(predict({ kernel: kernelWith(['xhci_pci']), early: early(usb) })('04:00.0').driver).toBe('vfio-pci')
    expect(predict({ early: [], rootFirst: early(nic).slice(0, 1) })('02:00.0').driver).toBe('vfio-pci')
  })

  it('is skipped by its argument, and does nothing without vfio-pci', () => {
    expect(predict({ early: early(nic), line: 'vfio_scripts.override=off' })('02:00.0').driver).toBe('e1000e')
    expect(predict({ early: early(nic), line: 'module_blacklist=vfio_pci' })('02:00.0').driver).toBe('e1000e')
  })

  it('leaves what is another device now, and with it the rest of its slot', () => {
    const moved = [script([bootScriptFunction(gpu), bootScriptFunction(sound).replace('10f1', '10f2')]), coldplug()]
    const who = predict({ early: [...moved, ...early(nic)] })
    expect([who('01:00.0').driver, who('02:00.0').driver]).toEqual(['nouveau', 'vfio-pci'])
  })
})

describe("driverctl's override", () => {
  it('takes the device from the driver that had it', () => {
    const step: BootStep = {
      kind: 'override',
      address: '0000:02:00.0',
      driver: 'vfio-pci',
      cause: '/etc/driverctl.d/x',
    }
    const who = predict({ early: [coldplug(), step] })
    expect([who('02:00.0').driver, who('03:00.0').driver]).toEqual(['vfio-pci', 'e1000e'])
  })
})

describe('the console', () => {
  it('goes dark on a VGA display that vfio-pci takes, since Linux 6.0', () => {
    expect(predict({ modprobe: IDS + SOFTDEPS })('01:00.0').darkens).toBe(true)
    expect(predict({ modprobe: IDS + SOFTDEPS })('01:00.1').darkens).toBe(false)
    expect(predict({ modprobe: IDS + SOFTDEPS, kernel: kernelWith([], '5.15.0') })('01:00.0').darkens).toBe(false)
  })
})
