import type { Claim } from '../change/journal.ts'
import { statusFinding } from '../checks/requirement-findings.ts'
import type { Finding } from '../core/finding.ts'
import { moduleName } from '../edit/modprobe.ts'
import { cpuList, parseCpuList } from '../host/cpu.ts'
import { readMemory } from '../host/memory.ts'
import type { Reader } from '../host/reader.ts'
import { readGroupMembers } from '../host/user.ts'
import type { Host } from '../system/system.ts'
import { pageSizeBytes } from './pages.ts'

// What is in force now, as the kernel shows it: a file or an argument that asks for something is no proof.

const CPU = '/sys/devices/system/cpu'
const CGROUPS = '/sys/fs/cgroup'

/** How one kind of setting looks in the machine that runs: a pattern of what asks for it, and what is to be seen. */
const IN_FORCE_CHECKS: readonly [pattern: RegExp, look: (host: Host, found: string[], all: string[]) => Finding[]][] = [
  [
    /^(?:cpufreq\.default_governor=|.*cpuFreqGovernor = ")(\w+)/,
    ({ machine }, [, name]) => governorFindings(machine, `${name}`),
  ],
  [/\bvm\.nr_hugepages"? = (\d+);?$/, ({ machine }, [, count]) => sysctlPageFindings(machine, Number(count))],
  [/^hugepages=(.+)$/, ({ machine }, [, value], all) => argumentPageFindings(machine, `${value}`, all)],
  [/^isolcpus=(?:[a-z_]+,)*([\d,-]+)$/, ({ machine }, [, list]) => isolatedCpuFindings(machine, 'isolated', `${list}`)],
  [/^nohz_full=([\d,-]+)$/, ({ machine }, [, list]) => isolatedCpuFindings(machine, 'nohz_full', `${list}`)],
  [
    /^(kvm|vfio_iommu_type1)\.(\w+)=(\S+)$/,
    ({ machine }, [, module, name, value]) => parameterFindings(machine, [module, name, value]),
  ],
  [
    /^options (\w+) (.+)$/,
    ({ machine }, [, module, rest = '']) =>
      rest.split(' ').flatMap((one) => parameterFindings(machine, [module, ...one.split('=')])),
  ],
  [
    /^module_blacklist=(.+)$/,
    ({ machine }, [, names = '']) => names.split(',').flatMap((name) => blacklistFindings(machine, name)),
  ],
  [/^SUBSYSTEM=="vfio", GROUP="([^"]+)"/, (host, [, group]) => vfioNodeFindings(host, `${group}`)],
  [
    /^SUBSYSTEM=="block", ENV\{DEVLINKS\}=="\*\/(by-id\/[^|]+)\|.*GROUP="([^"]+)"/,
    (host, [, disk, group]) => diskNodeFindings(host, `/dev/disk/${disk}`, `${group}`),
  ],
]

/** Of everything that was set up, whether the machine that runs has it. */
export function inForceFindings(host: Host, claims: readonly Claim[]): Finding[] {
  const texts = [...new Set(claims.map(({ setting }) => tuneSettingText(setting)))]
  const slices = claims.flatMap(({ setting }) => {
    const unit = /\/([\w-]+\.(?:slice|scope))\.d\//.exec(setting.path)?.[1]
    const list = setting.kind === 'line' ? /^AllowedCPUs=(.*)$/.exec(setting.line)?.[1] : undefined
    return unit === undefined || list === undefined ? [] : sliceCpuFindings(host.machine, unit, list)
  })
  const named = (owner: 'bridge' | 'tap'): string[] => [
    ...new Set(claims.flatMap((one) => (one.owner === owner ? (one.setting.request?.[owner] ?? []) : []))),
  ]
  const links = [
    ...named('bridge').flatMap((name) => interfaceFindings(host.machine, name, 'bridge')),
    ...named('tap').flatMap((name) => interfaceFindings(host.machine, name, 'tap')),
  ]
  return [
    ...texts.flatMap((text) =>
      IN_FORCE_CHECKS.flatMap(([pattern, style]) => {
        const found = pattern.exec(text)
        return found === null ? [] : style(host, found, texts)
      }),
    ),
    ...slices,
    ...links,
  ]
}

function tuneSettingText(setting: Claim['setting']): string {
  return setting.kind === 'line'
    ? setting.line
    : 'token' in setting
      ? setting.token
      : 'item' in setting
        ? setting.item.trim()
        : ''
}

function stateFinding(
  code: string,
  ok: boolean | null,
  summary: string,
  evidence: string[],
  next = 'reboot',
): Finding[] {
  return [statusFinding(code, ok === null ? 'unknown' : ok ? 'ok' : 'problem', summary, evidence, ok ? null : next)]
}

function governorFindings(machine: Reader, name: string): Finding[] {
  const policies = (machine.list(`${CPU}/cpufreq`) ?? []).filter((one) => /^policy\d+$/.test(one))
  const now = policies.map((one) => machine.optionalText(`${CPU}/cpufreq/${one}/scaling_governor`)?.trim())
  const others = [...new Set(now.filter((one) => one !== name))]
  if (policies.length === 0 || others.includes(undefined))
    return stateFinding('governor', null, 'Which governor the CPUs have is not known', [`not seen: ${CPU}/cpufreq`])
  if (others.length === 0) return stateFinding('governor', true, `all CPUs have the governor ${name}`, [])
  const left = now.filter((one) => one !== name).length
  return stateFinding(
    'governor',
    false,
    `${left} of ${now.length} CPU policies have the governor ${others.join(', ')}, not ${name}`,
    [`${CPU}/cpufreq`],
    'reboot; if it stays so, a service sets another one: power-profiles-daemon, tuned, tlp, cpupower',
  )
}

function pageCountFindings(now: number | undefined, required: number, what: string): Finding[] {
  const found = `${now ?? 'nobody knows how many'} of ${required} huge pages ${what}are set aside`
  return stateFinding('hugepages', now === undefined ? null : now >= required, found, [])
}

/** The kernel may find less memory in one piece than was asked for. */
function sysctlPageFindings(machine: Reader, required: number): Finding[] {
  const now = machine.optionalText('/proc/sys/vm/nr_hugepages')
  return pageCountFindings(now === undefined ? undefined : Number(now), required, '')
}

/** Of the size that the argument before it says, on all nodes or each on its own. */
function argumentPageFindings(machine: Reader, value: string, all: readonly string[]): Finding[] {
  const size = pageSizeBytes(all.flatMap((text) => /^hugepagesz=(.+)$/.exec(text)?.[1] ?? []).at(-1))
  const known = readMemory(machine).hugePages.find((one) => one.size === size)
  const text =
    size === undefined ? '' : `of ${size >= 1024 ** 3 ? `${size / 1024 ** 3} GiB` : `${size / 1024 ** 2} MiB`} `
  return value.split(',').flatMap((part) => {
    const [, node, count = ''] = /^(?:(\d+):)?(\d+)$/.exec(part) ?? []
    if (node === undefined) return pageCountFindings(known?.total, Number(count), text)
    const now = known?.nodes.find((one) => one.node === Number(node))?.total
    return pageCountFindings(now, Number(count), `${text}on node ${node} `)
  })
}

function isolatedCpuFindings(machine: Reader, name: string, list: string): Finding[] {
  const path = `${CPU}/${name}`
  const now = parseCpuList(machine.optionalText(path)?.replace('(null)', ''))
  const required = parseCpuList(list) ?? []
  const ok = now === undefined ? null : required.every((cpu) => now.includes(cpu))
  return stateFinding(
    'isolated',
    ok,
    `${path} has ${now === undefined ? 'not been seen' : cpuList(now) || 'no CPU'}${ok ? '' : `, not ${list}`}`,
    [],
  )
}

function parameterFindings(machine: Reader, [module, name, value]: (string | undefined)[]): Finding[] {
  const path = `/sys/module/${module}/parameters/${name}`
  const now = machine.optionalText(path)?.trim()
  // A module that is not loaded gets it when it is.
  if (now === undefined) return []
  const same = now === value || { Y: '1', N: '0' }[now] === value
  return stateFinding('parameter', same, `${path} is ${now}${same ? '' : `, not ${value}`}`, [])
}

function blacklistFindings(machine: Reader, name: string): Finding[] {
  const modules = machine.optionalBytes('/proc/modules')?.toString('latin1')
  if (modules === undefined) return []
  const loaded = new RegExp(`^${moduleName(name)} `, 'm').test(modules)
  return stateFinding('blacklist', !loaded, `${name} is ${loaded ? '' : 'not '}loaded`, ['/proc/modules'])
}

function vfioNodeFindings({ machine, files }: Host, group: string): Finding[] {
  const { gid } = readGroupMembers(files, group)
  const nodes = (machine.list('/dev/vfio') ?? [])
    .filter((name) => /^\d+$/.test(name))
    .map((name) => `/dev/vfio/${name}`)
  return nodes.flatMap((path) => accessFindings(machine, path, group, gid))
}

function diskNodeFindings({ machine, files }: Host, path: string, group: string): Finding[] {
  return accessFindings(machine, path, group, readGroupMembers(files, group).gid)
}

function accessFindings(machine: Reader, path: string, group: string, gid: number): Finding[] {
  const now = machine.access(path)
  if (now === undefined || Number.isNaN(gid)) return []
  const ok = now.gid === gid && (now.mode & 0o60) === 0o60
  const mode = (now.mode & 0o777).toString(8)
  return stateFinding(
    'access',
    ok,
    `${path} is ${ok ? '' : 'not '}open to ${group} (group ${now.gid}, mode ${mode})`,
    [],
    'reboot, or see which rule of udev wins: udevadm test',
  )
}

function sliceCpuFindings(machine: Reader, unit: string, list: string): Finding[] {
  const path = `${CGROUPS}/${unit}/cpuset.cpus`
  if (!machine.exists(CGROUPS)) return []
  const now = machine.optionalText(path)?.trim()
  const ok = now !== undefined && cpuList(parseCpuList(now) ?? []) === list
  return stateFinding(
    'slices',
    ok,
    `${unit} runs on CPUs ${now || '(any)'}${ok ? '' : `, not ${list}`}`,
    ok ? [] : [path],
  )
}

/** Is there a bridge, or a TAP device, of this name now? */
function interfaceFindings(machine: Reader, name: string, type: 'bridge' | 'tap'): Finding[] {
  const path = `/sys/class/net/${name}/${type === 'tap' ? 'tun_flags' : 'bridge'}`
  if (machine.list('/sys/class/net') === undefined) return []
  const there = machine.exists(path)
  return stateFinding(
    'interface',
    there,
    `${name} is ${there ? 'there' : `no ${type === 'tap' ? 'TAP device' : 'bridge'} now`}`,
    there ? [] : [path],
  )
}
