import { resolve } from 'node:path'
import { type BindFacts, readBindFacts } from '../bind/bind-facts.ts'
import { canBindByAddress, kernelFindings, readKernelReports } from '../bind/kernel-report.ts'
import { nestedNotes, planBinding, withGroupMates, withoutNested } from '../bind/plan-binding.ts'
import { applyPlan } from '../change/apply.ts'
import { parseTime, withConfirmTimer } from '../change/confirm.ts'
import { withLock } from '../change/lock.ts'
import { cutShortRuns } from '../change/undo.ts'
import { checksFor, runChecks } from '../checks/check.ts'
import { secureBootGuard, sharedIdGuard } from '../checks/guards.ts'
import { BINDING_GUARDS, GUARDS } from '../checks/registry.ts'
import { UserError } from '../core/error.ts'
import { toFinding } from '../core/finding.ts'
import { expectAllRead, readPciFacts, unreadWarnings } from '../host/machine.ts'
import type { PciDevice } from '../host/pci.ts'
import { readSecureBoot } from '../host/secure-boot.ts'
import { openReader } from '../host/sysroot.ts'
import { readDeviceUsage } from '../host/usage.ts'
import { expectMounted } from '../system/mounted.ts'
import { readHost } from '../system/read-system.ts'
import type { Adapters } from '../system/system.ts'
import type { Option } from '../terminal/options.ts'
import { appliedText, planText } from '../views/answers.ts'
import {
  answerJson,
  appliedJson,
  durationsIn,
  journalEntryFacts,
  refuse,
  requestedDevices,
  toBoundFunction,
} from './answer.ts'
import { answerLive } from './bind-now.ts'
import { checkBindUsage, requestsAction } from './bind-usage.ts'
import { chooseCard } from './choose.ts'
import { forceOption } from './force.ts'
import { answerKernelConfig, withKernelFindings } from './kernel-config-answer.ts'
import { expectModuleOutput, isNewFile, moduleOutput } from './module-output.ts'
import { listEqualCards } from './override-same-id-gpu.ts'
import type { Answer, Context } from './run-script.ts'
import { answerBindStatus } from './status.ts'
import { targetFor } from './target.ts'
import { answerConfirm, answerUndo } from './undo-confirm.ts'
import { verifyBinding } from './verify-boot-files.ts'

/** The options of bind-vfio. */
export function bindOptions(adapters: Adapters): Option[] {
  return [
    { name: 'apply', kind: 'flag', help: 'do it; without this the plan is shown and nothing is written' },
    { name: 'status', kind: 'flag', help: 'is all as planned? each point with its evidence' },
    { name: 'undo', kind: 'flag', help: 'take back what this script did, for DEVICE or altogether' },
    { name: 'all', kind: 'flag', help: 'with --undo: what every script of this toolkit did' },
    { name: 'now', kind: 'flag', help: 'bind (with --undo: release) at once, without a reboot, until the next one' },
    { name: 'choose', kind: 'flag', help: 'choose the card from a list, see the plan, confirm (on a terminal)' },
    {
      name: 'kernel-config',
      kind: 'flag',
      help: 'what the kernels were not built with, and how to; with DEVICE: for it',
    },
    forceOption(BINDING_GUARDS),
    { name: 'iommu-pt', kind: 'flag', help: 'add iommu=pt too: faster for devices that stay with the host' },
    ...confirmOptions,
    ...adapterOptions(adapters),
    outputOption,
    { name: 'virtiofsd', kind: 'flag', help: 'on NixOS: have libvirt share folders with guests by virtiofsd' },
    { name: 'no-commands', kind: 'flag', help: 'with --apply: write the files and print the commands' },
  ]
}

/** Where a system is described in files. */
export const outputOption: Option = {
  name: 'output',
  kind: 'value',
  value: 'FILE',
  help: 'on NixOS: the module to write, which you import',
}

/** The dead man's switch. */
export const confirmOptions: readonly Option[] = [
  {
    name: 'confirm-within',
    kind: 'value',
    value: 'TIME',
    help: 'with --apply: take it back unless --confirm follows in time (10m), after the reboot where one is needed',
  },
  { name: 'confirm', kind: 'flag', help: 'keep what was applied with --confirm-within' },
]

/** How a person settles what the evidence does not. */
export function adapterOptions(adapters: Adapters): Option[] {
  const names = (some: readonly { name: string }[]): string[] => some.map(({ name }) => name)
  return [
    {
      name: 'bootloader',
      kind: 'value',
      choices: names(adapters.bootloaders),
      help: 'the boot loader, where it is not found out',
    },
    {
      name: 'initramfs',
      kind: 'value',
      choices: names(adapters.initramfs),
      help: 'the initramfs generator, where it is not found out',
    },
  ]
}

/** By ID where that is enough, or by address because somebody asked for it. */
type IdentifiedBy = 'id' | 'address'

/** bind-vfio and override-same-id-gpu: plan, apply, status, undo. */
export async function answerBindVfio(context: Context, adapters: Adapters, by: IdentifiedBy = 'id'): Promise<Answer> {
  const given = context.arguments
  if (by === 'address' && !requestsAction(given)) return listEqualCards(context)
  checkBindUsage(given)
  if (given.flag('now')) return answerLive(context)
  if (given.flag('status')) return answerBindStatus(context, adapters)
  if (given.flag('kernel-config')) return answerKernelConfig(context, adapters)
  const { files } = context.machine
  const own = openReader('/')
  const confirms = given.flag('confirm')
  if (confirms || given.flag('apply') || given.flag('choose') || given.flag('undo'))
    expectMounted(files, own, resolve(files.root))
  const locked = (work: () => Promise<Answer>, apply: boolean): Promise<Answer> =>
    apply ? withLock(targetFor(context), own, work) : work()
  if (given.flag('choose'))
    return chooseCard(context, (selected, apply) => locked(() => bind(selected, adapters, apply, by), apply))
  if (confirms) return locked(() => answerConfirm(context, adapters), true)
  const apply = given.flag('apply')
  return locked(() => (given.flag('undo') ? answerUndo(context, adapters) : bind(context, adapters, apply, by)), apply)
}

async function bind(context: Context, adapters: Adapters, apply: boolean, identifiedBy: IdentifiedBy): Promise<Answer> {
  const { machine, warn, script, arguments: given } = context
  const pci = readPciFacts(machine, warn)
  const requested = requestedDevices(pci, given)
  const selected = withGroupMates(pci.devices, requested)
  const taken = withoutNested(selected)
  const facts = readBindFacts(machine, pci, taken, adapters, {
    bootloader: given.value('bootloader'),
    initramfs: given.value('initramfs'),
  })
  const usage = readDeviceUsage(machine.reader, facts.host.files, selected)
  const readers = [machine.reader, facts.host.files]
  const guarded = { pci, requested, selected, given: selected, usage }
  const findings = runChecks(checksFor(GUARDS, 'taking'), guarded, readers, true)
  refuse(findings, given)
  const shared = toFinding(sharedIdGuard, sharedIdGuard.run({ pci, selected: taken }))
  const forced = given.list('force').includes(shared.code)
  const equal = shared.state === 'problem' && !forced ? (shared.evidence[0] ?? shared.summary) : null
  const address = equal ?? (identifiedBy === 'address' ? 'as asked' : null)
  if (identifiedBy === 'address' && equal === null) expectSameIdDevice(facts, taken)
  expectModuleOutput(given, facts.distro.adapter, apply)
  const { declarative } = facts.distro.adapter ?? {}
  if (identifiedBy === 'id' && equal !== null && !canBindByAddress(facts)) refuse([shared], given)
  const kernel = kernelFindings(
    readKernelReports(facts, taken, () => facts.candidateModules),
    facts.distro.adapter?.kernel,
  )
  const binding = withKernelFindings(
    () =>
      planBinding(facts, pci.devices, taken, {
        passThrough: given.flag('iommu-pt'),
        address,
        software: given.flag('virtiofsd') ? ['virtiofsd'] : [],
        output: moduleOutput(given, machine.files.root),
      }),
    kernel,
  )
  if (binding.regenerated.images || binding.regenerated.entries) {
    const unsigned = facts.bootloader.adapter?.unsigned?.() ?? []
    const secureBoot = readSecureBoot(facts.host.machine)
    findings.push(toFinding(secureBootGuard, secureBootGuard.run({ secureBoot, unsigned })))
    refuse(findings, given)
  }
  const within = given.value('confirm-within')
  if (within !== undefined && binding.plan.changes.length > 0)
    binding.plan = withConfirmTimer(
      facts.host,
      facts.journal,
      binding.plan,
      script.name,
      parseTime('--confirm-within', within),
    )
  const short = cutShortRuns(facts.host.files, facts.journal)
  binding.plan.notes.push(...nestedNotes(selected), ...kernel.notes, ...short.notes, ...unreadWarnings(machine))
  const bound = binding.bound.map(({ device }) => device)
  const { plan } = binding
  const json = answerJson(context.script, 'plan', plan, selected, [...findings, ...kernel.findings], short.changes)
  const view = {
    script,
    json,
    selected,
    all: pci.devices,
    groups: pci.groups,
    durations: durationsIn(facts.journal),
    bootMenu: declarative?.menu ?? facts.bootloader.adapter?.menu(),
    given,
    cutShort: short.notes.length > 0,
    printsModule: declarative !== undefined && given.value('output') === undefined && isNewFile(plan),
  }
  if (!apply || plan.changes.length === 0)
    return {
      code: plan.changes.length + kernel.findings.length + short.notes.length > 0 ? 1 : 0,
      json,
      text: (style) => planText(style, view),
    }
  expectAllRead(machine)
  const target = targetFor(context)
  const used = declarative === undefined ? facts : null
  const names = {
    bootloader: used?.bootloader.adapter?.name ?? null,
    initramfs: binding.imageRequirements === null ? null : (used?.initramfs.adapter?.name ?? null),
  }
  const entry = journalEntryFacts(
    context,
    plan,
    bound.map((one) => toBoundFunction(one, pci.devices)),
    names,
  )
  const { printed } = await applyPlan(target, entry, () =>
    verifyBinding(readHost(machine), names, adapters, binding, target),
  )
  return {
    code: 0,
    json: appliedJson(json, printed),
    text: (look) => appliedText(look, view, printed),
  }
}

/** Throws a UserError with code `not-needed` when IDs tell these devices apart and nothing built in would be first. */
function expectSameIdDevice({ host, candidateModules }: BindFacts, selected: readonly PciDevice[]): void {
  const builtin = host.kernels.some((kernel) =>
    candidateModules(kernel).some((modules) => modules?.some((name) => kernel.provides(name) === 'builtin')),
  )
  const ids = [...new Set(selected.map(({ vendor, device }) => `${vendor.id}:${device.id}`))].join(' and ')
  if (!builtin)
    throw new UserError(
      'not-needed',
      `no other device is ${ids}: bind-vfio is enough, which goes by ID and follows a card to another slot`,
    )
}
