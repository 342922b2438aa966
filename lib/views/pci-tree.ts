import { domainOf, type PciDevice } from '../host/pci.ts'
import { paint, printable, shorten, type TerminalStyle } from '../terminal/text.ts'
import { deviceName } from './devices.ts'

export interface TreeNode {
  device: PciDevice
  children: TreeNode[]
}

/** A root bus (`0000:00`) and the devices on it. */
export interface TreeRoot {
  bus: string
  children: TreeNode[]
}

/** Returns the PCI tree of the selected devices and of the bridges above them. */
export function pciTree(all: readonly PciDevice[], selected: readonly PciDevice[]): TreeRoot[] {
  const byAddress = new Map(all.map((device) => [device.address, device]))
  const required = new Set<PciDevice>()
  for (const device of selected) {
    let at: PciDevice | undefined = device
    while (at !== undefined && !required.has(at)) {
      required.add(at)
      at = at.parent === null ? undefined : byAddress.get(at.parent)
    }
  }
  const nodes = new Map<string, TreeNode>()
  for (const device of all) if (required.has(device)) nodes.set(device.address, { device, children: [] })
  const roots = new Map<string, TreeRoot>()
  for (const node of nodes.values()) {
    const parent = node.device.parent === null ? undefined : nodes.get(node.device.parent)
    if (parent !== undefined) {
      parent.children.push(node)
      continue
    }
    const bus = /\/pci([0-9a-f]+:[0-9a-f]{2})\//.exec(node.device.path)?.[1] ?? domainOf(node.device.address)
    const root = roots.get(bus) ?? { bus, children: [] }
    root.children.push(node)
    roots.set(bus, root)
  }
  return [...roots.values()]
}

/** Returns the tree as text: one device a line, with its group and driver. */
export function treeText(
  style: TerminalStyle,
  roots: readonly TreeRoot[],
  address: (address: string) => string,
): string {
  const lines: string[] = []
  const add = (nodes: readonly TreeNode[], indent: string): void => {
    nodes.forEach(({ device, children }, index) => {
      const last = index === nodes.length - 1
      const group = device.group === null ? 'no group' : `group ${device.group}`
      const head = `${indent}${last ? '└─ ' : '├─ '}${address(device.address)}  `
      const tail = `  ${device.vendor.id}:${device.device.id}  ${group}${device.driver === null ? '' : `  ${device.driver}`}`
      const name = printable(`${device.class.name ?? `Class ${device.class.id}`}: ${deviceName(device)}`)
      const room = style.columns === undefined ? name.length : Math.max(12, style.columns - head.length - tail.length)
      lines.push(
        head +
          paint(style, device.bridge ? 'dim' : undefined, shorten(name, room)) +
          paint(style, 'cyan', printable(tail)),
      )
      add(children, indent + (last ? '   ' : '│  '))
    })
  }
  for (const { bus, children } of roots) {
    lines.push(paint(style, 'bold', bus))
    add(children, '')
  }
  return lines.map((line) => `${line}\n`).join('')
}
