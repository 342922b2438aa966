import { isVfio, type PciDevice } from '../host/pci.ts'
import { printable, shorten } from '../terminal/text.ts'
import { deviceName } from './devices.ts'
import type { TreeNode, TreeRoot } from './pci-tree.ts'

const ROW = 28
const INDENT = 26
const MARGIN = 16
/** The width of a character of the 13 px monospace text, a little generous: viewers differ in fonts. */
const CHARACTER = 8
const PILL = { gap: 8, pad: 8, height: 16 }

/** The marks at the end of a box, which decide whether a guest may have the device. */
const MARKS = {
  boot: { fill: '#ffd33d', ink: '#1f2328' },
  bound: { fill: '#1a7f37', ink: '#ffffff' },
  driver: { fill: '#ffffff', ink: '#57606a' },
}

interface TreeRow {
  x: number
  y: number
  /** The row of the parent's box, whose line comes down to this one. */
  parent: { x: number; y: number } | undefined
  node: TreeNode | undefined
  label: string
  marks: { text: string; kind: keyof typeof MARKS }[]
}

/** Returns the PCI tree as a picture: a box for each device, boxes of one IOMMU group in one colour. */
export function treeSvg(roots: readonly TreeRoot[], address: (address: string) => string): string {
  const rows: TreeRow[] = []
  const place = (node: TreeNode, depth: number, parent: TreeRow): void => {
    const { device } = node
    const name = shorten(`${device.class.name ?? `Class ${device.class.id}`}: ${deviceName(device)}`, 88)
    const label = printable(`${address(device.address)}  ${name} [${device.vendor.id}:${device.device.id}]`)
    const row = { x: MARGIN + depth * INDENT, y: rows.length * ROW, parent, node, label, marks: marksOf(device) }
    rows.push(row)
    for (const child of node.children) place(child, depth + 1, row)
  }
  for (const { bus, children } of roots) {
    const row: TreeRow = {
      x: MARGIN,
      y: rows.length * ROW,
      parent: undefined,
      node: undefined,
      label: `PCI root bus ${bus}`,
      marks: [],
    }
    rows.push(row)
    for (const child of children) place(child, 1, row)
  }
  const top = 60
  const badge = 84
  const width = Math.max(
    740,
    ...rows.map((row) => row.x + badge + 12 + row.label.length * CHARACTER + marksWidth(row) + MARGIN),
  )
  const height = top + rows.length * ROW + MARGIN
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="ui-monospace, 'DejaVu Sans Mono', monospace" font-size="13">`,
    '<title>PCI devices by IOMMU group</title>',
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    `<text x="${MARGIN}" y="28" font-size="16" font-weight="bold" fill="#1f2328">PCI devices by IOMMU group</text>`,
    `<text x="${MARGIN}" y="46" fill="#57606a">One colour is one group, which goes to a guest as a whole. Dashed: bridges, which stay.</text>`,
    ...LEGEND,
    ...rows.map((row) => connector(row, top)),
    ...rows.map((row) => box(row, top, width, badge)),
    '</svg>',
    '',
  ].join('\n')
}

function connector({ x, y, parent }: TreeRow, top: number): string {
  if (parent === undefined) return ''
  const from = parent.x + 10
  const middle = top + y + ROW / 2
  return `<path d="M${from} ${top + parent.y + ROW - 3}V${middle}H${x}" fill="none" stroke="#8c959f"/>`
}

function box({ x, y, node, label, marks }: TreeRow, top: number, width: number, badge: number): string {
  const baseline = top + y + 19
  if (node === undefined)
    return `<text x="${x}" y="${baseline}" font-weight="bold" fill="#57606a">${escapeXml(label)}</text>`
  const { group, bridge } = node.device
  const [fill, stroke, ink] = colors(group)
  const title = [label, ...marks.map(({ text }) => text)].join(', ')
  const dash = bridge ? ' stroke-dasharray="4 3"' : ''
  return [
    `<g><title>${escapeXml(title)}</title>`,
    `<rect x="${x}" y="${top + y + 3}" width="${width - x - MARGIN}" height="${ROW - 6}" rx="5" fill="${fill}" stroke="${stroke}"${dash}/>`,
    `<text x="${x + 8}" y="${baseline}" font-weight="bold" fill="${ink}">${group === null ? 'no group' : `group ${group}`}</text>`,
    `<text x="${x + badge + 8}" y="${baseline}" fill="${bridge ? '#57606a' : '#1f2328'}">${escapeXml(label)}</text>`,
    pills(marks, width - MARGIN - PILL.gap, top + y + (ROW - PILL.height) / 2),
    '</g>',
  ].join('')
}

/** Returns what is marked of a device: the display of the firmware, and the driver, green where it holds it for guests. */
function marksOf({ bootVga, driver }: PciDevice): TreeRow['marks'] {
  const boot = bootVga ? [{ text: 'boot VGA', kind: 'boot' as const }] : []
  if (driver === null) return boot
  return [...boot, { text: printable(driver), kind: isVfio(driver) ? 'bound' : 'driver' }]
}

function pillWidth(text: string): number {
  return text.length * CHARACTER + 2 * PILL.pad - 4
}

function marksWidth({ marks }: TreeRow): number {
  return marks.reduce((sum, { text }) => sum + pillWidth(text) + PILL.gap, PILL.gap)
}

/** Returns marks side by side, the last of them ending at `right`. */
function pills(marks: TreeRow['marks'], right: number, y: number): string {
  let end = right
  return [...marks]
    .reverse()
    .map(({ text, kind }) => {
      const width = pillWidth(text)
      const x = end - width
      end = x - PILL.gap
      return pill(text, kind, x, y)
    })
    .join('')
}

function pill(text: string, kind: keyof typeof MARKS, x: number, y: number): string {
  const { fill, ink } = MARKS[kind]
  const edge = kind === 'driver' ? ' stroke="#d0d7de"' : ''
  return `<rect x="${x}" y="${y}" width="${pillWidth(text)}" height="${PILL.height}" rx="8" fill="${fill}"${edge}/><text x="${x + pillWidth(text) / 2}" y="${y + 12.5}" font-size="12" text-anchor="middle" fill="${ink}">${escapeXml(text)}</text>`
}

const LEGEND = [
  pill('boot VGA', 'boot', 330, 16),
  pill('bound for guests', 'bound', 418, 16),
  pill('driver of the host', 'driver', 570, 16),
]

/** Returns a group's colours; neighbouring numbers get distant hues, by steps of the golden angle. */
function colors(group: number | null): [fill: string, stroke: string, ink: string] {
  if (group === null) return ['#f6f8fa', '#8c959f', '#57606a']
  const hue = Math.round((group * 137.508) % 360)
  return [`hsl(${hue}, 70%, 90%)`, `hsl(${hue}, 50%, 50%)`, `hsl(${hue}, 70%, 27%)`]
}

/** Returns a text as it stands in XML or HTML. */
export function escapeXml(text: string): string {
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }
  return text.replace(/[&<>"]/g, (character) => entities[character] ?? character)
}
