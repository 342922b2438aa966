import { describe, expect, it } from 'vitest'
import type { BootStage, BootStep } from '../../lib/system/boot.ts'
import { all, coldplug, gpu, IDS, kernelWith, load, nic, predict, SOFTDEPS } from '../support/boots.ts'

describe('a machine on which nothing is set up', () => {
  it('boots as it did', () => {
    const who = predict({})
    for (const one of all)
      expect(who(one.address.slice(5)), one.address).toMatchObject({ driver: one.driver, certainty: 'certain' })
  })

  it('has a device that no driver takes, though a module for it is loaded', () => {
    const idle = { ...nic, driver: null }
    expect(predict({ devices: [idle] })('02:00.0')).toMatchObject({ driver: null, certainty: 'certain' })
  })
})

describe('a blacklist', () => {
  it('on the kernel itself stops a module everywhere', () => {
    const who = predict({
      ...{ modprobe: IDS + SOFTDEPS, line: 'module_blacklist=foo,vfio_pci', early: [load('vfio-pci'), coldplug()] },
    })('01:00.0')
    expect(who).toMatchObject({ driver: 'nouveau', certainty: 'certain' })
    expect(who.without.join()).toMatch(/module_blacklist=foo,vfio_pci: vfio_pci is not loaded/)
  })

  it('on the kernel itself counts in its own names, and of several lists the last', () => {
    const early = [load('vfio-pci'), coldplug()]
    for (const line of ['module_blacklist=vfio-pci', 'module_blacklist=vfio_pci module_blacklist=foo'])
      expect(predict({ modprobe: IDS, line, early })('01:00.0').driver, line).toBe('vfio-pci')
  })

  it('in modprobe.d stops a program that obeys it, and no softdep', () => {
    const modprobe = `blacklist vfio-pci\n${IDS}`
    const obeys = [load('vfio-pci', { obeysBlacklist: true }), coldplug()]
    expect(predict({ modprobe, early: obeys })('01:00.0').driver).toBe('nouveau')
    expect(predict({ modprobe, early: [load('vfio-pci'), coldplug()] })('01:00.0').driver).toBe('vfio-pci')
    expect(predict({ modprobe: modprobe + SOFTDEPS })('01:00.0').driver).toBe('vfio-pci')
    expect(predict({ modprobe: IDS, line: 'modprobe.blacklist=vfio_pci', early: obeys })('01:00.0').driver).toBe(
      'nouveau',
    )
  })

  it('of a host driver leaves its device without one', () => {
    const who = predict({ modprobe: 'blacklist nouveau\n' })('01:00.0')
    expect(who).toMatchObject({ driver: null, certainty: 'certain' })
    expect(who.without).toContain('/etc/modprobe.d/vfio.conf:1: blacklist nouveau: nouveau is not loaded')
  })

  it('does nothing to what is built in', () => {
    const builtin = kernelWith(['xhci_pci'])
    expect(predict({ kernel: builtin, line: 'module_blacklist=xhci_pci' })('04:00.0').driver).toBe('xhci_hcd')
  })

  it('by install is one for everybody; a program there may do anything', () => {
    const early = [load('vfio-pci'), coldplug()]
    expect(predict({ modprobe: `install vfio-pci /bin/false\n${IDS}`, early })('01:00.0').driver).toBe('nouveau')
    const script = predict({ modprobe: `install vfio-pci /sbin/mine.sh\n${IDS}`, early })('01:00.0')
    expect(script).toMatchObject({ driver: 'vfio-pci', certainty: 'may-decline' })
  })
})

describe('the command line', () => {
  it('has modules loaded in front of udev, or beside it, where a stage reads such arguments', () => {
    const line = 'rd.driver.pre=foo,vfio-pci'
    expect(predict({ modprobe: IDS, line })('01:00.0').driver).toBe('nouveau')
    const first = { loadArguments: [{ name: 'rd.driver.pre', when: 'first' }] } as const
    expect(predict({ modprobe: IDS, line, adds: first })('01:00.0')).toMatchObject({
      driver: 'vfio-pci',
      certainty: 'certain',
    })
    const beside = { loadArguments: [{ name: 'rd.modules_load', when: 'beside' }] } as const
    const racing = predict({ modprobe: IDS, line: 'rd.modules-load=vfio-pci', adds: beside })('01:00.0')
    expect([racing.certainty, ...racing.or.sort()]).toEqual(['undecided', 'nouveau', 'vfio-pci'])
  })

  it('blacklists a driver in one stage alone', () => {
    const adds = { blacklistArguments: ['rd.driver.blacklist'] }
    const early = [coldplug(), load('vfio-pci')]
    const seen = predict({ modprobe: IDS, line: 'rd.driver.blacklist=nouveau', adds, early })
    expect([seen('01:00.0').driver, seen('01:00.1').driver]).toEqual(['vfio-pci', 'snd_hda_intel'])
  })
})

describe('what nothing orders', () => {
  it('is undecided, with both lines: a module beside udev and no softdep', () => {
    const who = predict({ modprobe: IDS, early: [], beside: [load('vfio-pci')] })
    expect(who('01:00.0')).toMatchObject({ driver: null, certainty: 'undecided' })
    expect(who('01:00.0').or.sort()).toEqual(['nouveau', 'vfio-pci'])
    expect(who('01:00.0').without.join('\n')).toMatch(/options vfio-pci ids.*\n.*nouveau/)
    expect(who('02:00.0').certainty).toBe('certain')
  })

  it('is decided by the softdep of one driver for its device only', () => {
    const modprobe = `${IDS}softdep nouveau pre: vfio-pci\n`
    const who = predict({ modprobe, early: [] })
    expect(who('01:00.0')).toMatchObject({ driver: 'vfio-pci', certainty: 'certain' })
    expect(who('01:00.1').certainty).toBe('undecided')
  })

  it('is decided by the order of the tables where two modules are for one device alone', () => {
    const free = { ...gpu, driver: 'vfio-pci', modules: ['nouveau', 'nvidia'] }
    expect(predict({ devices: [free] })('01:00.0')).toMatchObject({ driver: 'nouveau', or: ['nvidia', 'no driver'] })
  })
})

describe('what cannot be told', () => {
  const likely: BootStage = { modprobe: [], busybox: false, modules: null, steps: [coldplug()] }

  it('is undecided only where it matters what an image holds', () => {
    const initramfs = { why: '/boot/initrd.img: may not be read', likely }
    const who = predict({ initramfs, modprobe: IDS + SOFTDEPS })
    expect(who('01:00.0')).toMatchObject({ certainty: 'undecided', because: '/boot/initrd.img: may not be read' })
    expect(who('01:00.0').or.sort()).toEqual(['nouveau', 'vfio-pci'])
    expect(who('02:00.0')).toMatchObject({ driver: 'e1000e', certainty: 'certain' })
  })

  it('is what a program that nobody knows does to the devices that it names', () => {
    const unknown: BootStep = { kind: 'unknown-script', addresses: ['0000:02:00.0'], cause: '/etc/x.sh' }
    const who = predict({ early: [unknown, coldplug()] })
    expect(who('02:00.0')).toMatchObject({ certainty: 'undecided' })
    expect(who('02:00.0').or.sort()).toEqual(['e1000e', 'vfio-pci'])
    expect(who('03:00.0').certainty).toBe('certain')
  })
})
