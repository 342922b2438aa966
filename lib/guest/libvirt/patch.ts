import { UserError } from '../../core/error.ts'
import type { Pinning } from '../../cpu/pinning.ts'
import type { GuestBoard } from '../guest.ts'
import {
  attribute,
  child,
  childrenOf,
  elementText,
  insertElements,
  removeElement,
  setAttribute,
} from './edit-document.ts'
import { ensureElement, parseDomain } from './edit-domain.ts'
import { cacheElement, hugepagesElement, tuneElements } from './resource-xml.ts'
import { QEMU_NAMESPACE, xmlElement } from './xml-element.ts'

// Changes of an existing domain. Each takes a text and returns a text; what is there already stays as it is, so that a
// second patch changes nothing.

/** Hides the hypervisor as decided. A Hyper-V name that the domain has stays, unless another one was `requested`. */
export function patchHiding(
  text: string,
  { hideKvm, vendorId, ioapicKvm }: Pick<GuestBoard, 'hideKvm' | 'vendorId' | 'ioapicKvm'>,
  requested: boolean,
): string {
  let result = text
  const present = child(parseDomain(text), 'features', 'hyperv', 'vendor_id')
  if (vendorId !== null && (requested || attribute(present, 'state') !== 'on'))
    result = ensureElement(result, ['features', 'hyperv'], xmlElement('vendor_id', { state: 'on', value: vendorId }))
  if (hideKvm) result = ensureElement(result, ['features', 'kvm'], xmlElement('hidden', { state: 'on' }))
  if (ioapicKvm) result = ensureElement(result, ['features'], xmlElement('ioapic', { driver: 'kvm' }))
  return result
}

/** libvirt's units of size, in KiB (virScaleInteger). */
const UNITS: Readonly<Record<string, number>> = {
  b: 1 / 1024,
  bytes: 1 / 1024,
  KB: 1000 / 1024,
  k: 1,
  KiB: 1,
  MB: 1e6 / 1024,
  M: 1024,
  MiB: 1024,
  GB: 1e9 / 1024,
  G: 1024 ** 2,
  GiB: 1024 ** 2,
  T: 1024 ** 3,
  TiB: 1024 ** 3,
}

/** Returns a domain's memory in KiB; `undefined` where it gives none. */
export function memoryKibOf(text: string): number | undefined {
  const element = child(parseDomain(text), 'memory')
  const unit = UNITS[attribute(element, 'unit') ?? 'KiB']
  const size = element === undefined ? Number.NaN : Number(elementText(text, element))
  return unit === undefined || !Number.isFinite(size) ? undefined : Math.round(size * unit)
}

/** Sets the memory in KiB. Throws a UserError with code `numa-cells` where the domain divides it among NUMA cells. */
export function patchMemory(text: string, kib: number): string {
  if (memoryKibOf(text) === kib) return text
  expectUndivided(text, 'memory', ['cpu', 'numa'])
  const sized = ensureElement(text, [], xmlElement('memory', { unit: 'KiB' }, String(kib)))
  const current = child(parseDomain(sized), 'currentMemory')
  return current === undefined
    ? sized
    : ensureElement(sized, [], xmlElement('currentMemory', { unit: 'KiB' }, String(kib)))
}

/** Sets pages of this size in KiB for all of the memory; pages of other sizes are removed. */
export function patchHugepages(text: string, kib: number): string {
  const required = hugepagesElement(kib)
  const pages = childrenOf(child(parseDomain(text), 'memoryBacking', 'hugepages'), 'page')
  const [page] = pages
  if (page === undefined) {
    const empty = child(parseDomain(text), 'memoryBacking', 'hugepages')
    return empty === undefined
      ? ensureElement(text, ['memoryBacking'], required)
      : insertElements(text, empty, required.children)
  }
  const size = Math.round(Number(attribute(page, 'size')) * (UNITS[attribute(page, 'unit') ?? 'KiB'] ?? 1))
  if (pages.length === 1 && size === kib) return text
  return pages.length > 1
    ? patchHugepages(removeElement(text, pages[1] ?? page), kib)
    : ensureElement(text, ['memoryBacking', 'hugepages'], xmlElement('page', { size: kib, unit: 'KiB' }))
}

/** Makes the memory one that the daemon of virtiofs can map. */
export function patchSharing(text: string): string {
  const source = child(parseDomain(text), 'memoryBacking', 'source')
  const backed =
    source === undefined ? ensureElement(text, ['memoryBacking'], xmlElement('source', { type: 'memfd' })) : text
  return ensureElement(backed, ['memoryBacking'], xmlElement('access', { mode: 'shared' }))
}

const PINS = ['vcpupin', 'emulatorpin', 'iothreadpin']

/** Throws a UserError with code `numa-cells` where a number stands in more places than a patch knows how to change. */
function expectUndivided(text: string, what: string, ...paths: string[][]): void {
  const root = parseDomain(text)
  const found = paths.map((path) => child(root, ...path)).find((element) => element !== undefined)
  if (found !== undefined)
    throw new UserError(
      'numa-cells',
      `${what}: the domain divides it in <${found.name}>: change it there by hand first`,
    )
}

/** Sets the number of vCPUs, their pins and the topology that the guest sees. Throws a UserError: `numa-cells`. */
export function patchPinning(text: string, pinning: Pinning, cache: boolean): string {
  const number = String(pinning.vcpus.length)
  let result = ensureElement(text, [], xmlElement('vcpu', {}, number))
  if (result !== text) expectUndivided(text, `${number} vCPUs`, ['cpu', 'numa'], ['vcpus'])
  const vcpu = child(parseDomain(result), 'vcpu')
  if (vcpu !== undefined && attribute(vcpu, 'current') !== undefined)
    result = setAttribute(result, vcpu, 'current', String(pinning.vcpus.length))
  const root = parseDomain(result)
  const threads = child(root, 'iothreads')
  const count = threads === undefined ? 0 : Number(elementText(result, threads))
  const [, cputune, numatune] = tuneElements({ pinning })
  const required = (cputune?.children ?? []).flatMap((each) =>
    each.name !== 'iothreadpin'
      ? [each]
      : Array.from({ length: count }, (_, index) => xmlElement(each.name, { ...each.attributes, iothread: index + 1 })),
  )
  const present = child(root, 'cputune')?.children.filter(({ name }) => PINS.includes(name)) ?? []
  const textOf = (name: string, attributes: readonly [string, unknown][]): string =>
    [name, ...attributes.map((pair) => pair.join('=')).sort()].join()
  const said = present.map(({ name, attributes }) =>
    textOf(
      name,
      [...attributes].map(([key, { value }]) => [key, value]),
    ),
  )
  const requested = required.map(({ name, attributes }) => textOf(name, Object.entries(attributes)))
  if (said.join('\n') !== requested.join('\n')) {
    for (const element of [...present].reverse()) result = removeElement(result, element)
    const tune = child(parseDomain(result), 'cputune')
    result =
      tune === undefined
        ? ensureElement(result, [], xmlElement('cputune', {}, required))
        : insertElements(result, tune, required)
  }
  if (numatune !== undefined) for (const each of numatune.children) result = ensureElement(result, ['numatune'], each)
  return patchTopology(result, { ...pinning, caches: cache ? pinning.caches : null })
}

/** Sets the topology that the guest sees, and its caches; caches that are `null` stay as they are. */
export function patchTopology(
  text: string,
  { topology, topoext, caches }: Pick<Pinning, 'topology' | 'topoext'> & { caches: Pinning['caches'] | null },
): string {
  const { sockets, dies, cores, threads } = topology
  const cpu = child(parseDomain(text), 'cpu')
  const known = child(cpu, 'topology')
  // libvirt multiplies all the numbers of a topology: other levels that somebody set must be 1.
  const dieCount = attribute(known, 'dies') !== undefined || dies > 1 ? dies : null
  const clusters = attribute(known, 'clusters') === undefined ? null : 1
  let result = ensureElement(
    text,
    ['cpu'],
    xmlElement('topology', { sockets, dies: dieCount, clusters, cores, threads }),
  )
  if (attribute(cpu, 'mode') !== 'host-passthrough') return result
  const reported = child(cpu, 'cache')
  if (caches !== null && attribute(reported, 'mode') !== caches) {
    const other = child(parseDomain(result), 'cpu', 'cache')
    result = ensureElement(
      other === undefined ? result : removeElement(result, other),
      ['cpu'],
      cacheElement({ caches }),
    )
  }
  const now = child(parseDomain(result), 'cpu')
  const feature = childrenOf(now, 'feature').find((each) => attribute(each, 'name') === 'topoext')
  if (!topoext || now === undefined || attribute(feature, 'policy') === 'require') return result
  return feature === undefined
    ? insertElements(result, now, [xmlElement('feature', { policy: 'require', name: 'topoext' })])
    : setAttribute(result, feature, 'policy', 'require')
}

/** Adds arguments for QEMU itself, unless the domain has them already, one behind the other. */
export function patchArguments(text: string, args: readonly string[]): string {
  if (args.length === 0) return text
  const root = parseDomain(text)
  const bound = [...root.attributes].find(([name, { value }]) => name.startsWith('xmlns:') && value === QEMU_NAMESPACE)
  if (bound === undefined) return patchArguments(setAttribute(text, root, 'xmlns:qemu', QEMU_NAMESPACE), args)
  const prefix = bound[0].slice('xmlns:'.length)
  const line = child(root, `${prefix}:commandline`)
  const present = childrenOf(line, `${prefix}:arg`).map((each) => attribute(each, 'value'))
  const there = present.some((_, from) => args.every((arg, index) => present[from + index] === arg))
  const parts = args.map((value) => xmlElement(`${prefix}:arg`, { value }))
  if (there) return text
  if (line !== undefined) return insertElements(text, line, parts, [`${prefix}:arg`])
  return insertElements(text, root, [xmlElement(`${prefix}:commandline`, {}, parts)])
}
