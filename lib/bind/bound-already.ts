import { claimsOf } from '../change/journal.ts'
import { coversId, findIds, loadedBefore } from '../edit/modprobe-conflicts.ts'
import { readDriverOverrides } from '../host/driver-overrides.ts'
import { isStub, isVfio, type PciDevice } from '../host/pci.ts'
import type { Reader } from '../host/reader.ts'
import type { BindFacts } from './bind-facts.ts'

// Functions that a person's own settings bind: they stay with what binds them, without a second mechanism.

/** A function, and the place that binds it: `/etc/modprobe.d/vfio.conf:2`. */
export interface BoundAlready {
  device: PciDevice
  place: string
}

/**
 * Returns the selected functions that settings of the person bind at each boot: a list of IDs, driverctl, or a program
 * that names the address. vfio-pci has them now or, with a list of IDs, each module that could claim them comes after
 * vfio-pci by a softdep; a list that would take a device which stays with the host binds none. What we set up is none of
 * it.
 */
export function boundAlready(
  facts: BindFacts,
  all: readonly PciDevice[],
  selected: readonly PciDevice[],
): BoundAlready[] {
  const ours = new Set(claimsOf(facts.journal, 'binding').map(({ owner }) => owner))
  let programs: ProgramText[] | undefined
  return selected.flatMap((device) => {
    if (ours.has(device.address)) return []
    const held = isVfio(device.driver) && !isStub(device.driver)
    const place =
      listPlace(facts, all, selected, device, held) ?? (held ? overridePlace(facts.host.files, device) : undefined)
    if (place === undefined && held) {
      programs ??= programsIn(facts.host.files)
      const program = programPlace(programs, device)
      return program === undefined ? [] : [{ device, place: program }]
    }
    return place === undefined ? [] : [{ device, place }]
  })
}

/** Returns the note that tells a person what binds a function. */
export function boundNote({ device, place }: BoundAlready): string {
  return `Nothing to do for ${device.address}: ${place} binds it.`
}

/** Returns the place of the list of IDs that counts: the last on the kernel's line, else the last in modprobe.d. */
function listPlace(
  { configured, modprobe, host, candidateModules }: BindFacts,
  all: readonly PciDevice[],
  selected: readonly PciDevice[],
  device: PciDevice,
  bound: boolean,
): string | undefined {
  // With an override it was not the list that gave it to vfio-pci.
  const held = bound && host.machine.optionalText(`${device.path}/driver_override`)?.trim() !== 'vfio-pci'
  const onLine = configured.filter(({ name, sure }) => name === 'vfio_pci.ids' && sure).at(-1)
  const list =
    onLine === undefined ? findIds(modprobe, 'vfio-pci').at(-1) : { ...onLine, ids: (onLine.value ?? '').split(',') }
  const id = `${device.vendor.id}:${device.device.id}`
  if (list?.ids.some((one) => coversId(one, id)) !== true) return undefined
  const twins = all.filter((one) => !selected.includes(one) && `${one.vendor.id}:${one.device.id}` === id)
  if (twins.some(({ driver }) => !held || !isVfio(driver))) return undefined
  const rivals = host.kernels.flatMap((kernel) => candidateModules(kernel, [device])[0] ?? device.modules ?? [])
  const first = rivals.filter((name) => !isVfio(name))
  const builtin = host.kernels.some((kernel) => first.some((name) => kernel.provides(name) === 'builtin'))
  const ordered = first.length > 0 && first.every((name) => loadedBefore(modprobe, name).includes('vfio_pci'))
  // Where nothing but an address would be left to try, that vfio-pci has it is enough; else the order is what may lack.
  const binds = twins.length > 0 || builtin ? held : ordered
  return binds ? `${list.file}:${list.line}` : undefined
}

function overridePlace(files: Reader, { address }: PciDevice): string | undefined {
  const found = readDriverOverrides(files).find((one) => one.address === address && one.driver === 'vfio-pci')
  return found && `${found.file}:1`
}

/** The folders of programs that run at boot. Source: initramfs-tools(7), mkinitcpio(8), dracut.modules(7). */
const PROGRAMS = [
  '/etc/initramfs-tools/scripts/init-top',
  '/etc/initcpio/hooks',
  '/etc/local.d',
  '/usr/local/bin',
  '/usr/local/sbin',
  '/usr/bin',
  '/usr/sbin',
]
/** The names of programs in folders that hold those of the packages too. */
const NAMED = /vfio|passthrough/i

/** A script that a person wrote is short, in bytes; this toolkit, which may lie there too, is not. */
const LONGEST = 1 << 16

interface ProgramText {
  path: string
  text: string
}

function programsIn(files: Reader): ProgramText[] {
  return PROGRAMS.flatMap((folder) => {
    const shared = folder.includes('bin')
    return (files.list(folder) ?? [])
      .filter((name) => !name.includes('vfio-scripts') && (!shared || NAMED.test(name)))
      .flatMap((name) => {
        const path = `${folder}/${name}`
        const isShort = (files.size(path) ?? LONGEST + 1) <= LONGEST
        const text = isShort ? files.optionalBytes(path)?.toString('latin1') : undefined
        return text?.includes('driver_override') ? [{ path, text }] : []
      })
  })
}

/** Returns the line of a program which names the function's address, in a program that sets driver_override. */
function programPlace(programs: readonly ProgramText[], { address }: PciDevice): string | undefined {
  for (const { path, text } of programs) {
    const line = text
      .split('\n')
      .findIndex((row) => !row.trimStart().startsWith('#') && row.replaceAll('\\', '').includes(address))
    if (line >= 0) return `${path}:${line + 1}`
  }
  return undefined
}
