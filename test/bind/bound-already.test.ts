// Cards that a person's own settings bind: they stay with what binds them.
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { bind, card, expectRan, override, system, updateGrub } from '../support/bind.ts'
import { snapshotOf, systemDir, textOf, writeIn } from '../support/system.ts'

const ids = '10de:1cb6,10de:0fb9'
const before = ['nouveau', 'nvidia', 'nvidia_drm', 'nvidiafb', 'snd_hda_intel']
/** driverctl's files have an effect by its udev rule and a service of systemd. */
const driverctl = { 'usr/lib/udev/rules.d/05-driverctl.rules': '', 'usr/lib/systemd/systemd': '' }
const softdeps = before.map((name) => `softdep ${name} pre: vfio-pci\n`).join('')

/** The functions are on vfio-pci, as after a boot with the person's settings. */
function held(dir: string, ...addresses: string[]): string {
  for (const address of addresses) {
    const path = `sys/bus/pci/devices/0000:${address}/uevent`
    writeIn(dir, path, (textOf(dir, path) ?? '').replace(/^DRIVER=.*/m, 'DRIVER=vfio-pci'))
  }
  return dir
}
/** Equal network cards: of graphics cards one stays with the host. */
const TWINS = ['03:00.0', '04:00.0']
const CARD = ['02:00.0', '02:00.1']

function expectLeft(dir: string, says: RegExp, run = bind, device = card): void {
  const files = snapshotOf(join(dir, 'etc'))
  const ran = run(dir, device, '--apply', '--no-commands')
  expectRan(ran, 0, says)
  expect(ran.stdout).toMatch(/^Nothing to do: /m)
  expect(snapshotOf(join(dir, 'etc'))).toBe(files)
}

describe('nothing is added to what binds a card', () => {
  it.each<[string, Record<string, string>, RegExp]>([
    [
      'IDs in modprobe.d',
      { 'etc/modprobe.d/vfio.conf': `# mine\noptions vfio-pci ids=${ids}\n${softdeps}` },
      /note: Nothing to do for 0000:02:00\.0: \/etc\/modprobe\.d\/vfio\.conf:2 binds it\./,
    ],
    [
      'IDs on the kernel line',
      {
        'etc/default/grub': `GRUB_CMDLINE_LINUX_DEFAULT="quiet vfio-pci.ids=${ids}"\n`,
        'etc/modprobe.d/order.conf': softdeps,
      },
      /Nothing to do for 0000:02:00\.1: \/etc\/default\/grub:1 binds it\./,
    ],
    [
      'driverctl',
      {
        ...driverctl,
        'etc/driverctl.d/pci-0000:02:00.0': 'vfio-pci\n',
        'etc/driverctl.d/pci-0000:02:00.1': 'vfio-pci\n',
      },
      /Nothing to do for 0000:02:00\.0: \/etc\/driverctl\.d\/pci-0000:02:00\.0:1 binds it\./,
    ],
    [
      'a script of the person',
      {
        'etc/modprobe.d/vfio.conf': 'install vfio-pci /usr/local/bin/vfio-override\n',
        'usr/local/bin/vfio-override':
          '#!/bin/sh\nfor at in 0000:02:00.0 0000:02:00.1; do\n  echo vfio-pci >/sys/bus/pci/devices/$at/driver_override\ndone\nmodprobe -i vfio-pci\n',
      },
      /Nothing to do for 0000:02:00\.0: \/usr\/local\/bin\/vfio-override:2 binds it\./,
    ],
  ])('%s', (_, files, says) => {
    const dir = held(systemDir({ ...system, files }), ...CARD)
    updateGrub(dir)
    expectLeft(dir, says)
  })

  it('a complete set of IDs and softdeps, whatever has the card now', () => {
    const files = { 'etc/modprobe.d/vfio.conf': `options vfio-pci ids=${ids}\n${softdeps}` }
    expectLeft(systemDir({ ...system, files }), /vfio\.conf:1 binds it/)
  })

  it('an ID that both twins have, while both are on vfio-pci', () => {
    const loaded = { 'etc/initramfs-tools/modules': 'vfio-pci\n' }
    const files = { 'etc/modprobe.d/vfio.conf': 'options vfio-pci ids=8086:1533\n', ...loaded }
    const dir = systemDir({ machine: 'twin-gpus', files })
    expectLeft(held(dir, ...TWINS), /vfio\.conf:1 binds it/, bind, '04:00')
    expectLeft(dir, /vfio\.conf:1 binds it/, override, '04:00')
  })
})

describe('what does not bind it is no reason to leave it', () => {
  it.each<[string, Record<string, string>]>([
    ['IDs without a softdep', { 'etc/modprobe.d/vfio.conf': `options vfio-pci ids=${ids}\n` }],
    ['driverctl’s files, and no driverctl', { 'etc/driverctl.d/pci-0000:02:00.0': 'vfio-pci\n' }],
    ['driverctl for another', { 'etc/driverctl.d/pci-0000:03:00.0': 'vfio-pci\n' }],
    ['IDs of another', { 'etc/modprobe.d/vfio.conf': `options vfio-pci ids=8086:1533\n${softdeps}` }],
  ])('%s', (_, files) => expectRan(bind(systemDir({ ...system, files }), card), 1, /Nothing was written/))

  it('an ID that both twins have, while an override gave them to vfio-pci until the next boot', () => {
    const files = { 'etc/modprobe.d/vfio.conf': 'options vfio-pci ids=8086:1533\n' }
    const dir = held(systemDir({ machine: 'twin-gpus', files }), ...TWINS)
    for (const at of TWINS) writeIn(dir, `sys/bus/pci/devices/0000:${at}/driver_override`, 'vfio-pci\n')
    expectRan(bind(dir, '04:00'), 1, /\+ \/etc\/vfio-scripts\/override/)
  })

  it('an ID of a twin that the host has', () => {
    const files = { 'etc/modprobe.d/vfio.conf': 'options vfio-pci ids=8086:1533\n' }
    const dir = held(systemDir({ machine: 'twin-gpus', files }), '04:00.0')
    expect(bind(dir, '04:00').stdout).not.toContain('Nothing to do')
  })

  it('a card of which one function is left out: that alone is added', () => {
    const files = { ...driverctl, 'etc/driverctl.d/pci-0000:02:00.0': 'vfio-pci\n' }
    const ran = bind(held(systemDir({ ...system, files }), '02:00.0'), card)
    expectRan(ran, 1, /Nothing to do for 0000:02:00\.0/)
    expect(ran.stdout).toContain('ids=10de:0fb9')
    expect(ran.stdout).not.toContain('10de:1cb6,')
  })
})
