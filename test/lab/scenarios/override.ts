import type { Generator } from '../contents.ts'
import { type Drivers, driversOf, expectCode, expectDrivers, expectNeverProbed, expectSame } from '../expect.ts'
import { amd, grub, intel, type Machine } from '../machines.ts'
import type { Disk, Lab, Scenario } from '../scenario.ts'
import { LabError } from '../shell.ts'
import { append, listing } from './bind-vfio.ts'

// One of two equal displays, one of two equal network cards, and a third such card behind the switch.
const chosen = '03:00 05:00 0c:00'
const bound: Record<string, string> = {
  '0000:03:00.0': 'bochs-drm',
  '0000:03:00.1': 'snd_hda_intel',
  '0000:05:00.0': 'e1000e',
  '0000:0c:00.0': 'e1000e',
}
const twins = {
  '0000:02:00.0': 'bochs-drm',
  '0000:02:00.1': 'snd_hda_intel',
  '0000:04:00.0': 'e1000e',
  '0000:0d:00.0': 'bochs-drm',
}

function expectBound(drivers: Drivers): void {
  expectDrivers(drivers, Object.fromEntries(Object.keys(bound).map((address) => [address, 'vfio-pci'])))
  for (const [address, driver] of Object.entries(bound)) expectNeverProbed(drivers, address, driver)
  expectDrivers(drivers, twins)
}

function expectLog({ log }: Drivers, says: RegExp): void {
  if (!says.test(log)) throw new LabError(`the kernel log does not say ${says}`)
}

/** With a card in another port, and without the script. */
async function bootedOtherwise(lab: Lab, machine: Machine, disk: Disk): Promise<void> {
  const moved = await lab.start({ ...machine, moved: { nicB: '03.1' } }, disk)
  await lab.step('a card in another port stays with the host, the others are taken, and the log says why', async () => {
    const drivers = await driversOf(moved)
    const taken = Object.keys(bound).filter((address) => address !== '0000:05:00.0')
    expectDrivers(drivers, { ...twins, ...Object.fromEntries(taken.map((address) => [address, 'vfio-pci'])) })
    const held = [...drivers.driver].filter(([address, driver]) => driver === 'vfio-pci' && !taken.includes(address))
    if (held.length > 0) throw new LabError(`taken too: ${held.map(([address]) => address).join(', ')}`)
    expectLog(drivers, /vfio-scripts: nothing is taken: 0000:\S+ is /)
  })
  await lab.step('--status says where it is now', async () => {
    const said = await moved.run('override-same-id-gpu --status', { seconds: 600 })
    expectCode('--status', said, 1, /: moved.*moved to 0000:.*--undo .*then bind/s)
  })
  await moved.end()

  await disk.apply('the line edited in the menu', append('vfio_scripts.override=off'))
  const skipped = await lab.start(machine, disk)
  await lab.step('vfio_scripts.override=off skips it for one boot', async () => {
    const drivers = await driversOf(skipped)
    expectDrivers(drivers, { ...bound, ...twins })
    expectLog(drivers, /vfio-scripts: skipped/)
  })
  await skipped.end()
}

async function loop(lab: Lab, machine: Machine, generator: Generator, bootsMore: boolean): Promise<void> {
  const { folder } = await lab.capture(machine, 'list-iommu')
  const env = { CAPTURE: folder }
  const disk = await lab.disk(generator)
  const before = await disk.apply('/etc listed', listing)
  const apply = `override-same-id-gpu --root "$ROOT" --machine "$CAPTURE" ${chosen} --apply`
  await disk.apply('override-same-id-gpu --apply', apply, env)
  await disk.apply('a second time changes nothing', `${apply} | grep -q '^Nothing to do'`, env)

  const guest = await lab.start(machine, disk)
  await lab.step('exactly the chosen ones are on vfio-pci, and were never on a host driver', async () =>
    expectBound(await driversOf(guest)),
  )
  await lab.step('--status is 0', async () => {
    expectCode('--status', await guest.run('override-same-id-gpu --status', { seconds: 600 }), 0, /: bound/)
  })
  await guest.end()

  if (bootsMore) await bootedOtherwise(lab, machine, disk)

  await disk.apply('undone', 'override-same-id-gpu --root "$ROOT" --undo --apply')
  expectSame('/etc and dracut after the undo', (await disk.apply('/etc listed', listing)).stdout, before.stdout)
}

function scenario(machine: Machine, generator: Generator, slow: boolean): Scenario {
  const name = `override-${machine.iommu}-${machine.boot}${generator === 'dracut' ? '-dracut' : ''}`
  const about = `override-same-id-gpu, ${generator}: twins, ${slow ? 'a moved card, the kernel argument, ' : ''}undo`
  return { name, about, slow, run: (lab) => loop(lab, machine, generator, slow) }
}

export const override: readonly Scenario[] = [
  scenario(grub(intel, 'uefi'), 'initramfs-tools', false),
  scenario(grub(intel, 'bios'), 'initramfs-tools', true),
  scenario(grub(amd, 'bios'), 'dracut', true),
]
