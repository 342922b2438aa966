import { Buffer } from 'node:buffer'
import { diffLines } from '../change/diff.ts'
import { UserError } from '../core/error.ts'
import type { Finding } from '../core/finding.ts'
import { decideGuest, type GuestDecision, type GuestFacts } from '../guest/decide.ts'
import type { Guest } from '../guest/devices/guest-devices.ts'
import { opticalLines } from '../guest/devices/optical.ts'
import { domainName } from '../guest/libvirt/edit-domain.ts'
import { guestXml } from '../guest/libvirt/guest-xml.ts'
import { guestScript } from '../guest/qemu/guest-script.ts'
import { type BoardRequest, requestBoard } from '../guest/request.ts'
import { msiSteps } from '../guest/windows-msi.ts'
import { handOverUnit } from '../hand-over/hand-over-paths.ts'
import { hasHandOver } from '../hand-over/plan-hand-over.ts'
import type { Arguments } from '../terminal/options.ts'
import { paint, printable, type TerminalStyle } from '../terminal/text.ts'
import { diffColor } from '../views/changes.ts'
import { refuse } from './answer.ts'
import { checkGuest } from './check-guest.ts'
import { findRequestedCards, readGuestFacts } from './guest-facts.ts'
import { checkPatchUsage, patchDomain, readPatched } from './patch-domain.ts'
import type { Answer, Context } from './run-script.ts'
import { checkVmUsage, readVm, requestForVm, vmCommand } from './vm-command.ts'

/** The value that `gen-domain --json` prints. */
export interface GenDomain {
  schema: 'vfio-scripts/gen-domain/1'
  /** The domain, ready for libvirt to define; `null` with --format qemu. */
  xml: string | null
  /** The shell program that runs the guest; `null` without --format qemu. */
  script: string | null
  /** The command that makes or changes the VM of Proxmox, `''` where it lacks nothing; `null` without --format proxmox. */
  proxmox: string | null
  /** Does the text differ from the one that was given? */
  changed: boolean
  /** The guest as decided; `null` for a patch. */
  guest: Guest | null
  /** The reasons for decisions, one sentence each. */
  reasons: string[]
  /** Notes on what was left out, and on what is to be done. */
  notes: string[]
  findings: Finding[]
}

/** Answers gen-domain: a new guest on standard output, or with `--patch` a given domain with what was asked for. */
export async function answerDomain(context: Context): Promise<Answer> {
  const { arguments: given, warn } = context
  const asked = requestBoard(given)
  const vm = readVm(context, asked)
  checkDomainUsage(given, vm?.present != null)
  const request = vm === null ? asked : requestForVm(asked, vm)
  const file = given.value('patch')
  const before = file === undefined ? null : readPatched(file)
  const name = before === null ? request.name : domainName(before)
  const { pci, chosen: selected } = findRequestedCards(context, vm === null ? `guest ${name}` : `VM ${vm.vmid}`)
  const facts = await readGuestFacts(context, request, selected, pci?.iommuBits ?? null)
  const decision =
    before === null
      ? vm === null
        ? newGuest(context, request, facts)
        : vmCommand(given, request, facts, { ...vm, requested: selected, devices: pci?.devices ?? [] })
      : { guest: null, ...patchDomain(context, before, request, facts) }
  const { findings, warnings } = await checkGuest(context, facts, pci)
  refuse(findings, given)
  printWarnings(context, decision, findings, warnings)
  if (given.flag('msi-steps')) for (const line of msiSteps([...selected.gpus, ...selected.others])) warn(line)
  const { guest, reasons, notes, text } = decision
  const changed = text !== before
  const json: GenDomain = {
    schema: 'vfio-scripts/gen-domain/1',
    xml: request.format === 'libvirt' ? text : null,
    script: request.format === 'qemu' ? text : null,
    proxmox: request.format === 'proxmox' ? text : null,
    changed: vm === null ? changed : text !== '',
    guest,
    reasons,
    notes: [...notes, ...warnings],
    findings,
  }
  if (given.flag('diff') && before !== null)
    return { code: changed ? 1 : 0, json, text: (style) => diffText(style, before, text) }
  return { code: 0, json, text: () => text }
}

function newGuest(
  { arguments: given, machine }: Context,
  request: BoardRequest,
  facts: GuestFacts,
): GuestDecision & { text: string } {
  const decision = decideGuest(given, request, facts)
  const { guest } = decision
  if (request.format === 'libvirt') decision.notes.push(...opticalLines(guest.name, guest))
  const unit = hasHandOver(machine.files, guest.name) ? handOverUnit(guest.name) : null
  return { ...decision, text: request.format === 'qemu' ? guestScript(guest, unit) : guestXml(guest, facts.versions) }
}

function diffText(style: TerminalStyle, before: string, after: string): string {
  const bytes = (text: string): string => Buffer.from(text).toString('latin1')
  return diffLines(bytes(before), bytes(after))
    .map((line) => `${paint(style, diffColor(line), line.split('\t').map(printable).join('\t'))}\n`)
    .join('')
}

function checkDomainUsage(given: Arguments, exists: boolean): void {
  const usage = (message: string): UserError => new UserError('usage', message)
  checkVmUsage(given)
  if (given.value('patch') !== undefined) {
    checkPatchUsage(given)
    return
  }
  for (const name of ['remove', 'diff'])
    if (given.flag(name) || given.list(name).length > 0) throw usage(`--${name} goes with --patch`)
  if (exists) return
  if (given.value('name') === undefined) throw usage('--name NAME: the new guest needs a name')
  if (given.value('guest') === undefined) throw usage('--guest NAME: say what will run in it; --help lists them')
}

/** Prints warnings, guards that were overridden or could not be answered, and with `--explain` the reasons. */
function printWarnings(
  { arguments: given, warn }: Context,
  { reasons, notes }: Pick<GuestDecision, 'reasons' | 'notes'>,
  findings: readonly Finding[],
  warnings: readonly string[],
): void {
  if (given.flag('explain')) for (const reason of reasons) warn(`because: ${reason}`)
  for (const note of [...notes, ...warnings]) warn(note)
  for (const { code, state, summary, evidence } of findings)
    if (state !== 'ok') warn(`${summary} (${state === 'problem' ? `--force ${code}` : code}): ${evidence.join('; ')}`)
}
