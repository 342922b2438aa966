import type { PhysicalFunction } from '../host/physical-functions.ts'
import { paint, printable, type TerminalStyle, table } from '../terminal/text.ts'

const COLUMNS = [
  { title: 'NO', align: 'right' },
  { title: 'ADDRESS' },
  { title: 'GROUP', align: 'right' },
  { title: 'DRIVER', least: 8 },
  { title: 'USED BY', least: 8 },
] as const

/** Returns the view of `list-iommu --sriov`: physical functions with what they have and could have. */
export function sriovText(
  style: TerminalStyle,
  functions: readonly PhysicalFunction[],
  address: (address: string) => string,
): string {
  if (functions.length === 0)
    return 'No device can have virtual functions (SR-IOV); if one should, see the firmware setup and its own.\n'
  const parts = functions.map(({ device, name, number, total, autoprobe, obstacle, virtual }) => {
    const count = `${number ?? '?'} of ${total ?? '?'} virtual functions`
    const probe = autoprobe === false ? ', drivers_autoprobe is off' : ''
    const head = `${paint(style, 'bold', address(device))} ${printable(name)}: ${count}${probe}\n`
    const why = obstacle === null ? '' : `  ${printable(obstacle)}\n`
    const rows = virtual.map((one) => [
      { text: String(one.index) },
      { text: address(one.address) },
      { text: one.group === null ? '-' : String(one.group) },
      { text: one.driver ?? '-' },
      { text: one.usedBy.join(', ') || '-' },
    ])
    return head + why + (rows.length === 0 ? '' : table(style, COLUMNS, rows))
  })
  return parts.join('\n')
}
