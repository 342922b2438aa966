import type { Remarks } from '../core/versions.ts'
import type { PciDevice } from '../host/pci.ts'
import type { Reader } from '../host/reader.ts'
import { functionNames, stableMac, virtualFunctionsOf } from '../host/sriov.ts'
import { vfMakers } from '../host/vf-makers.ts'
import { readWantedFunctions } from '../host/wanted-functions.ts'

/** A virtual function of a network card, and what its physical function is known to keep for it. */
export interface NetworkFunction {
  address: string
  /** The address of its physical function, and the Ethernet interface of that; `null`: it has none here. */
  physical: string
  interface: string | null
  /** Is that interface on? */
  up: boolean | null
  /** Its number, from 0. */
  index: number
  /** The MAC address that tune-host gives it, or would give it; `null`: not known. */
  mac: string | null
  vlan: number | null
  /** Does tune-host make it? */
  made: boolean
  /** The line of a file by which something else makes it, as `PATH:LINE: TEXT`, if any. */
  maker: string | null
}

/** Is this a virtual function of a network card, so that a guest has it as an interface? */
export function isNetworkFunction(device: PciDevice): boolean {
  return device.physicalFunction !== null && device.class.id.startsWith('02')
}

/** Reads what is known of those devices that are virtual functions of network cards. */
export function readNetworkFunctions(
  machine: Reader,
  files: Reader,
  chosen: readonly PciDevice[],
  devices: readonly PciDevice[],
): NetworkFunction[] {
  return chosen.filter(isNetworkFunction).flatMap((device) => {
    const physical = devices.find(({ address }) => address === device.physicalFunction)
    if (physical === undefined) return []
    const { address } = device
    const names = functionNames(machine, physical)
    const [mac] = names.macs
    const index = virtualFunctionsOf(machine, physical, devices).find((one) => one.device === device)?.index ?? 0
    const wanted = readWantedFunctions(files, physical.address)
    const word = (name: string): string | undefined =>
      wanted?.words.find((each) => each.startsWith(`${index}:${name}=`))?.replace(/^[^=]*=/, '')
    const name = mac === undefined ? null : (names.interfaces[0] ?? null)
    const flags = name === null ? undefined : machine.optionalText(`${physical.path}/net/${name}/flags`)?.trim()
    const vlan = word('vlan')
    return {
      address,
      physical: physical.address,
      interface: name,
      up: flags === undefined ? null : (Number(flags) & 1) === 1,
      index,
      mac: word('mac') ?? (mac === undefined ? null : stableMac(mac, index)),
      vlan: vlan === undefined ? null : Number(vlan),
      made: wanted !== undefined,
      maker: wanted === undefined ? (vfMakers(files, names)[0] ?? null) : null,
    }
  })
}

/** What libvirt sets for the time in which a guest has the function; `null` stands for what it is not told. */
export interface InterfaceOfGuest {
  mac: string | null
  vlan: number | null
}

/**
 * Decides how a guest has the function: as an interface, whose MAC address and VLAN libvirt sets when the guest starts
 * and takes back when it ends, or, without an interface of its card, as a plain device (`null`). libvirt wants the
 * card's interface to be on, and takes a VLAN away that the domain does not name. Source: libvirt, virhostdev.c and
 * virnetdev.c (virNetDevSaveNetConfig, virNetDevSetNetConfig).
 */
export function decideInterface(
  one: NetworkFunction,
  format: 'libvirt' | 'qemu' | 'proxmox',
  { reasons, notes }: Remarks,
): InterfaceOfGuest | null {
  const { address, physical, mac, vlan, made, index } = one
  const said = [...(mac === null ? [] : [`MAC address ${mac}`]), ...(vlan === null ? [] : [`VLAN ${vlan}`])].join(', ')
  if (format !== 'libvirt') {
    const who = format === 'qemu' ? 'QEMU by itself' : 'Proxmox'
    const by = made
      ? `it has what tune-host --vfs has set${said === '' ? '' : ` (${said})`}`
      : `tune-host --vfs ${physical}=N --vf-mac ${index}=MAC --vf-vlan ${index}=VLAN does`
    notes.push(`${address}: ${who} sets no MAC address and no VLAN: ${by}`)
    return null
  }
  if (one.interface === null) {
    notes.push(
      `${address}: its card ${physical} has no Ethernet interface here, by which libvirt would set a MAC address and a VLAN: the guest has it as a plain device`,
    )
    return null
  }
  if (one.up === false)
    notes.push(
      `${address}: ${one.interface} is off, and libvirt starts no guest with a function of it until it is on: ip link set ${one.interface} up, and at every boot by your network's configuration`,
    )
  if (one.maker !== null)
    notes.push(
      `${address}: ${one.maker}: what that gives it of MAC address and VLAN is not known here, and libvirt takes a VLAN away that the XML does not name: write both into the XML`,
    )
  reasons.push(
    `${address}: an interface${said === '' ? '' : ` with ${said}`}${made ? ', as tune-host has it' : ''}; while the guest runs, its XML rules over MAC address and VLAN, and afterwards libvirt puts back what was there`,
  )
  return { mac, vlan }
}
