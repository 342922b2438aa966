import { findListedIds } from '../edit/listed-ids.ts'
import { moduleName } from '../edit/modprobe.ts'
import { coversId, findIds } from '../edit/modprobe-conflicts.ts'
import { readDriverOverrides } from '../host/driver-overrides.ts'
import type { Reader } from '../host/reader.ts'
import type { BindFacts } from './bind-facts.ts'
import type { FunctionBinding, Mechanism } from './mechanism.ts'

// Other settings that hand the selected functions to another driver, or keep the module from being loaded.

/** A line of a file, and what speaks against the binding in it. */
export interface Rival {
  file: string
  line: number
  what: string
}

type RivalFacts = Pick<BindFacts, 'host' | 'configured' | 'modprobe' | 'initramfs'>

/** Returns the settings that have another holder for the functions, or that keep the mechanism's module out. */
export function findRivals(facts: RivalFacts, mechanism: Mechanism, bound: readonly FunctionBinding[]): Rival[] {
  return [
    ...stubLists(facts, mechanism, bound),
    ...refusedModules(facts, mechanism, bound),
    ...readDriverOverrides(facts.host.files)
      .filter(({ driver }) => moduleName(driver) !== moduleName(mechanism.module))
      .filter(({ address }) => bound.some(({ device }) => device.address === address))
      .map(({ file, address, driver }) => {
        const what = `driverctl gives ${address} to ${driver} (driverctl unset-override ${address} clears it)`
        return { file, line: 1, what }
      }),
  ]
}

/** Returns notes on the functions that driverctl keeps on vfio-pci, whatever else is taken back. */
export function overrideNotes(files: Reader, addresses: readonly string[]): string[] {
  return readDriverOverrides(files)
    .filter(({ address, driver }) => addresses.includes(address) && /^(vfio[-_]pci|pci[-_]stub)$/.test(driver))
    .map(
      ({ file, address, driver }) =>
        `${file}: driverctl keeps ${address} on ${driver}: driverctl unset-override ${address} clears it.`,
    )
}

/** Returns the lists by which pci-stub would have the functions that are for vfio-pci: on pci-stub no guest gets them. */
function stubLists(facts: RivalFacts, mechanism: Mechanism, bound: readonly FunctionBinding[]): Rival[] {
  if (mechanism.module === 'pci-stub') return []
  const { host, configured, modprobe, initramfs } = facts
  const listed = initramfs.adapter?.modulesWithOptions
  const text = listed === undefined ? undefined : host.files.optionalBytes(listed)?.toString('latin1')
  const beside = findListedIds(text ?? '', 'pci-stub').map(({ line, members }) => ({
    file: listed ?? '',
    line,
    ids: members,
  }))
  const onLine = configured
    .filter(({ name }) => name === 'pci_stub.ids')
    .map(({ file, line, value = '' }) => ({ file, line, ids: value.split(','), from: 'pci-stub.ids=' }))
  const inFiles = [...findIds(modprobe, 'pci-stub'), ...beside]
  return [...onLine, ...inFiles.map((one) => ({ ...one, from: 'the ids= of pci-stub' }))].flatMap(
    ({ file, line, ids, from }) =>
      bound
        .filter(({ id }) => ids.some((one) => coversId(one, id)))
        .map(({ device, id }) => {
          const what = `pci-stub takes ${device.address}, and vfio-pci does not get it: take ${id} out of ${from}`
          return { file, line, what }
        }),
  )
}

const PARTS = ['vfio_pci', 'vfio_pci_core', 'vfio', 'vfio_iommu_type1']

/** Returns what keeps the module out whatever loads it. Blacklists bite by who loads it: the prediction names those. */
function refusedModules(
  { configured }: RivalFacts,
  { module, byArgument, byModule }: Mechanism,
  bound: readonly FunctionBinding[],
): Rival[] {
  const own = moduleName(module)
  const parts = own === 'vfio_pci' ? PARTS : [own]
  // Where every kernel has it built in, nothing loads it.
  if (bound.length === 0 || (byArgument && !byModule)) return []
  const refused = configured.filter(({ name }) => name === 'module_blacklist')
  // Of several such arguments of a boot the last one counts.
  const counting = refused.filter(
    ({ entry }, index) => !refused.slice(index + 1).some((later) => later.entry === entry),
  )
  return counting.flatMap(({ file, line, token, value = '' }) => {
    // The kernel compares with its own names, which have `_`.
    const named = value.split(',').find((each) => parts.includes(each))
    return named === undefined
      ? []
      : { file, line, what: `${token} keeps ${named} out, whatever loads it: take it out` }
  })
}
