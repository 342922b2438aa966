import { configLineText, readBootWrites } from '../host/drop-ins.ts'
import { hasSystemd } from '../host/find-program.ts'
import { readMeminfo } from '../host/memory.ts'
import { ownFeatureArguments, type TuneFacts } from './feature.ts'

// Huge pages that other settings set aside at boot.

const UNITS: Readonly<Record<string, number>> = { K: 1024, M: 1024 ** 2, G: 1024 ** 3 }
const COUNT = /^\/proc\/sys\/vm\/nr_hugepages(_mempolicy)?$/
const SIZED =
  /^\/sys\/(?:kernel\/mm|devices\/system\/node\/node(?<node>\d+))\/hugepages\/hugepages-(?<size>\d+)kB\/nr_hugepages$/

/** Pages of one size that a person's own settings set aside. */
export interface OtherPages {
  /** The size of one page, in bytes. */
  size: number
  count: number
  /** The NUMA node; `null` for all nodes alike. */
  node: number | null
  /** The line that sets them: `/etc/sysctl.d/10-x.conf:3: vm.nr_hugepages = 512`. */
  configLine: string
  /** Are they set by tmpfiles.d, which is read after sysctl.d? */
  byTmpfiles: boolean
  /** Are they set by kernel arguments? */
  byArgument: boolean
}

/** Returns the default page size in bytes, 2 MiB on x86. Source: hugetlbpage.rst, default_hugepagesz=. */
export function defaultPage({ configured, host: { machine } }: TuneFacts): number {
  const said = configured.filter(({ name }) => name === 'default_hugepagesz').at(-1)?.value
  return pageSizeBytes(said) ?? readMeminfo(machine, '/proc/meminfo').get('Hugepagesize') ?? 2 * 1024 ** 2
}

/** Returns the pages that the next boot sets aside by kernel arguments, sysctl.d and tmpfiles.d, without ours. */
export function otherPages(facts: TuneFacts, own: string): OtherPages[] {
  const { configured, journal, host } = facts
  const page = defaultPage(facts)
  const ours = ownFeatureArguments(journal, 'hugepages')
  const found: OtherPages[] = []
  // A later value for the same pages replaces the earlier one.
  const set = (one: OtherPages): void => {
    for (const [index, { size, node }] of [...found.entries()].reverse())
      if (size === one.size && (one.node === null || node === null || node === one.node)) found.splice(index, 1)
    found.push(one)
  }
  let size = page
  for (const { name, value = '', token, file, line } of configured) {
    if (ours.has(token)) continue
    if (name === 'hugepagesz') size = pageSizeBytes(value) ?? size
    if (name !== 'hugepages') continue
    for (const part of value.split(',')) {
      const [, node, count] = /^(?:(\d+):)?(\d+)$/.exec(part) ?? []
      const from = { configLine: `${file}:${line}: ${token}`, byTmpfiles: false, byArgument: true }
      if (count !== undefined)
        set({ size, count: Number(count), node: node === undefined ? null : Number(node), ...from })
    }
  }
  for (const write of readBootWrites(host.files, hasSystemd(host.files))) {
    const { target, value } = write
    const { size: kibibytes, node } = SIZED.exec(target)?.groups ?? {}
    if (write.path === own || !/^\d+$/.test(value) || !(kibibytes || COUNT.test(target))) continue
    set({
      size: kibibytes === undefined ? page : Number(kibibytes) * 1024,
      count: Number(value),
      node: node === undefined ? null : Number(node),
      configLine: configLineText(write),
      byTmpfiles: write.path.includes('/tmpfiles.d/'),
      byArgument: false,
    })
  }
  return found.filter(({ count }) => count > 0)
}

/** Returns the bytes of `2M`, `1G`, `2048K` or `2048kB`, read as by the kernel's memparse(). */
export function pageSizeBytes(text: string | undefined): number | undefined {
  const [, digits, unit = ''] = /^(\d{1,9})([KMG]?)B?$/i.exec(text ?? '') ?? []
  return digits === undefined ? undefined : Number(digits) * (UNITS[unit.toUpperCase()] ?? 1)
}
