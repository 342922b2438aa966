import { expectCode, expectSame } from '../expect.ts'
import type { Guest } from '../guest.ts'
import type { Capture, Lab } from '../scenario.ts'

/** The loop that the guides print, groups in numeric order: wiki.archlinux.org, PCI passthrough via OVMF. */
const guide = `for d in $(find /sys/kernel/iommu_groups/ -type l | LC_ALL=C sort -n -k5 -t/); do
  n=\${d#*/iommu_groups/*}; n=\${n%%/*}
  printf 'IOMMU Group %s ' "$n"
  lspci -nns "\${d##*/}"
done`

interface Device {
  address: string
  driver: string | null
  modules: string[] | null
}

/** Driver and modules of each device, a line each: first as `lspci -D -nnk` has them, then as `list-iommu --json`. */
function driversOfLspci(text: string): string {
  const devices = text.split(/\n(?=\S)/).map((device) => {
    const driver = /Kernel driver in use: (.+)/.exec(device)?.[1] ?? 'none'
    const modules = /Kernel modules: (.+)/.exec(device)?.[1]?.split(', ') ?? []
    return `${device.slice(0, 12)} ${driver} ${modules.sort().join(',')}`
  })
  return devices.sort().join('\n')
}

function driversOfJson(text: string): string {
  const json = JSON.parse(text) as { groups: { devices: Device[] }[]; ungrouped: Device[] }
  const devices = [...json.groups.flatMap((group) => group.devices), ...json.ungrouped]
  const lines = devices.map(({ address, driver, modules }) => {
    return `${address} ${driver ?? 'none'} ${[...(modules ?? ['unknown'])].sort().join(',')}`
  })
  return lines.sort().join('\n')
}

/** list-iommu agrees with the loop of the guides, byte for byte, which is returned, and with lspci -nnk. */
export async function compareListIommu(lab: Lab, guest: Guest, { said }: Capture): Promise<string> {
  await lab.step('list-iommu --json has the drivers and modules of lspci -nnk', async () => {
    const lspci = await guest.run('lspci -D -nnk')
    expectSame('drivers and modules', driversOfJson(said), driversOfLspci(lspci.stdout.trim()))
  })
  return lab.step('list-iommu --format lspci is the loop of the guides', async () => {
    const loop = await guest.run(guide)
    const ours = await guest.run('list-iommu --format lspci')
    expectCode('list-iommu --format lspci', ours, 0)
    expectSame('list-iommu --format lspci', ours.stdout, loop.stdout)
    lab.note(`${loop.stdout.trim().split('\n').length} devices`)
    return loop.stdout
  })
}
