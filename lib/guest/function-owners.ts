import { UserError } from '../core/error.ts'
import { readProxmox } from '../host/proxmox-node.ts'
import type { Reader } from '../host/reader.ts'
import { unlessDenied } from '../host/readings.ts'
import { type ParsedElement, parseDocument } from './libvirt/document.ts'
import { attribute, child, childrenOf, elementText } from './libvirt/edit-document.ts'
import { hostAddressOf, hostFunctionsOf, pciAddressOf } from './libvirt/pci-hostdevs.ts'
import { hostpciPlaces } from './proxmox/card-settings.ts'
import { listSettings, parseVmConfig } from './proxmox/vm-config.ts'

/** Who has PCI functions by the files of libvirt and of Proxmox. */
export interface FunctionOwners {
  /** By address, as `guest win11`, `VM 101` or `libvirt's network sriov`; without the guest that is asked for. */
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

/** The VMs of this node of Proxmox. */
const VMS = '/etc/pve/qemu-server'

/**
 * Reads who has PCI functions, beside this guest: `guest win11`, `VM 101`.
 * Source: https://libvirt.org/formatnetwork.html, PVE::QemuServer::PCI (qemu-server).
 */
export function readFunctionOwners(files: Reader, machine: Reader, guest: string | undefined): FunctionOwners {
  const found: FunctionOwners & { own: Set<string> } = { owners: new Map(), own: new Set(), pools: [], unseen: [] }
  const note = (address: string, owner: string): void => {
    if (owner === guest) {
      found.own.add(address)
      return
    }
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
      for (const one of hostFunctionsOf(child(domain, 'devices'))) note(hostAddressOf(one) ?? '', `guest ${name}`)
    }
  for (const { root, text } of libvirtDocuments(files, FOLDERS.networks, found.unseen)) {
    const forward = child(root, 'forward')
    if (attribute(forward, 'mode') !== 'hostdev') continue
    const name = ownerName(text, root)
    for (const address of childrenOf(forward, 'address')) note(pciAddressOf(address), `libvirt's network ${name}`)
    const cards = childrenOf(forward, 'pf').flatMap((one) => attribute(one, 'dev') ?? [])
    if (cards.length > 0) found.pools.push({ name, cards })
  }
  const vms = unlessDenied(files, () => files.list(VMS) ?? [], null)
  if (vms === null) found.unseen.push(`${VMS}: run as root`)
  const mappings = vms === null || vms.length === 0 ? [] : readProxmox(files, machine).pciMappings
  for (const name of vms ?? []) {
    const vmid = /^(\d+)\.conf$/.exec(name)?.[1]
    const text = vmid === undefined ? '' : unlessDenied(files, () => files.optionalText(`${VMS}/${name}`) ?? '', null)
    if (text === null) found.unseen.push(`${VMS}/${name}: run as root`)
    for (const { value } of listSettings(parseVmConfig(text ?? ''), 'hostpci'))
      for (const place of hostpciPlaces(value, mappings))
        for (const address of place.includes('.') ? [place] : functionsOfSlot(place)) note(address, `VM ${vmid}`)
  }
  return found
}

const functionsOfSlot = (slot: string): string[] => [0, 1, 2, 3, 4, 5, 6, 7].map((fn) => `${slot}.${fn}`)

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
