import { UserError } from '../../core/error.ts'
import { type CheckName, type Finding, okResult, problemResult, toFinding, unknownResult } from '../../core/finding.ts'
import { globPattern } from '../../core/glob.ts'
import { parseSize, sizeText } from '../../core/sizes.ts'
import { configLineText, readBootWrites } from '../../host/drop-ins.ts'
import { hasSystemd } from '../../host/find-program.ts'
import { readMeminfo, readMemory } from '../../host/memory.ts'
import type { Reader } from '../../host/reader.ts'
import { OWN_SYSCTL_PATH } from '../../system/render-files.ts'
import {
  expectUnset,
  type FeatureRequirements,
  type TuneFacts,
  type TuneFeature,
  tuneRequirements,
} from '../feature.ts'
import { inForceFinding, matchSettings, requestedValues, settingTexts } from '../in-force.ts'
import { defaultPage, type OtherPages, otherPages, pageSizeBytes } from '../pages.ts'

/** The size in bytes of the pages that vm.nr_hugepages counts here. */
const SYSCTL_PAGE = 2 * 1024 ** 2
/** The memory in bytes that a host needs for itself, whatever its size. */
const HOST_MEMORY = 1024 ** 3

const hostMemoryGuard: CheckName = { code: 'host-memory', forceable: true }

/** Sets memory for guests aside at boot, in pages of 2 MiB or 1 GiB. */
export const hugepages: TuneFeature = {
  name: 'hugepages',
  option: { kind: 'value', value: 'SIZE', help: 'set huge pages aside for guests of this size (16G)' },
  with: [
    { name: 'page-size', kind: 'value', value: 'SIZE', help: 'of one page, 2M (default) or 1G' },
    { name: 'node', kind: 'value', value: 'N', help: 'on this NUMA node' },
  ],
  guards: [hostMemoryGuard],

  requirements: (facts, given) =>
    requireHugepages(facts, {
      memory: given.value('hugepages') ?? '',
      pageSize: given.value('page-size'),
      node: given.value('node'),
    }),

  inForce({ machine }, settings) {
    const nr = machine.optionalText('/proc/sys/vm/nr_hugepages')
    const now = nr === undefined ? undefined : Number(nr)
    const byArguments = matchSettings(settings, /^hugepages=(.+)$/)
    return [
      ...(byArguments.length > 0 ? [] : requestedValues(settings, 'hugepages')).map((size) =>
        pageCountFinding(now, pageCount(size, SYSCTL_PAGE), ''),
      ),
      ...byArguments.flatMap(([, value = '']) => argumentPageFindings(machine, value, settingTexts(settings))),
    ]
  },

  // The last of several lines for one variable is in force. Source: sysctl.d(5).
  overruled(files, { path, line }) {
    const target = `/proc/sys/${(/^[^=\s]+/.exec(line)?.[0] ?? '').replaceAll('.', '/')}`
    const last = readBootWrites(files, hasSystemd(files))
      .filter((one) => globPattern(one.target).test(target))
      .at(-1)
    return last === undefined || last.path === path ? [] : [configLineText(last)]
  },
}

/** Returns the number of pages, of a size in bytes, that hold the requested memory: `16G`. */
function pageCount(memory: string, page: number): number {
  return Math.ceil(parseSize('hugepages', memory) / page)
}

/**
 * Decides how to set static huge pages aside for a guest. A sysctl sets pages of 2 MiB aside on no particular node, if
 * that is the default size here; the kernel must set others aside at boot, before memory is fragmented. `--page-size`
 * is 2M by default. Throws a UserError: `page-size`, `no-node`, `old-kernel`, `contradiction`.
 * Source: Documentation/admin-guide/mm/hugetlbpage.rst (hugepages=NODE:COUNT since Linux 5.16).
 */
function requireHugepages(
  facts: TuneFacts,
  given: { memory: string; pageSize: string | undefined; node: string | undefined },
): FeatureRequirements {
  const page = parseSize('page-size', given.pageSize ?? '2M')
  expectPageSize(facts, page)
  const count = pageCount(given.memory, page)
  const pages = `${count} pages of ${sizeText(page)}`
  const reason = `${pages} for guests${given.node === undefined ? '' : `, on node ${given.node}`}`
  const replaces = (): boolean => true
  if (given.node !== undefined) expectNode(facts, given.node)
  const usual = defaultPage(facts)
  const bySysctl = page === SYSCTL_PAGE && page === usual && given.node === undefined
  const others = otherPages(facts, OWN_SYSCTL_PATH)
  const same = others.find(({ size }) => size === page)
  const enough = others.find((one) => one.size === page && one.byArgument && holdsPages(one, given.node, count))
  // Nothing that is read later has another count of these pages.
  if (enough !== undefined && enough === same)
    return tuneRequirements(reason, { replaces, notes: [`Enough is set already: ${enough.configLine}.`] })
  // Our sysctl.d file is read last; but a line of sysctl.d about pages of this size would win over our arguments.
  if (same !== undefined && (!bySysctl || same.byTmpfiles))
    throw new UserError(
      'contradiction',
      `${same.configLine}: pages of ${sizeText(page)} are set aside already, and ${pages} are asked for; take it out first, nothing was written`,
    )
  const findings = [
    leftMemoryFinding(
      facts,
      count * page,
      given.node,
      others.filter(({ size }) => size !== page),
    ),
  ]
  if (bySysctl) {
    const other = facts.configured.find(({ name }) => name === 'hugepages')
    if (other !== undefined) expectUnset(facts, 'hugepages', ['hugepages=', 'hugepagesz='])
    const note = `${same?.configLine}: ours is read later and takes its place; ask for the sum if something else needs those pages.`
    return tuneRequirements(reason, {
      replaces,
      notes: same === undefined ? [] : [note],
      required: [{ kind: 'sysctl', name: 'vm.nr_hugepages', value: `${count}` }],
      findings,
      rebootNeeded: true,
    })
  }
  const size = page >= 1024 ** 3 ? `${page / 1024 ** 3}G` : `${page / 1024 ** 2}M`
  const tokens = [`hugepagesz=${size}`, `hugepages=${given.node === undefined ? '' : `${given.node}:`}${count}`]
  expectUnset(facts, 'hugepages', tokens)
  return tuneRequirements(reason, { arguments: tokens, findings, replaces })
}

/** Does a setting hold so many pages, on the node that is asked for, if any? */
function holdsPages({ node, count }: OtherPages, wanted: string | undefined, least: number): boolean {
  return count >= least && (wanted === undefined || node === Number(wanted))
}

/** Throws a UserError, code `page-size`, for pages that this CPU does not have. */
export function expectPageSize({ host: { machine } }: TuneFacts, page: number): void {
  const sizes = readMemory(machine).hugePages.map(({ size }) => size)
  if (sizes.length === 0 || sizes.includes(page)) return
  throw new UserError(
    'page-size',
    `--page-size ${sizeText(page)}: this machine has pages of ${sizes.map(sizeText).join(' and ')}`,
  )
}

export function expectNode({ host: { machine, kernels } }: TuneFacts, node: string): void {
  if (!/^\d{1,4}$/.test(node)) throw new UserError('usage', `--node ${node}: not the number of a NUMA node`)
  const nodes = machine.list('/sys/devices/system/node')
  if (nodes !== undefined && !nodes.includes(`node${node}`))
    throw new UserError('no-node', `--node ${node}: this machine has no such NUMA node`)
  const old = kernels.find(({ version }) => version !== null && isOlderThan(version, 5, 16))
  if (old !== undefined)
    throw new UserError('old-kernel', `--node: Linux ${old.release} cannot set pages aside on one node; 5.16 can`)
}

function isOlderThan(version: string, major: number, minor: number): boolean {
  const [one = 0, two = 0] = version.split('.').map(Number)
  return one < major || (one === major && two < minor)
}

/** Checks that enough memory is left to the host, or the node, by the new pages and `others`. */
function leftMemoryFinding(
  { host: { machine } }: TuneFacts,
  bytes: number,
  node: string | undefined,
  others: readonly OtherPages[],
): Finding {
  const folder = '/sys/devices/system/node'
  const all = hostMemoryFinding(machine, '/proc/meminfo', bytes, others, () => 1)
  if (node === undefined || all.state === 'problem') return all
  const nodes = (machine.list(folder) ?? []).filter((name) => /^node\d+$/.test(name)).length
  // A node gets an equal share of the pages that are on no particular node.
  const shareOf = (one: OtherPages): number =>
    one.node === null ? 1 / Math.max(1, nodes) : Number(one.node === Number(node))
  return hostMemoryFinding(machine, `${folder}/node${node}/meminfo`, bytes, others, shareOf)
}

function hostMemoryFinding(
  machine: Reader,
  path: string,
  bytes: number,
  others: readonly OtherPages[],
  shareOf: (pages: OtherPages) => number,
): Finding {
  const total = readMeminfo(machine, path).get('MemTotal')
  if (total === undefined)
    return toFinding(hostMemoryGuard, unknownResult('How much memory the host has is not known', [path]))
  const other = others.reduce((sum, one) => sum + one.size * one.count * shareOf(one), 0)
  const least = Math.max(HOST_MEMORY, total / 10)
  const left = total - bytes - other
  if (left >= least)
    return toFinding(hostMemoryGuard, okResult(`The host keeps ${sizeText(left)} of ${sizeText(total)}`))
  const most = Math.max(0, total - least - other)
  return toFinding(
    hostMemoryGuard,
    problemResult(
      `The host would keep ${sizeText(Math.max(0, left))} of ${sizeText(total)}; it needs ${sizeText(least)}`,
      [`${path}: MemTotal ${sizeText(total)}`, ...others.map(({ configLine }) => configLine)],
      `ask for ${sizeText(most)} or less${others.length > 0 ? ', or take out what is set aside already' : ''}`,
    ),
  )
}

/** Compares the pages set aside with those requested: the kernel may have found less memory in one piece. */
function pageCountFinding(now: number | undefined, required: number, what: string): Finding {
  const found = `${now ?? 'nobody knows how many'} of ${required} huge pages ${what}are set aside`
  return inForceFinding('hugepages', now === undefined ? null : now >= required, found)
}

/** Compares the pages of `hugepages=`, whose size the argument before it gives, on all nodes together or on each. */
function argumentPageFindings(machine: Reader, value: string, all: readonly string[]): Finding[] {
  const size = pageSizeBytes(all.flatMap((text) => /^hugepagesz=(.+)$/.exec(text)?.[1] ?? []).at(-1))
  const known = readMemory(machine).hugePages.find((one) => one.size === size)
  const text = size === undefined ? '' : `of ${sizeText(size)} `
  return value.split(',').map((part) => {
    const [, node, count = ''] = /^(?:(\d+):)?(\d+)$/.exec(part) ?? []
    if (node === undefined) return pageCountFinding(known?.total, Number(count), text)
    const now = known?.nodes.find((one) => one.node === Number(node))?.total
    return pageCountFinding(now, Number(count), `${text}on node ${node} `)
  })
}
