import { headComment, type Setting } from '../../change/settings.ts'
import { UserError } from '../../core/error.ts'
import type { Finding } from '../../core/finding.ts'
import { parseSize } from '../../core/sizes.ts'
import { readDomain } from '../../guest/libvirt/guest-domain.ts'
import { expectGuestName, WHILE_RUNNING, WHILE_RUNNING_WANTS } from '../../hand-over/hand-over-paths.ts'
import { handOverFiles, hookFile } from '../../hand-over/hook-files.ts'
import { linesOf } from '../../hand-over/plan-hand-over.ts'
import { cpuList, parseCpuList } from '../../host/cpu.ts'
import type { Reader } from '../../host/reader.ts'
import type { Arguments } from '../../terminal/options.ts'
import { expectSystemd, isDescribed, type TuneFacts, type TuneFeature, tuneRequirements } from '../feature.ts'
import { inForceFinding } from '../in-force.ts'
import { expectGovernor } from './governor.ts'
import { expectNode, expectPageSize } from './hugepages.ts'
import { expectCpuset } from './isolate.ts'

/** The features that a guest can have while it runs; with `--while-running` they are not done from the boot on. */
const PARTS = ['isolate', 'governor', 'hugepages'] as const

/**
 * Gives a guest CPUs, huge pages and clocks when it starts, and takes them back when it stops: by the unit of hand-over,
 * with or without a card. Throws a UserError: `no-guest`, `no-pinning`, `usage`, `unknown-system`, those of its parts.
 */
export const whileRunning: TuneFeature = {
  name: 'while-running',
  ofMachine: true,
  option: {
    kind: 'value',
    value: 'GUEST',
    help: 'do --isolate, --governor and --hugepages only while this guest of libvirt runs',
  },
  with: [{ name: 'best-effort', kind: 'flag', help: 'start it with fewer huge pages, where memory is too fragmented' }],
  takesOver: PARTS,

  requirements(facts, given) {
    const guest = given.value('while-running') ?? ''
    const { files } = facts.host
    expectGuestName(guest)
    if (isDescribed(facts))
      throw new UserError(
        'unknown-system',
        '--while-running is not done on NixOS; leave it out, for settings from the boot on',
      )
    expectSystemd(facts, '--while-running', 'leave it out, for settings from the boot on')
    const domain = readDomain(files, guest)
    if (domain === undefined)
      throw new UserError(
        'unknown-system',
        '--while-running is done by the hook of libvirt, which is not installed here',
      )
    if (!PARTS.some((name) => given.flag(name) || given.value(name) !== undefined))
      throw new UserError(
        'usage',
        `--while-running ${guest}: say what it gets: --isolate, --governor NAME, --hugepages SIZE`,
      )
    const lines = [
      `uuid ${domain.uuid}`,
      ...domain.functions.map((address) => `function ${address}`),
      ...cpuLines(facts, given, guest, domain.pinned),
      ...pageLines(facts, given),
    ]
    const own: Setting = {
      ...{ kind: 'file', path: `${WHILE_RUNNING}/${guest}` },
      content: `${headComment('tune-host')}${lines.join('\n')}\n`,
      reason: `what ${guest} gets while it runs`,
    }
    const settings = [own, ...handOverFiles(), hookFile()]
    const paths = settings.map(({ path }) => path)
    return tuneRequirements(`what ${guest} gets while it runs`, {
      settings,
      notes: [`It is in force from the next start of ${guest} on.`],
      replaces: ({ path }) => paths.includes(path),
    })
  },

  inForce: ({ machine }, settings) =>
    settings.flatMap((setting) => {
      const guest = setting.path.startsWith(`${WHILE_RUNNING}/`)
        ? setting.path.slice(WHILE_RUNNING.length + 1)
        : undefined
      return guest === undefined ? [] : guestFindings(machine, guest)
    }),
}

function cpuLines(facts: TuneFacts, given: Arguments, guest: string, pinned: string): string[] {
  const isolates = given.list('isolate').length > 0
  const governor = given.value('governor')
  if (!isolates && governor === undefined) return []
  if (given.value('isolate') !== undefined && given.value('isolate') !== '')
    throw new UserError(
      'usage',
      `--isolate takes no number with --while-running: ${guest} names its CPUs itself, by its pinning`,
    )
  if (pinned === '')
    throw new UserError(
      'no-pinning',
      `${guest} pins no virtual CPU, so that its CPUs are not known: gen-domain --vcpus pins them`,
    )
  if (isolates) expectCpuset(facts)
  if (governor !== undefined) expectGovernor(facts.host.machine, governor)
  return [...(isolates ? ['isolate yes'] : []), ...(governor === undefined ? [] : [`governor ${governor}`])]
}

function pageLines(facts: TuneFacts, given: Arguments): string[] {
  const size = given.value('hugepages')
  if (size === undefined && given.flag('best-effort'))
    throw new UserError('usage', '--best-effort goes with --hugepages')
  if (size === undefined) return []
  const page = parseSize('page-size', given.value('page-size') ?? '2M')
  expectPageSize(facts, page)
  const node = given.value('node')
  if (node !== undefined) expectNode(facts, node)
  const count = Math.ceil(parseSize('hugepages', size) / page)
  return [`pages ${page / 1024} ${count} ${node ?? '-'}`, ...(given.flag('best-effort') ? ['best-effort yes'] : [])]
}

/** Checks what the running guest has, as the kernel shows it; nothing is in force while it does not run. */
function guestFindings(machine: Reader, guest: string): Finding[] {
  const want = machine.optionalText(`${WHILE_RUNNING_WANTS}/${guest}`)
  if (want === undefined)
    return [inForceFinding('while-running', true, `${guest} does not run: nothing is in force for it`)]
  const cpus = parseCpuList(linesOf(want, 'isolated')[0]) ?? []
  const clocked = parseCpuList(linesOf(want, 'cpus')[0]) ?? []
  const [governor] = linesOf(want, 'governor')
  return [
    ...(cpus.length === 0 ? [] : [slicesFinding(machine, guest, cpus)]),
    ...(governor === undefined ? [] : [governorFinding(machine, guest, clocked, governor)]),
    ...linesOf(want, 'pages').map((line) => pagesFinding(machine, guest, line)),
  ]
}

function slicesFinding(machine: Reader, guest: string, cpus: readonly number[]): Finding {
  const lines = ['init.scope', 'system.slice', 'user.slice'].map((unit) => {
    const path = `/sys/fs/cgroup/${unit}/cpuset.cpus.effective`
    const now = parseCpuList(machine.optionalText(path)?.trim())
    return { path, now, ok: now === undefined ? null : !now.some((cpu) => cpus.includes(cpu)) }
  })
  const bad = lines.filter(({ ok }) => ok === false)
  const ok = bad.length > 0 ? false : lines.some((one) => one.ok === null) ? null : true
  const evidence = lines.map(({ path, now }) => `${path}: ${now === undefined ? 'not seen' : cpuList(now)}`)
  return inForceFinding(
    'while-running',
    ok,
    `${guest} has CPUs ${cpuList(cpus)} ${ok === false ? 'not ' : ''}to itself`,
    evidence,
    `start ${guest} again`,
  )
}

function governorFinding(machine: Reader, guest: string, cpus: readonly number[], governor: string): Finding {
  const path = (cpu: number): string => `/sys/devices/system/cpu/cpu${cpu}/cpufreq/scaling_governor`
  const others = cpus.flatMap((cpu) => {
    const now = machine.optionalText(path(cpu))?.trim()
    return now === governor ? [] : [`${path(cpu)}: ${now ?? 'not seen'}`]
  })
  const ok = others.length === 0 ? true : others.some((line) => !line.endsWith('not seen')) ? false : null
  return inForceFinding(
    'while-running',
    ok,
    `CPUs ${cpuList(cpus)} have the governor ${governor} while ${guest} runs`,
    others,
    `start ${guest} again`,
  )
}

function pagesFinding(machine: Reader, guest: string, line: string): Finding {
  const [kib = '', count = '', node = '-'] = line.split(' ')
  const folder = node === '-' ? '/sys/kernel/mm/hugepages' : `/sys/devices/system/node/node${node}/hugepages`
  const path = `${folder}/hugepages-${kib}kB/nr_hugepages`
  const now = machine.optionalText(path)?.trim()
  const ok = now === undefined ? null : Number(now) >= Number(count)
  return inForceFinding(
    'while-running',
    ok,
    `${guest} asked for ${count} huge pages of ${Number(kib) / 1024} MiB`,
    [`${path}: ${now ?? 'not seen'}`],
    `start ${guest} again`,
  )
}
