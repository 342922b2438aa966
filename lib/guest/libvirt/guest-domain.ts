import { UserError } from '../../core/error.ts'
import type { Reader } from '../../host/reader.ts'
import { attribute, child, childrenOf, elementText } from './edit-document.ts'
import { devicesOf, parseDomain } from './edit-domain.ts'
import { hostAddressOf } from './pci-hostdevs.ts'

/** What a guest of libvirt is known by, and the PCI functions of the host that it has. */
export interface GuestDomain {
  uuid: string
  /** The addresses of its PCI hostdevs: `0000:01:00.0`. */
  functions: string[]
  /** The host's CPUs that its virtual CPUs are pinned to, as a list (`2-5`); empty: to none. */
  pinned: string
}

const DOMAINS = '/etc/libvirt/qemu'

/**
 * Reads a guest's own file of libvirt; `undefined` where this system has no libvirt. Throws a UserError: `no-guest`
 * where libvirt has none of this name, `malformed` for a file that is no domain.
 */
export function readDomain(files: Reader, guest: string): GuestDomain | undefined {
  if (!files.exists('/etc/libvirt')) return undefined
  const text = files.text(`${DOMAINS}/${guest}.xml`)
  if (text === undefined) {
    const names = (files.list(DOMAINS) ?? []).flatMap((name) => /^(.+)\.xml$/.exec(name)?.[1] ?? [])
    throw new UserError(
      'no-guest',
      `${guest}: libvirt has no guest of this name; ${names.length > 0 ? `there is ${names.join(', ')}` : 'define one first (gen-domain makes it, virsh define takes it)'}`,
    )
  }
  const uuid = child(parseDomain(text), 'uuid')
  if (uuid === undefined) throw new UserError('malformed', `${DOMAINS}/${guest}.xml: has no <uuid>`)
  return { uuid: elementText(text, uuid).toLowerCase(), functions: hostdevAddresses(text), pinned: pinnedTo(text) }
}

function pinnedTo(text: string): string {
  const pins = childrenOf(child(parseDomain(text), 'cputune'), 'vcpupin')
  return pins.flatMap((one) => attribute(one, 'cpuset') ?? []).join(',')
}

function hostdevAddresses(text: string): string[] {
  return childrenOf(devicesOf(text), 'hostdev').flatMap((one) => hostAddressOf(one) ?? [])
}
