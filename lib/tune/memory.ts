import { UserError } from '../cli/error.ts'
import { parseSize, sizeText } from '../cli/size.ts'
import { readMeminfo, readMemory } from '../host/memory.ts'
import type { Finding } from '../vfio/finding.ts'
import { expectUnset, ownLine, type TuneFacts, type Wish, wish } from './feature.ts'

const SYSCTL = '/etc/sysctl.d/zz-vfio-scripts.conf'
/** What the host needs for itself, whatever its size. */
const HOST_MEMORY = 1024 ** 3

/**
 * Static huge pages for a guest. Pages of 2 MiB on no node in particular are a sysctl; others must be set aside by the
 * kernel before memory is in pieces. `--page-size` is 2M unless told.
 * Source: Documentation/admin-guide/mm/hugetlbpage.rst (hugepages=NODE:COUNT since Linux 5.16).
 */
export function hugepages(
  facts: TuneFacts,
  given: { memory: string; pageSize: string | undefined; node: string | undefined },
): Wish {
  const bytes = parseSize('hugepages', given.memory)
  const page = parseSize('page-size', given.pageSize ?? '2M')
  expectPageSize(facts, page)
  const count = Math.ceil(bytes / page)
  const pages = `${count} pages of ${sizeText(page)}`
  const reason = `${pages} for guests${given.node === undefined ? '' : `, on node ${given.node}`}`
  const replaces = (): boolean => true
  const findings = [starving(facts, count * page, given.node)]
  if (page === 2 * 1024 ** 2 && given.node === undefined) {
    const other = facts.configured.find(({ name }) => name === 'hugepages')
    if (other !== undefined) expectUnset(facts, 'hugepages', ['hugepages=', 'hugepagesz='])
    return wish('hugepages', reason, {
      replaces,
      files: [ownLine(SYSCTL, `vm.nr_hugepages = ${count}`, reason)],
      findings,
      rebootNeeded: true,
    })
  }
  if (given.node !== undefined) expectNode(facts, given.node)
  const size = page >= 1024 ** 3 ? `${page / 1024 ** 3}G` : `${page / 1024 ** 2}M`
  const tokens = [`hugepagesz=${size}`, `hugepages=${given.node === undefined ? '' : `${given.node}:`}${count}`]
  expectUnset(facts, 'hugepages', tokens)
  return wish('hugepages', reason, { arguments: tokens, findings, replaces })
}

/** Throws a UserError, code `page-size`, for pages that this CPU does not have. */
function expectPageSize({ host: { machine } }: TuneFacts, page: number): void {
  const sizes = readMemory(machine).hugePages.map(({ size }) => size)
  if (sizes.length === 0 || sizes.includes(page)) return
  throw new UserError(
    'page-size',
    `--page-size ${sizeText(page)}: this machine has pages of ${sizes.map(sizeText).join(' and ')}`,
  )
}

function expectNode({ host: { machine, kernels } }: TuneFacts, node: string): void {
  if (!/^\d{1,4}$/.test(node)) throw new UserError('usage', `--node ${node}: not the number of a NUMA node`)
  const nodes = machine.list('/sys/devices/system/node')
  if (nodes !== undefined && !nodes.includes(`node${node}`))
    throw new UserError('no-node', `--node ${node}: this machine has no such NUMA node`)
  const old = kernels.find(({ version }) => version !== null && before(version, 5, 16))
  if (old !== undefined)
    throw new UserError('old-kernel', `--node: Linux ${old.release} cannot set pages aside on one node; 5.16 can`)
}

function before(version: string, major: number, minor: number): boolean {
  const [one = 0, two = 0] = version.split('.').map(Number)
  return one < major || (one === major && two < minor)
}

/** Would the host be left with too little? */
function starving({ host: { machine } }: TuneFacts, bytes: number, node: string | undefined): Finding {
  const path = node === undefined ? '/proc/meminfo' : `/sys/devices/system/node/node${node}/meminfo`
  const total = readMeminfo(machine, path).get('MemTotal')
  const base = { code: 'host-memory', evidence: [], forceable: true }
  if (total === undefined)
    return {
      ...base,
      state: 'unknown',
      summary: 'How much memory the host has is not known',
      evidence: [path],
      next: null,
    }
  const least = Math.max(HOST_MEMORY, total / 10)
  const left = total - bytes
  if (left >= least)
    return { ...base, state: 'ok', summary: `The host keeps ${sizeText(left)} of ${sizeText(total)}`, next: null }
  return {
    ...base,
    state: 'problem',
    summary: `The host would keep ${sizeText(Math.max(0, left))} of ${sizeText(total)}; it needs ${sizeText(least)}`,
    evidence: [`${path}: MemTotal ${sizeText(total)}`],
    next: `ask for ${sizeText(Math.max(0, total - least))} or less`,
  }
}
