import { withGroupMates, withoutNested } from '../bind/plan-binding.ts'
import { judgeResets, readResetFacts } from '../bind/reset.ts'
import { claimsOf, type JournalRecord, readJournal } from '../change/journal.ts'
import { changesReplacing, type Plan } from '../change/plan.ts'
import { type PlannedSetting, settingKey } from '../change/settings.ts'
import { contentReader, endingClaims, leavingSettings } from '../change/undo.ts'
import { checksFor, runChecks } from '../checks/check.ts'
import { HAND_OVER_GUARDS } from '../checks/hand-over-guards.ts'
import { libvirtHookCheck } from '../checks/libvirt-hook.ts'
import { GUARDS } from '../checks/registry.ts'
import { UserError } from '../core/error.ts'
import { type GuestDomain, readDomain } from '../guest/libvirt/guest-domain.ts'
import { readHolders } from '../hand-over/holders.ts'
import { handOverFiles, hookFile } from '../hand-over/hook-files.ts'
import { handOverModule } from '../hand-over/nix-module.ts'
import {
  decideHandOver,
  guestFile,
  type HandOver,
  readHandOvers,
  takesOnlyDisplay,
} from '../hand-over/plan-hand-over.ts'
import { findUnit, isAway, readDisplayManager, readNumberedCards, readPlaces } from '../hand-over/read-hand-over.ts'
import { hasSystemd } from '../host/find-program.ts'
import { readKernelLog } from '../host/kernel-log.ts'
import { type PciFacts, readPciFacts } from '../host/machine.ts'
import { isVfio, type PciDevice } from '../host/pci.ts'
import { listensOn } from '../host/sockets.ts'
import { readDeviceUsage } from '../host/usage.ts'
import { readDistro, readHost } from '../system/read-system.ts'
import type { Adapters, DeclarativeSystem, Host } from '../system/system.ts'
import { usageError } from '../terminal/options.ts'
import { reloadCommands } from '../tune/reload.ts'
import { handOverView } from '../views/hand-over-view.ts'
import { findRequestedDevices, refuse, toBoundFunction } from './answer.ts'
import { expectModuleOutput, moduleOutput } from './module-output.ts'
import type { Proposal } from './proposal.ts'
import type { Context } from './run-script.ts'

/** A hand-over as it is decided, and its proposal. */
export interface ProposedHandOver {
  decided: HandOver
  proposal: Proposal
}

/** Proposes what is to happen from now on when a guest starts and stops. Throws UserErrors; those of guards too. */
export function proposeHandOver(context: Context, adapters: Adapters, apply = false): ProposedHandOver {
  const { machine, warn, script, arguments: given } = context
  const [guest = '', ...named] = given.operands
  const host = readHost(machine)
  const { files } = host
  if (!hasSystemd(files))
    throw new UserError('unknown-system', 'hand-over is done by units of systemd, which does not start this system')
  const domain = readDomain(files, guest)
  const pci = readPciFacts(machine, warn)
  const requested = requestedFunctions(pci, host, domain, guest, named)
  if (requested.length === 0 && given.list('stop').length + given.list('start').length === 0)
    throw usageError(`${guest} has no device of this host; name one: hand-over ${guest} 01:00`)
  const selected = withoutNested(withGroupMates(pci.devices, requested))
  const usage = readDeviceUsage(machine.reader, files, selected)
  const holders = readHolders(machine.reader, usage)
  const away = isAway(machine.reader, guest)
  const guarded = { pci, requested, selected, given: selected, usage, holders, away }
  const readers = [machine.reader, files]
  const findings = [
    ...runChecks(checksFor(HAND_OVER_GUARDS, 'hand-over'), guarded, readers, true),
    ...runChecks(checksFor(GUARDS, 'hand-over'), guarded, readers, true),
    ...runChecks([libvirtHookCheck], { host, willHook: domain !== undefined }, readers, true),
  ]
  refuse(findings, given)
  if (away) throw awayError(guest)
  const decided = decideHandOver({
    ...{ guest, uuid: domain?.uuid ?? null, functions: selected, devices: pci.devices, holders },
    ...readPlaces(machine.reader, selected),
    displayManager: readDisplayManager(files),
    console: usage.screens.found.length > 0,
    stop: given.list('stop').map((name) => findUnit(files, '--stop', name)),
    start: given.list('start').map((name) => findUnit(files, '--start', name)),
  })
  const journal = readJournal(files)
  const { adapter: distro, lasts, why } = readDistro(host, adapters)
  if (lasts === false) throw new UserError('unknown-system', `${why}; nothing was written`)
  const output = moduleOutput(given, files.root)
  expectModuleOutput(given, distro, apply, `/etc/nixos/hand-over-${guest}.nix`)
  const { plan, undoes, undone } = planFiles(host, journal, decided, distro?.declarative, output)
  plan.notes.push(...notesOn(context, pci, decided, domain))
  const proposal: Proposal = {
    ...{ plan, host, journal, devices: selected, findings },
    entry: { functions: selected.map((one) => toBoundFunction(one, pci.devices)), undoes, undone },
    view: {
      ...handOverView(script, given, { decided, holders, findings, pci }),
      printsModule: distro?.declarative !== undefined && output === null,
    },
  }
  return { decided, proposal }
}

/** Returns the devices that are named; else those of an earlier run, or of the guest that have a driver of the host. */
function requestedFunctions(
  pci: PciFacts,
  { files }: Host,
  domain: GuestDomain | undefined,
  guest: string,
  named: readonly string[],
): PciDevice[] {
  if (named.length > 0) return findRequestedDevices(pci, named)
  const known = readHandOvers(files).find((one) => one.guest === guest)?.functions
  const own = known ?? domain?.functions ?? []
  return pci.devices.filter(({ address, driver }) => own.includes(address) && (known !== undefined || !isVfio(driver)))
}

/** Plans the files: one setting of another content at the same path is replaced, whoever else needs it. */
function planFiles(
  host: Host,
  journal: readonly JournalRecord[],
  decided: HandOver,
  declarative: DeclarativeSystem | undefined,
  output: string | null,
): { plan: Plan; undoes: number[]; undone: string[] } {
  const { guest } = decided
  const path = output ?? `/etc/nixos/hand-over-${guest}.nix`
  const own = guestFile(decided)
  const shared = [...handOverFiles(), ...(decided.uuid === null ? [] : [hookFile()])]
  const files =
    declarative === undefined ? [own, ...shared] : [{ ...own, path, content: handOverModule([own, ...shared]) }]
  const all = claimsOf(journal, 'hand-over')
  const keys = new Map(files.map((one) => [one.path, settingKey(one)]))
  const going = all.filter(({ setting, key }) => keys.has(setting.path) && keys.get(setting.path) !== key)
  const { undoes, undone, remaining } = endingClaims(all, going, new Set(keys.values()))
  // Who needs a shared file in its old form needs it in the new one.
  const owners = [...new Set([guest, ...undone])]
  const settings = files.map((one): PlannedSetting => ({ ...one, owners: shared.includes(one) ? owners : [guest] }))
  const leaving = leavingSettings(journal, going)
  const changes = changesReplacing(leaving, settings, contentReader(host.files))
  const paths = changes.map(({ path }) => path)
  const commands = reloadCommands(host, paths, true)
  return {
    plan: {
      changes: [...changes, ...commands],
      settings: [...settings, ...remaining],
      notes: changes.length === 0 ? [] : (declarative?.steps(path) ?? []),
      rebootNeeded: false,
    },
    undoes,
    undone,
  }
}

function notesOn({ machine }: Context, pci: PciFacts, decided: HandOver, domain: GuestDomain | undefined): string[] {
  const { guest, functions, endsSessions } = decided
  const notes: string[] = []
  const missing = functions.filter(({ address }) => !domain?.functions.includes(address))
  if (domain === undefined)
    notes.push(`libvirt has no part in it: the script of gen-domain --format qemu takes the card and gives it back.`)
  else if (missing.length > 0)
    notes.push(
      `${guest} has no ${missing.map(({ address }) => address).join(', ')} yet: gen-domain --patch adds it to the guest.`,
    )
  if (endsSessions) notes.push(`When ${guest} starts, the session at the screen ends, with all programs in it.`)
  if (takesOnlyDisplay({ functions, devices: pci.devices })) {
    const ssh = listensOn(machine.reader, 22)
    notes.push(
      ssh === true
        ? 'It is the only display: meanwhile the host is reached over SSH (a server listens on port 22).'
        : `It is the only display, and ${ssh === false ? 'no SSH server listens' : 'it is not known whether an SSH server listens'} on port 22: set sshd up, and log in from another machine once, before the guest has it.`,
    )
  }
  const { log } = readKernelLog(machine)
  const resets = judgeResets(pci.devices, functions, readResetFacts(machine.reader, pci.devices, functions, log), true)
  for (const { card, verdict, reason } of resets)
    if (verdict !== 'ok') notes.push(`Its reset (check-reset ${card}): ${verdict}, ${reason}`)
  for (const { file, line, text } of readNumberedCards(machine.files, functions))
    notes.push(
      `${file}:${line}: ${text}: the number may be another when the card is back; name it by /dev/dri/by-path.`,
    )
  if (functions.some(({ driver }) => driver === 'nvidia'))
    notes.push("Users of NVIDIA's driver inside the kernel cannot be seen; --rehearse shows whether it lets go.")
  return notes
}

/** Returns the error that a guest has its devices now. */
export function awayError(guest: string): UserError {
  return new UserError('in-use', `${guest} has its devices now; shut it down, or: hand-over ${guest} --return --apply`)
}
