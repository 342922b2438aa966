import { describe, expect, it } from 'vitest'
import { coldplug, IDS, kernelWith, load, predict, SOFTDEPS } from '../support/boots.ts'

describe('IDs in modprobe.d', () => {
  it('with a softdep come before the driver, and the line is named', () => {
    const who = predict({ modprobe: IDS + SOFTDEPS })
    for (const address of ['01:00.0', '01:00.1'])
      expect(who(address)).toMatchObject({
        driver: 'vfio-pci',
        certainty: 'certain',
        because: '/etc/modprobe.d/vfio.conf:1: options vfio-pci ids=10de:1c03,10de:10f1',
      })
    expect(who('02:00.0').driver).toBe('e1000e')
  })

  it('with the module loaded by name in front of udev need no softdep', () => {
    expect(predict({ modprobe: IDS, early: [load('vfio-pci'), coldplug()] })('01:00.0').driver).toBe('vfio-pci')
  })

  it('come too late where the image has the driver and loads vfio-pci behind udev', () => {
    const who = predict({ modprobe: IDS, early: [coldplug(), load('vfio-pci')] })('01:00.0')
    expect(who).toMatchObject({ driver: 'nouveau', certainty: 'certain' })
    expect(who.without.join()).toMatch(/ids=10de:1c03,10de:10f1: another driver has it by then/)
  })

  it('are in time there where the image lacks the driver', () => {
    const early = [coldplug(), load('vfio-pci')]
    expect(predict({ modprobe: IDS, early, modules: ['vfio_pci'] })('01:00.0').driver).toBe('vfio-pci')
  })

  it('do nothing where nobody loads vfio-pci', () => {
    expect(predict({ modprobe: IDS })('01:00.0')).toMatchObject({ driver: 'nouveau', certainty: 'certain' })
  })

  it('count as the image has them, where vfio-pci is loaded there', () => {
    const who = predict({ modprobe: IDS + SOFTDEPS, inImage: SOFTDEPS })('01:00.0')
    expect(who).toMatchObject({ driver: 'nouveau', certainty: 'certain' })
  })

  it('take every device that they match: a twin, a vendor, a class', () => {
    const early = [load('vfio-pci'), coldplug()]
    const both = predict({ modprobe: 'options vfio-pci ids=8086:10d3\n', early })
    expect([both('02:00.0').driver, both('03:00.0').driver]).toEqual(['vfio-pci', 'vfio-pci'])
    const vendor = predict({ modprobe: 'options vfio-pci ids=10de:ffffffff:ffffffff:ffffffff:040000:ff0000\n', early })
    expect([vendor('01:00.0').driver, vendor('01:00.1').driver]).toEqual(['nouveau', 'vfio-pci'])
    const board = predict({ modprobe: 'options vfio-pci ids=8086:10d3:1462:0001\n', early })
    expect(board('02:00.0').driver).toBe('e1000e')
  })

  it('of several lists count by the last, and the lost one says so', () => {
    const modprobe = `${IDS}options vfio-pci ids=8086:10d3\n`
    const who = predict({ modprobe, early: [load('vfio-pci'), coldplug()] })
    expect([who('01:00.0').driver, who('02:00.0').driver]).toEqual(['nouveau', 'vfio-pci'])
    expect(who('01:00.0').without).toContain(
      '/etc/modprobe.d/vfio.conf:1: options vfio-pci ids=10de:1c03,10de:10f1: has no effect, since /etc/modprobe.d/vfio.conf:2: options vfio-pci ids=8086:10d3 comes later',
    )
  })

  it('with a typing error lose only that entry', () => {
    const modprobe = 'options vfio-pci ids=10de:icb6,10de:10f1\n'
    const who = predict({ modprobe, early: [load('vfio-pci'), coldplug()] })
    expect([who('01:00.0').driver, who('01:00.1').driver]).toEqual(['nouveau', 'vfio-pci'])
  })

  it('in a list of more than 1,023 characters keep the module from being loaded', () => {
    const modprobe = `options vfio-pci ids=10de:1c03,${'10de:0001,'.repeat(120)}10de:10f1\n`
    expect(predict({ modprobe, early: [load('vfio-pci'), coldplug()] })('01:00.0').driver).toBe('nouveau')
  })

  it('in an option that vfio-pci does not have, or in single quotes, do not count; in double quotes they do', () => {
    const early = [load('vfio-pci'), coldplug()]
    const driver = (options: string): string | null =>
      predict({ modprobe: `options vfio_pci ${options}\n`, early })('01:00.0').driver
    expect(driver('vfio-pci.ids=10de:1c03,10de:10f1')).toBe('nouveau')
    expect(driver("ids='10de:1c03,10de:10f1'")).toBe('nouveau')
    expect(driver('ids="10de:1c03, 10de:10f1"')).toBe('vfio-pci')
    expect(driver('"ids=10de:1c03,10de:10f1" disable_vga=1')).toBe('vfio-pci')
  })

  it('never take a bridge', () => {
    const modprobe = 'options vfio-pci ids=8086:ffffffff\n'
    const who = predict({ modprobe, early: [load('vfio-pci'), coldplug()] })
    expect(who('00:01.0')).toMatchObject({ driver: 'pcieport', certainty: 'certain' })
  })
})

describe('IDs on the command line', () => {
  const early = [load('vfio-pci'), coldplug()]

  it('win over those of modprobe.d', () => {
    const who = predict({ modprobe: IDS, line: 'quiet vfio-pci.ids=8086:10d3', early })
    expect([who('01:00.0').driver, who('02:00.0').driver]).toEqual(['nouveau', 'vfio-pci'])
    expect(who('02:00.0').because).toBe('/boot/grub/grub.cfg: vfio-pci.ids=8086:10d3')
  })

  it('are lost behind --, which is for init', () => {
    expect(predict({ line: 'quiet -- vfio-pci.ids=8086:10d3', early })('02:00.0').driver).toBe('e1000e')
  })

  it('free the card when they are empty', () => {
    expect(predict({ modprobe: IDS + SOFTDEPS, line: 'vfio-pci.ids=' })('01:00.0').driver).toBe('nouveau')
  })

  it('are read by modprobe of busybox with an underscore only', () => {
    const busybox = true
    expect(predict({ busybox, line: 'vfio-pci.ids=8086:10d3', early })('02:00.0').driver).toBe('e1000e')
    expect(predict({ busybox, line: 'vfio_pci.ids=8086:10d3', early })('02:00.0').driver).toBe('vfio-pci')
  })

  it('lose against options beside the name in the list of an initramfs, which come last', () => {
    const inline = [load('vfio_pci', { options: 'ids=8086:10d3' }), coldplug()]
    const who = predict({ modprobe: IDS, line: 'vfio-pci.ids=10de:1c03', early: inline })
    expect([who('01:00.0').driver, who('02:00.0').driver]).toEqual(['nouveau', 'vfio-pci'])
  })

  it('reach a driver that is built in, before loadable drivers and by its place before others', () => {
    const line = 'vfio-pci.ids=10de:1c03,1912:0014'
    const first = predict({ kernel: kernelWith(['vfio_pci', 'xhci_pci']), line })
    expect([first('01:00.0').driver, first('04:00.0').driver]).toEqual(['vfio-pci', 'vfio-pci'])
    const second = predict({ kernel: kernelWith(['xhci_pci', 'vfio_pci']), line })
    expect(second('04:00.0')).toMatchObject({ driver: 'xhci_hcd', certainty: 'certain' })
    expect(predict({ kernel: kernelWith(['vfio_pci']), modprobe: IDS + SOFTDEPS })('01:00.0').driver).toBe('nouveau')
  })

  it('give pci-stub what they name', () => {
    const early = [load('pci-stub'), load('vfio-pci'), coldplug()]
    const who = predict({ line: 'pci-stub.ids=10de:1c03 vfio-pci.ids=10de:1c03', early })('01:00.0')
    expect(who).toMatchObject({ driver: 'pci-stub', because: '/boot/grub/grub.cfg: pci-stub.ids=10de:1c03' })
  })
})
