import { readDeviceNodes, readOpenFiles } from './open-nodes.ts'
import type { PciDevice } from './pci.ts'
import type { Reader } from './reader.ts'
import { readSriov, type Sriov, sriovObstacle, virtualFunctionsOf } from './sriov.ts'

/** A physical function, as `list-iommu --sriov --json` prints it. */
export interface PhysicalFunction extends Sriov {
  /** Its address. */
  device: string
  name: string
  driver: string | null
  /** Why its driver can make no virtual functions; `null` where it may. */
  obstacle: string | null
  virtual: {
    index: number
    address: string
    group: number | null
    driver: string | null
    /** The guests and processes that have it open: `guest win11`, `dpdk[812]`; `?`: not seen. */
    usedBy: string[]
  }[]
}

/** Reads the physical functions among the selected devices, and who uses their virtual functions. */
export function readPhysicalFunctions(
  reader: Reader,
  selected: readonly PciDevice[],
  devices: readonly PciDevice[],
  nameOf: (device: PciDevice) => string,
): PhysicalFunction[] {
  const found = selected.flatMap((device) => {
    const sriov = readSriov(reader, device)
    return sriov === null ? [] : [{ device, sriov, virtual: virtualFunctionsOf(reader, device, devices) }]
  })
  const nodes = readDeviceNodes(
    reader,
    found.flatMap(({ virtual }) => virtual.map((one) => one.device)),
  )
  const { found: open, unseen } = readOpenFiles(reader, new Set(nodes.map(({ node }) => node)))
  const users = (address: string): string[] => {
    const own = nodes.filter((one) => one.address === address).map(({ node }) => node)
    const holders = open.filter(({ target }) => own.includes(target))
    if (holders.length === 0 && own.length > 0 && unseen.length > 0) return ['?']
    return [...new Set(holders.map(({ pid, process }) => guestName(reader, pid) ?? `${process}[${pid}]`))]
  }
  return found.map(({ device, sriov, virtual }) => ({
    device: device.address,
    name: nameOf(device),
    driver: device.driver,
    obstacle: sriovObstacle(reader, device) ?? null,
    ...sriov,
    virtual: virtual.map(({ index, device: { address, group, driver } }) => {
      return { index, address, group, driver, usedBy: users(address) }
    }),
  }))
}

/** Returns the name that libvirt or a script gave the guest of this process: `-name guest=win11,debug-threads=on`. */
function guestName(reader: Reader, pid: number): string | undefined {
  const words = (reader.optionalText(`/proc/${pid}/cmdline`) ?? '').split('\0')
  const name = words[words.indexOf('-name') + 1]
  return words.includes('-name') && name !== undefined
    ? `guest ${name.replace(/^guest=/, '').split(',')[0]}`
    : undefined
}
