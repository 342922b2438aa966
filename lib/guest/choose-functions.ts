import { parseSelector } from '../bind/select.ts'
import { UserError } from '../core/error.ts'
import { isVfio, type PciDevice } from '../host/pci.ts'
import type { Reader } from '../host/reader.ts'
import { readSriov, sriovObstacle, virtualFunctionsOf } from '../host/sriov.ts'
import { functionsInUse } from '../host/vf-use.ts'
import { readFunctionOwners } from './libvirt/function-owners.ts'

/** The machine in which a virtual function is looked for, and for whom. */
interface Search {
  machine: Reader
  files: Reader
  devices: readonly PciDevice[]
  /** The name of the guest that is to have it; a function that it has already is the first choice. */
  guest: string | undefined
  /** Functions that are chosen already. */
  taken: readonly PciDevice[]
}

/**
 * Chooses a virtual function for each text: a free one of the physical function that it names, or the one that it names
 * itself. Returns notes on what could not be seen, too. Throws a UserError: `usage`, `no-device`, `no-sriov`,
 * `no-free-function`.
 */
export function chooseFunctions(texts: readonly string[], search: Search): { chosen: PciDevice[]; notes: string[] } {
  const notes = new Set<string>()
  const chosen: PciDevice[] = []
  for (const text of texts) {
    const named = expectOne(text, search.devices)
    const taken = [...search.taken, ...chosen]
    if (named.physicalFunction === null) {
      const { device, note } = freeFunction(text, named, { ...search, taken })
      chosen.push(device)
      if (note !== null) notes.add(note)
      continue
    }
    if (taken.includes(named)) throw new UserError('usage', `--vf ${text}: named twice`)
    const { owners } = readFunctionOwners(search.files, search.machine, search.guest)
    for (const owner of owners.get(named.address) ?? [])
      notes.add(`${named.address}: ${owner} has it too, and only one of them can run`)
    chosen.push(named)
  }
  return { chosen, notes: [...notes] }
}

function expectOne(text: string, devices: readonly PciDevice[]): PciDevice {
  const [device, ...more] = devices.filter(parseSelector(text).matches)
  if (device === undefined)
    throw new UserError(
      'no-device',
      `--vf ${text}: no such device on this machine; list-iommu --sriov shows what there is`,
    )
  if (more.length > 0)
    throw new UserError('usage', `--vf ${text}: several functions; name the card's physical one, as ${device.address}`)
  return device
}

function freeFunction(text: string, physical: PciDevice, search: Search): { device: PciDevice; note: string | null } {
  const { machine, files, devices, taken, guest } = search
  const { address } = physical
  const sriov = readSriov(machine, physical)
  if (sriov === null || sriov.total === 0)
    throw new UserError(
      'no-sriov',
      `--vf ${text}: ${address} can have no virtual functions; --pci gives the guest all of it`,
    )
  const all = virtualFunctionsOf(machine, physical, devices)
  const obstacle = sriovObstacle(physical)
  if (obstacle !== undefined && (all.length === 0 || isVfio(physical.driver)))
    throw new UserError('no-sriov', `--vf ${text}: ${obstacle}`)
  if (all.length === 0)
    throw new UserError(
      'no-free-function',
      `--vf ${text}: ${address} has no virtual functions yet; make some: tune-host --vfs ${address}=${Math.min(4, sriov.total ?? 4)} --apply`,
    )
  const { owners, own, pools, unseen } = readFunctionOwners(files, machine, guest)
  const pool = pools.find(({ cards }) => cards.some((name) => machine.exists(`${physical.path}/net/${name}`)))
  if (pool !== undefined)
    throw new UserError(
      'no-free-function',
      `--vf ${text}: libvirt's network ${pool.name} gives the virtual functions of ${address} out itself: --network network:${pool.name}`,
    )
  const candidates = all.map(({ device }) => {
    const use = functionsInUse(machine, files, [device])
    unseen.push(...use.unreadable.map(({ what, root }) => (root ? `${what}: run as root` : what)))
    const holders = [
      ...(taken.includes(device) ? ['this guest, as asked'] : []),
      ...(owners.get(device.address) ?? []),
      ...(own.has(device.address) ? [] : use.evidence.map((line) => line.replace(/^\S+ → /, ''))),
    ]
    // First what this guest has already, then what is set aside for guests, then what no driver has.
    const rank = own.has(device.address) ? 0 : isVfio(device.driver) ? 1 : device.driver === null ? 2 : 3
    return { device, holders, rank }
  })
  const [best] = candidates.filter(({ holders }) => holders.length === 0).sort((one, other) => one.rank - other.rank)
  if (best === undefined)
    throw new UserError(
      'no-free-function',
      `--vf ${text}: none of the ${all.length} virtual functions of ${address} is free; take one from a guest, or make more: tune-host --vfs ${address}=N (${sriov.total ?? 'unknown'} at most)`,
      candidates.map(({ device, holders }) => `${device.address}: ${holders.join(', ')}`),
    )
  const note = `${best.device.address} is taken to be free, but who has it is not all seen: ${[...new Set(unseen)].join('; ')}`
  return { device: best.device, note: unseen.length > 0 ? note : null }
}
