import { UserError } from '../../core/error.ts'
import type { Reader } from '../../host/reader.ts'
import { unlessDenied } from '../../host/readings.ts'
import { type ParsedElement, parseDocument } from './document.ts'
import { attribute, child, childrenOf, elementText } from './edit-document.ts'
import { hostAddressOf, hostFunctionsOf, pciAddressOf } from './pci-hostdevs.ts'

/** Who has PCI functions by libvirt's own files. */
export interface FunctionOwners {
  /** By address, as `guest win11` or `libvirt's network sriov`; without the guest that is asked for. */
  owners: Map<string, string[]>
  /** What that guest has. */
  own: ReadonlySet<string>
  /** Networks that give out virtual functions of cards, by the interfaces of these. */
  pools: { name: string; cards: string[] }[]
  /** What could not be read. */
  unseen: string[]
}

/** libvirt's guests and networks: what is defined (of the system), and what runs now (of the machine). */
const FOLDERS = { guests: '/etc/libvirt/qemu', networks: '/etc/libvirt/qemu/networks', running: '/run/libvirt/qemu' }

/** Reads who has PCI functions, beside the guest of this name. Source: https://libvirt.org/formatnetwork.html */
export function readFunctionOwners(files: Reader, machine: Reader, guest: string | undefined): FunctionOwners {
  const found: FunctionOwners & { own: Set<string> } = { owners: new Map(), own: new Set(), pools: [], unseen: [] }
  const note = (address: string, owner: string): void => {
    const known = found.owners.get(address) ?? []
    if (!known.includes(owner)) found.owners.set(address, [...known, owner])
  }
  for (const [reader, folder] of [
    [files, FOLDERS.guests],
    [machine, FOLDERS.running],
  ] as const)
    for (const { root, text } of libvirtDocuments(reader, folder, found.unseen)) {
      const domain = root.name === 'domstatus' ? child(root, 'domain') : root
      const name = ownerName(text, domain)
      for (const one of hostFunctionsOf(child(domain, 'devices'))) {
        const address = hostAddressOf(one) ?? ''
        if (name === guest) found.own.add(address)
        else note(address, `guest ${name}`)
      }
    }
  for (const { root, text } of libvirtDocuments(files, FOLDERS.networks, found.unseen)) {
    const forward = child(root, 'forward')
    if (attribute(forward, 'mode') !== 'hostdev') continue
    const name = ownerName(text, root)
    for (const address of childrenOf(forward, 'address')) note(pciAddressOf(address), `libvirt's network ${name}`)
    const cards = childrenOf(forward, 'pf').flatMap((one) => attribute(one, 'dev') ?? [])
    if (cards.length > 0) found.pools.push({ name, cards })
  }
  return found
}

function ownerName(text: string, element: ParsedElement | undefined): string {
  const name = child(element, 'name')
  return name === undefined ? '?' : elementText(text, name)
}

function libvirtDocuments(reader: Reader, folder: string, unseen: string[]): { root: ParsedElement; text: string }[] {
  const names = unlessDenied(reader, () => reader.list(folder) ?? [], null)
  if (names === null) unseen.push(`${folder}: run as root`)
  return (names ?? [])
    .filter((name) => name.endsWith('.xml'))
    .flatMap((name) => {
      const path = `${folder}/${name}`
      const text = unlessDenied(reader, () => reader.bytes(path)?.toString('utf8') ?? '', null)
      try {
        if (text !== null) return text === '' ? [] : [{ root: parseDocument(text), text }]
      } catch (error) {
        if (!(error instanceof UserError)) throw error
      }
      unseen.push(path)
      return []
    })
}
