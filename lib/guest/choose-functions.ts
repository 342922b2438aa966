import { expectOneDevice } from '../bind/select.ts'
import { UserError } from '../core/error.ts'
import { isVfio, type PciDevice } from '../host/pci.ts'
import type { Reader } from '../host/reader.ts'
import { readSriov, sriovObstacle, virtualFunctionsOf } from '../host/sriov.ts'
import { functionsInUse } from '../host/vf-use.ts'
import { type FunctionOwners, readFunctionOwners } from './function-owners.ts'

/** The machine in which a virtual function is looked for, and for whom. */
interface Search {
  machine: Reader
  files: Reader
  devices: readonly PciDevice[]
  /** The guest that is to have it, `guest win11` or `VM 101`; a function that it has already is the first choice. */
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
  if (texts.length === 0) return { chosen: [], notes: [] }
  const { machine, files, devices, guest } = search
  const owned = readFunctionOwners(files, machine, guest)
  const asked = texts.map((text) => ({ text, device: expectOneDevice(devices, text, `--vf ${text}`) }))
  // What is named itself is not free for a card that is named before it.
  const taken = [...search.taken]
  for (const { text, device } of asked) {
    if (device.physicalFunction === null) continue
    if (taken.includes(device)) throw new UserError('usage', `--vf ${text}: named twice`)
    taken.push(device)
  }
  const notes = new Set<string>()
  const chosen = asked.map(({ text, device }) => {
    if (device.physicalFunction !== null) {
      for (const owner of owned.owners.get(device.address) ?? [])
        notes.add(`${device.address}: ${owner} has it too, and only one of them can run`)
      return device
    }
    const { free, note } = freeFunction(text, device, { ...search, taken }, owned)
    taken.push(free)
    if (note !== null) notes.add(note)
    return free
  })
  return { chosen, notes: [...notes] }
}

function freeFunction(
  text: string,
  physical: PciDevice,
  { machine, files, devices, taken }: Search,
  { owners, own, pools, unseen }: FunctionOwners,
): { free: PciDevice; note: string | null } {
  const { address } = physical
  const sriov = readSriov(machine, physical)
  if (sriov === null || sriov.total === 0)
    throw new UserError(
      'no-sriov',
      `--vf ${text}: ${address} can have no virtual functions; --pci gives the guest all of it`,
    )
  const all = virtualFunctionsOf(machine, physical, devices)
  const obstacle = sriovObstacle(machine, physical)
  if (obstacle !== undefined && (all.length === 0 || isVfio(physical.driver)))
    throw new UserError('no-sriov', `--vf ${text}: ${obstacle}`)
  if (all.length === 0)
    throw new UserError(
      'no-free-function',
      `--vf ${text}: ${address} has no virtual functions yet; make some: tune-host --vfs ${address}=${Math.min(4, sriov.total ?? 4)} --apply`,
    )
  const pool = pools.find(({ cards }) => cards.some((name) => machine.exists(`${physical.path}/net/${name}`)))
  if (pool !== undefined)
    throw new UserError(
      'no-free-function',
      `--vf ${text}: libvirt's network ${pool.name} gives the virtual functions of ${address} out itself: --network network:${pool.name}`,
    )
  const { uses, unreadable } = functionsInUse(
    machine,
    files,
    all.map(({ device }) => device),
  )
  const candidates = all.map(({ device }) => {
    const used = uses.filter((use) => use.address === device.address && !own.has(device.address))
    const holders = [
      ...(taken.includes(device) ? ['this guest, as asked'] : []),
      ...(owners.get(device.address) ?? []),
      ...used.map(({ by }) => by),
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
  const hidden = [...unseen, ...unreadable.map(({ what, root }) => (root ? `${what}: run as root` : what))]
  const note = `${best.device.address} is taken to be free, but who has it is not all seen: ${[...new Set(hidden)].join('; ')}`
  return { free: best.device, note: hidden.length > 0 ? note : null }
}
