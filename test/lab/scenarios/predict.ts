import { driversOf, expectDrivers } from '../expect.ts'
import { grub, intel } from '../machines.ts'
import type { Scenario } from '../scenario.ts'
import { LabError } from '../shell.ts'
import { type BadBoot, badBoots } from './bad-boots.ts'
import { withSystemd } from './tune-host.ts'

/** Who has what where nothing is configured; '' for nobody. */
export const usual: Record<string, string> = {
  '00:00.0': '',
  '00:04.0': '',
  '00:1f.0': 'lpc_ich',
  '00:1f.2': 'ahci',
  '00:1f.3': 'i801_smbus',
  '01:00.0': 'radeon',
  '01:00.1': 'snd_hda_intel',
  '02:00.0': 'bochs-drm',
  '02:00.1': 'snd_hda_intel',
  '03:00.0': 'bochs-drm',
  '03:00.1': 'snd_hda_intel',
  '04:00.0': 'e1000e',
  '05:00.0': 'e1000e',
  '06:00.0': 'nvme',
  '07:00.0': 'xhci_hcd',
  '09:01.0': 'e1000',
  '09:02.0': 'snd_intel8x0',
  '09:03.0': '',
  '0c:00.0': 'e1000e',
  '0d:00.0': 'bochs-drm',
}

function scenario(name: string, boot: BadBoot): Scenario {
  const { about, machine = grub(intel, 'bios'), generator = 'initramfs-tools', systemd, core, wrote, has } = boot
  return {
    name: `predict-${name}`,
    about,
    slow: !core,
    async run(lab) {
      const disk = await lab.disk(generator)
      if (systemd) await disk.apply('systemd as PID 1', withSystemd)
      await disk.apply('what somebody wrote', wrote)
      const guest = await lab.start(systemd ? { ...machine, cpus: 4, memory: 2048 } : machine, disk)
      await lab.step('as written here', async () => {
        const expected = Object.entries({ ...usual, ...mapValues(has, ([driver]) => driver) })
        const sure = expected.flatMap(([slot, driver]) => (driver === null ? [] : [[`0000:${slot}`, driver]]))
        expectDrivers(await driversOf(guest), Object.fromEntries(sure))
      })
      const foreseen = lab.foreseen()
      if (foreseen === undefined) return
      for (const [slot, [driver, because = /(?:)/]] of Object.entries(has)) {
        const device = foreseen.devices.find(({ address }) => address === `0000:${slot}`)
        const reasons = [device?.because, ...(device?.without ?? [])].join('\n')
        if (driver !== null && (device?.certainty === 'undecided' || !because.test(reasons)))
          throw new LabError(`0000:${slot}: ${because} is not among the reasons of ${JSON.stringify(device)}`)
      }
    },
  }
}

const mapValues = <From, To>(record: Record<string, From>, map: (value: From) => To): Record<string, To> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value)]))

export const predictions: readonly Scenario[] = Object.entries(badBoots).map(([name, boot]) => scenario(name, boot))
