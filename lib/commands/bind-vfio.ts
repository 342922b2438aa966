import { type BindFacts, readBindFacts } from '../bind/bind-facts.ts'
import { boundAlready, boundNote } from '../bind/bound-already.ts'
import { canBindByAddress, kernelFindings, readKernelReports } from '../bind/kernel-report.ts'
import { type Binding, nestedNotes, planBinding, withGroupMates, withoutNested } from '../bind/plan-binding.ts'
import { claimsOf } from '../change/journal.ts'
import { tokensKeptBy } from '../change/settings.ts'
import { checksFor, runChecks } from '../checks/check.ts'
import { secureBootGuard, sharedIdGuard } from '../checks/guards.ts'
import { BINDING_GUARDS, GUARDS } from '../checks/registry.ts'
import { UserError } from '../core/error.ts'
import { toFinding } from '../core/finding.ts'
import { modprobeFiles } from '../edit/modprobe.ts'
import { findDeadIds } from '../edit/modprobe-conflicts.ts'
import { readPciFacts } from '../host/machine.ts'
import type { PciDevice } from '../host/pci.ts'
import { readSecureBoot } from '../host/secure-boot.ts'
import { readDeviceUsage } from '../host/usage.ts'
import { readHost, readSystemFacts } from '../system/read-system.ts'
import type { Adapters } from '../system/system.ts'
import { type Arguments, type Option, usageError } from '../terminal/options.ts'
import { bindingView } from '../views/answers.ts'
import { findAlsoTaken } from './also-taken.ts'
import { refuse, requestedDevices, toBoundFunction } from './answer.ts'
import { answerNow } from './bind-now.ts'
import { answerCycle } from './change-cycle.ts'
import { changeOptions, requestedAdapters, requestedMode } from './change-options.ts'
import { answerTree, factsOfBuild, type ImageTree, planOfTree, requestedTree, TREE_HELP } from './image-tree.ts'
import { answerKernelConfig, withKernelFindings } from './kernel-config-answer.ts'
import { expectModuleOutput, moduleOutput } from './module-output.ts'
import { answerPredict, imageReader } from './predict-answer.ts'
import { bootSystem } from './predict-boots.ts'
import { predictedBinding } from './predicted-binding.ts'
import type { Proposal } from './proposal.ts'
import type { Answer, Context } from './run-script.ts'
import { bindingStatus } from './status.ts'

/** Returns the options of bind-vfio. */
export function bindOptions(adapters: Adapters): Option[] {
  return changeOptions(adapters, {
    status: 'is all as planned? each point with its evidence',
    undo: 'take back what was bound, for DEVICE or altogether',
    modes: [
      { name: 'all', kind: 'flag', help: 'with --undo: what every script of this toolkit did' },
      { name: 'now', kind: 'flag', help: 'bind (with --undo: release) at once, without a reboot, until the next one' },
      { name: 'choose', kind: 'flag', help: 'choose the card from a list, see the plan, confirm (on a terminal)' },
      { name: 'predict', kind: 'flag', help: 'who has each device (or DEVICE) after a reboot now, and by which line' },
      {
        name: 'kernel-config',
        kind: 'flag',
        help: 'what the kernels were not built with, and how to; with DEVICE: for it',
      },
    ],
    guards: BINDING_GUARDS,
    settings: [
      { name: 'iommu-pt', kind: 'flag', help: 'add iommu=pt too: faster for devices that stay with the host' },
    ],
    output: TREE_HELP,
    module: [
      { name: 'virtiofsd', kind: 'flag', help: 'on NixOS: have libvirt share folders with guests by virtiofsd' },
    ],
  })
}

/** The way to match devices: by ID where that is enough, or by address because somebody asked for it. */
type IdentifiedBy = 'id' | 'address'

/** Answers bind-vfio and override-same-id-gpu: plan, apply, status, undo, now or from the next boot on. */
export async function answerBindVfio(context: Context, adapters: Adapters, by: IdentifiedBy = 'id'): Promise<Answer> {
  const given = context.arguments
  checkBindUsage(given)
  if (given.flag('now')) return answerNow(context)
  if (given.flag('predict')) return answerPredict(context, adapters)
  if (given.flag('kernel-config')) return answerKernelConfig(context, adapters)
  const system = readSystemFacts(readHost(context.machine), adapters, requestedAdapters(given))
  const tree = requestedTree(given, system)
  if (tree !== undefined) {
    const { plan, ...rest } = await proposeBinding(context, adapters, given.flag('apply'), by, tree)
    return answerTree(
      context,
      { ...rest, plan: planOfTree(plan, tree, system, rest.bootFiles?.tokens ?? [], 'binding') },
      tree,
    )
  }
  return answerCycle(context, adapters, {
    kind: 'binding',
    propose: (own, apply) => proposeBinding(own, adapters, apply, by),
    status: (own) => bindingStatus(own, adapters),
  })
}

function checkBindUsage(given: Arguments): void {
  const modes = ['status', 'undo', 'choose', 'confirm', 'predict', 'kernel-config']
  const mode = requestedMode(given, modes, ['status', 'predict', 'kernel-config'])
  if (mode === 'status' && given.operands.length > 0)
    throw usageError('--status looks at all that is bound: leave the devices out')
  if (given.flag('now') && (given.flag('all') || (mode !== undefined && mode !== 'undo')))
    throw usageError('--now goes with --undo and --apply only')
  if (given.flag('all') && mode !== 'undo') throw usageError('--all goes with --undo')
  if (given.flag('all') && given.operands.length > 0) throw usageError('--all is everything: leave the devices out')
  if (given.flag('now') && given.value('confirm-within') !== undefined)
    throw usageError('--now ends with the next boot by itself: leave --confirm-within out')
  if (mode === undefined && given.operands.length === 0)
    throw usageError('no device given; list-iommu shows them, --choose offers them on a terminal')
}

async function proposeBinding(
  context: Context,
  adapters: Adapters,
  apply: boolean,
  identifiedBy: IdentifiedBy,
  tree?: ImageTree,
): Promise<Proposal> {
  const { machine, warn, script, arguments: given } = context
  const pci = readPciFacts(machine, warn)
  const requested = requestedDevices(pci, given)
  const selected = withGroupMates(pci.devices, requested)
  const taken = withoutNested(selected)
  const read = readBindFacts(machine, pci, adapters, requestedAdapters(given))
  const facts = tree === undefined ? read : factsOfBuild(read, tree, adapters)
  expectNoFunctionsOf(facts, selected)
  const usage = readDeviceUsage(machine.reader, facts.host.files, selected)
  const readers = [machine.reader, facts.host.files]
  const guarded = { pci, requested, selected, given: selected, usage }
  const guards = [...checksFor(GUARDS, 'taking'), ...checksFor(GUARDS, 'at-boot')]
  const findings = runChecks(guards, guarded, readers, true)
  refuse(findings, given)
  const already = pci.iommu.enabled === false ? [] : boundAlready(facts, pci.devices, taken)
  const added = taken.filter((device) => !already.some((one) => one.device === device))
  const shared = toFinding(sharedIdGuard, sharedIdGuard.run({ pci, selected: added }))
  const addressReason = (devices: readonly PciDevice[]): string | null => {
    const { state, evidence, summary } = sharedIdGuard.run({ pci, selected: devices })
    const equal = state === 'problem' && !given.list('force').includes(shared.code) ? (evidence[0] ?? summary) : null
    if (identifiedBy === 'address' && equal === null && devices.length > 0) expectSameIdDevice(facts, devices)
    if (identifiedBy === 'id' && equal !== null && !canBindByAddress(facts)) refuse([shared], given)
    return equal ?? (identifiedBy === 'address' && devices.length > 0 ? 'as asked' : null)
  }
  if (tree === undefined) expectModuleOutput(given, facts.distro.adapter, apply)
  const { declarative } = facts.distro.adapter ?? {}
  const address = addressReason(added)
  const kernel = kernelFindings(
    readKernelReports(facts, added, (devices) => (one) => facts.candidateModules(one, devices)),
    facts.distro.adapter?.kernel,
  )
  const planWith = (left: readonly PciDevice[], again: boolean): Binding => {
    const devices = taken.filter((device) => !left.includes(device))
    return withKernelFindings(
      () =>
        planBinding(facts, pci.devices, devices, {
          passThrough: given.flag('iommu-pt'),
          address: devices.length === added.length ? address : addressReason(devices),
          ...(left.length > 0 ? { bound: left } : {}),
          again,
          software: given.flag('virtiofsd') ? ['virtiofsd'] : [],
          output: tree === undefined ? moduleOutput(given, machine.files.root) : null,
        }),
      kernel,
    )
  }
  const system = bootSystem(facts, pci, adapters, facts.allCandidateModules)
  const bound = already.map(({ device }) => device)
  const { binding, boots, left } =
    declarative === undefined && tree === undefined
      ? await predictedBinding(planWith, bound, system, pci, imageReader(facts.host.files))
      : { binding: planWith(bound, false), boots: [], left: bound }
  const also = findAlsoTaken(facts, pci, selected, boots)
  findings.push(...also.findings)
  refuse(also.findings, given)
  if (binding.regenerated.images || binding.regenerated.entries) {
    const unsigned = facts.bootloader.adapter?.unsigned?.() ?? []
    const secureBoot = readSecureBoot(facts.host.machine)
    findings.push(toFinding(secureBootGuard, secureBootGuard.run({ secureBoot, unsigned })))
    refuse(findings, given)
  }
  findings.push(...kernel.findings)
  const { plan } = binding
  plan.notes.unshift(...already.filter(({ device }) => left.includes(device)).map(boundNote))
  const dead = declarative === undefined ? findDeadIds(modprobeFiles(facts.host.files)) : []
  plan.notes.push(...nestedNotes(selected), ...kernel.notes, ...also.notes)
  plan.notes.push(...dead.map(({ file, line, what }) => `${file}:${line}: ${what}`))
  const used = declarative === undefined ? facts : undefined
  const { regenerated, tokens, imageRequirements: requirements } = binding
  const names = {
    bootloader: used?.bootloader.adapter?.name ?? null,
    initramfs: requirements === null ? null : (used?.initramfs.adapter?.name ?? null),
  }
  return {
    ...{ plan, host: facts.host, journal: facts.journal, devices: selected, findings, boots },
    lacking: kernel.findings.length > 0,
    entry: {
      functions: binding.bound.map(({ device }) => toBoundFunction(device, pci.devices)),
      adapters: names,
    },
    bootFiles: {
      bootloader: regenerated.entries ? names.bootloader : null,
      initramfs: regenerated.images ? names.initramfs : null,
      ...{ adapters, tokens, requirements },
    },
    view: bindingView(script, given, {
      ...{ selected, pci, findings },
      holder: binding.holder,
      bootMenu: declarative?.menu ?? facts.bootloader.adapter?.menu(),
      printsModule: declarative !== undefined && given.value('output') === undefined,
    }),
  }
}

/** Throws a UserError with code `contradiction` for a card whose driver is to make virtual functions at every boot. */
function expectNoFunctionsOf({ journal }: BindFacts, selected: readonly PciDevice[]): void {
  const settings = claimsOf(journal, 'tuning').map(({ setting }) => setting)
  const cards = tokensKeptBy(settings, 'virtual-functions').map((token) => token.split('=')[0])
  const card = selected.find(({ address }) => cards.includes(address))
  if (card !== undefined)
    throw new UserError(
      'contradiction',
      `${card.address}: tune-host makes virtual functions of it at every boot, for which it keeps its driver: take that back first (tune-host --undo vfs --apply), or give a guest one of them`,
    )
}

/** Throws a UserError with code `not-needed` when IDs tell these devices apart and nothing built in would be first. */
function expectSameIdDevice({ host, candidateModules }: BindFacts, selected: readonly PciDevice[]): void {
  const builtin = host.kernels.some((kernel) =>
    candidateModules(kernel, selected).some((modules) => modules?.some((name) => kernel.provides(name) === 'builtin')),
  )
  const ids = [...new Set(selected.map(({ vendor, device }) => `${vendor.id}:${device.id}`))].join(' and ')
  if (!builtin)
    throw new UserError(
      'not-needed',
      `no other device is ${ids}: bind-vfio is enough, which goes by ID and follows a card to another slot`,
    )
}
