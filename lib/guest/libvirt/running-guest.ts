import { UserError } from '../../core/error.ts'
import { parseCpuList } from '../../host/cpu.ts'
import type { Reader } from '../../host/reader.ts'
import { type ParsedElement, parseDocument } from './document.ts'
import { attribute, child, childrenOf, elementText } from './edit-document.ts'
import { hostAddressOf, hostFunctionsOf } from './pci-hostdevs.ts'

/** What a guest of libvirt asks for that can be seen from outside while it runs, and the process that it runs in. */
export interface RunningGuest {
  name: string
  pid: number
  /** The file that says so. */
  path: string
  /** vCPUs by number, with their thread where libvirt names it, and the CPUs that they are pinned to, if any. */
  vcpus: { id: number; thread: number | null; cpus: number[] | null }[]
  /** The CPUs that QEMU's main thread is pinned to, if any. */
  emulator: number[] | null
  memoryKib: number
  /** Is its memory to be huge pages, and of which size? `null` inside: the host's default size. */
  hugepages: { kib: number | null } | null
  /** The addresses of its PCI devices. */
  hostdevs: string[]
}

const UNITS: Readonly<Record<string, number>> = { b: 1 / 1024, bytes: 1 / 1024, KB: 1000 / 1024, k: 1, KiB: 1 }
const LARGE: Readonly<Record<string, number>> = { M: 2 ** 10, MiB: 2 ** 10, G: 2 ** 20, GiB: 2 ** 20, T: 2 ** 30 }

/**
 * Reads the status that libvirt keeps of a running guest. Throws a UserError: `usage` for what is no guest's name,
 * `not-running`, and for a status that is no XML what `parseDocument` throws.
 * Source: libvirt, src/conf/domain_conf.c (virDomainObjFormat), src/qemu/qemu_domain.c (the vCPUs' threads).
 */
export function readRunningGuest(reader: Reader, name: string): RunningGuest {
  if (!/^[^/\s][^/]*$/.test(name) || /^\.\.?$/.test(name))
    throw new UserError('usage', `--guest ${name}: no guest's name`)
  const path = `/run/libvirt/qemu/${name}.xml`
  const text = reader.bytes(path)?.toString('utf8')
  if (text === undefined)
    throw new UserError(
      'not-running',
      `--guest ${name}: libvirt's system runs no guest of this name (${path}); start it first`,
    )
  const status = parseDocument(text)
  const domain = child(status, 'domain')
  const pid = Number(attribute(status, 'pid'))
  if (status.name !== 'domstatus' || domain === undefined || !Number.isInteger(pid) || pid < 1)
    throw new UserError('malformed', `${path}: this is not what libvirt writes of a running guest`)
  const threads = childrenOf(child(status, 'vcpus'), 'vcpu')
  const tune = child(domain, 'cputune')
  const pins = childrenOf(tune, 'vcpupin')
  const wide = cpusOf(attribute(child(domain, 'vcpu'), 'cpuset'))
  const count = Number(attribute(child(domain, 'vcpu'), 'current') ?? contentOf(text, child(domain, 'vcpu')))
  const byNumber = (elements: ParsedElement[], key: string, id: number): ParsedElement | undefined =>
    elements.find((each) => Number(attribute(each, key)) === id)
  const ids = threads.length > 0 ? threads.map((each) => Number(attribute(each, 'id'))) : [...Array(count || 0).keys()]
  const hugepages = child(domain, 'memoryBacking', 'hugepages')
  const page = child(hugepages, 'page')
  return {
    name,
    pid,
    path,
    vcpus: ids.map((id) => ({
      id,
      thread: Number(attribute(byNumber(threads, 'id', id), 'pid')) || null,
      cpus: cpusOf(attribute(byNumber(pins, 'vcpu', id), 'cpuset')) ?? wide,
    })),
    emulator: cpusOf(attribute(child(tune, 'emulatorpin'), 'cpuset')),
    memoryKib: kibibytesOf(contentOf(text, child(domain, 'memory')), attribute(child(domain, 'memory'), 'unit')),
    hugepages:
      hugepages === undefined
        ? null
        : { kib: page === undefined ? null : kibibytesOf(attribute(page, 'size') ?? '', attribute(page, 'unit')) },
    hostdevs: hostFunctionsOf(child(domain, 'devices')).flatMap((each) => hostAddressOf(each) ?? []),
  }
}

function contentOf(text: string, element: ParsedElement | undefined): string {
  return element === undefined ? '' : elementText(text, element)
}

function kibibytesOf(number: string, unit = 'KiB'): number {
  return Math.round(Number(number) * (UNITS[unit] ?? LARGE[unit] ?? 1))
}

/** Returns the CPUs of libvirt's list, which may take some out again: `0-7,^3`. */
function cpusOf(list: string | undefined): number[] | null {
  if (list === undefined) return null
  const words = list.split(',').map((word) => word.trim())
  const all = (out: boolean): number[] =>
    words.filter((word) => word.startsWith('^') === out).flatMap((word) => parseCpuList(word.replace('^', '')) ?? [])
  const without = all(true)
  return all(false).filter((cpu) => !without.includes(cpu))
}
