import { claimsOf, type JournalRecord } from '../change/journal.ts'
import { type Change, type CommandChange, changesFor, changesReplacing, onceEach } from '../change/plan.ts'
import {
  addSetting,
  hasSetting,
  isInOwnFile,
  kernelArgumentIn,
  type PlannedSetting,
  type Setting,
  settingKey,
} from '../change/settings.ts'
import { contentReader } from '../change/undo.ts'
import { UserError } from '../core/error.ts'
import { addArgument } from '../edit/kernel-arguments.ts'
import { type Directive, moduleName } from '../edit/modprobe.ts'
import { findIds, loadedBefore } from '../edit/modprobe-conflicts.ts'
import { type ConfiguredArgument, isConfigured } from '../edit/shell-variables.ts'
import { parseCommandLine } from '../host/kernel.ts'
import type { MenuEntry } from './boot.ts'
import { expectImagesMade, filesByHand, imageNotes, recoveryNotes } from './booted-images.ts'
import type { Bootloader, Detected, Distro, Host, Initramfs, InitramfsRequirements } from './system.ts'

/** The system as it is set up: the facts that settings are decided on. */
export interface SystemFacts {
  host: Host
  /** The directives that modprobe reads now. */
  modprobe: readonly Directive[]
  distro: Detected<Distro>
  bootloader: Detected<Bootloader>
  /** The kernel arguments that its files set for the next boot. */
  configured: readonly ConfiguredArgument[]
  initramfs: Detected<Initramfs>
  /** The entries that boot, as far as they can be seen. */
  entries: readonly MenuEntry[]
  journal: readonly JournalRecord[]
}

/** Settings, grouped by what has to be made again when they change. */
export interface SettingGroups {
  /** Settings that are effective as they stand. */
  files?: readonly PlannedSetting[]
  /** Settings that initramfs images hold. */
  image: readonly PlannedSetting[]
  /** Settings that boot entries hold. */
  loader: readonly PlannedSetting[]
  /** Settings of ours that these replace: those effective as they stand, and those that boot entries hold. */
  leaving?: { files: readonly Setting[]; loader: readonly Setting[] }
}

export interface SettingsPlan {
  changes: Change[]
  settings: PlannedSetting[]
  regenerated: { images: boolean; entries: boolean }
  /** Sentences on entries that stay as they are. */
  notes: string[]
}

/**
 * Returns the changes that bring the settings into effect, with the commands that make images and boot entries again.
 * Settings that a person has already made on this system by hand are left out. The commands are there too where files
 * say what boot entries do not and, with `again`, in any case: nobody has run them since.
 */
export function planSettings(
  facts: SystemFacts,
  { files = [], image, loader, leaving = { files: [], loader: [] } }: SettingGroups,
  again = false,
): SettingsPlan {
  const { host } = facts
  const own = new Set(claimsOf(facts.journal).map(({ key }) => key))
  const settings = [...files, ...image, ...loader].filter(
    (setting) =>
      own.has(settingKey(setting)) ||
      (isInOwnFile(setting) && isInItsFile(facts, setting)) ||
      !isInForce(facts, setting),
  )
  const changed = changesReplacing([...leaving.files, ...leaving.loader], settings, contentReader(host.files))
  // A setting that a program keeps is in no file: the command that adds it takes its token.
  const added = (some: readonly Setting[]): string[] =>
    settings.flatMap((one) =>
      one.kind === 'external' && some.includes(one) && !isInForce(facts, one) ? [one.token] : [],
    )
  const isTouched = (some: readonly Setting[]): boolean =>
    added(some).length > 0 || changed.some((change) => some.some(({ path }) => path === change.path))
  const commandsOf = (
    adapter: Bootloader | Initramfs | undefined,
    some: readonly Setting[],
    gone: readonly Setting[],
    stale: boolean,
  ): CommandChange[] => {
    const external = { add: added(some), remove: gone.flatMap((one) => (one.kind === 'external' ? [one.token] : [])) }
    return stale || isTouched([...some, ...gone]) || external.remove.length > 0
      ? (adapter?.commands(external) ?? [])
      : []
  }
  const images = commandsOf(facts.initramfs.adapter, image, [], again && image.length > 0)
  const held = facts.bootloader.adapter?.embedsInitramfs ? image : []
  const staleEntries = (again && loader.length + held.length > 0) || hasStaleEntries(facts, loader)
  const entries = commandsOf(facts.bootloader.adapter, [...loader, ...held], leaving.loader, staleEntries)
  const changes = [...changed, ...onceEach([...images, ...entries])]
  const { initramfs, bootloader } = facts
  const unmade =
    !(again || isTouched(image)) || initramfs.adapter === undefined
      ? []
      : initramfs.named && initramfs.adapter.withoutImages
        ? imageNotes(facts.entries)
        : expectImagesMade({
            ...{ changes, entries: facts.entries },
            initramfs: initramfs.adapter,
            bootloader: bootloader.adapter,
          })
  const skipped = entries.length > 0 || isTouched(loader) ? recoveryNotes(facts.entries) : []
  return {
    ...{ changes, settings, notes: [...unmade, ...skipped] },
    regenerated: { images: images.length > 0, entries: entries.length > 0 },
  }
}

/** Do the present entries lack kernel arguments that the loader's own files have? */
function hasStaleEntries({ bootloader: { adapter } }: SystemFacts, loader: readonly Setting[]): boolean {
  const tokens = loader.flatMap((one) => kernelArgumentIn(one, [adapter?.name ?? null]) ?? [])
  return tokens.length > 0 && (adapter?.observe([...new Set(tokens)], false) ?? []).some(({ ok }) => ok === false)
}

function isInItsFile({ host }: SystemFacts, setting: Setting): boolean {
  return hasSetting(contentReader(host.files)(setting.path), setting)
}

/** Is the setting already in force, whichever file or program it comes from? */
function isInForce(facts: SystemFacts, setting: Setting): boolean {
  const { modprobe, configured } = facts
  if (setting.kind === 'modprobe-id')
    return (
      findIds(modprobe, setting.module)
        .at(-1)
        ?.ids.some((id) => id.toLowerCase() === setting.id) ?? false
    )
  if (setting.kind === 'external' && facts.initramfs.adapter?.externalTokens?.().includes(setting.token)) return true
  if (setting.kind === 'shell-argument' || setting.kind === 'external') return isConfigured(configured, setting.token)
  if (setting.kind === 'command-line') return isInItsFile(facts, setting) || isConfigured(configured, setting.token)
  if (setting.kind !== 'line') return isInItsFile(facts, setting)
  const [, name = '', holder = ''] = /^softdep (\S+) pre: (\S+)/.exec(setting.line) ?? []
  return isInItsFile(facts, setting) || (name !== '' && loadedBefore(modprobe, name).includes(moduleName(holder)))
}

/**
 * Checks that boot loader, initramfs generator and distribution are known for sure and may be written by us. Otherwise
 * throws a UserError with code `unknown-system` that holds the steps for the person. `tokens`: kernel arguments.
 */
export function expectKnownSystem(
  { host, bootloader, initramfs, distro }: SystemFacts,
  files: readonly PlannedSetting[],
  requirements: InitramfsRequirements | null,
  tokens: readonly string[],
): void {
  const loads = tokens.length > 0 || (requirements !== null && bootloader.adapter?.embedsInitramfs === true)
  const why = [...(loads ? whyByHand(bootloader) : []), ...(requirements !== null ? whyByHand(initramfs) : [])]
  const named = bootloader.named && initramfs.named
  if (distro.adapter === undefined && !named && tokens.length + files.length > 0) why.push(distro.why)
  if (why.length === 0) return
  if (distro.lasts === false && !named) throw new UserError('unknown-system', `${distro.why}; nothing was written`)
  // For a person, each list is one argument.
  const line = parseCommandLine(tokens.reduce(addArgument, '')).map(({ token }) => token)
  const changes = changesFor(files, contentReader(host.files), addSetting)
  const held = [...(requirements?.modprobe ?? []), requirements?.bootScript ?? []].flat().join(', ')
  const anyImage = `Have your initramfs generator put ${[requirements?.module, held].filter(Boolean).join(' and ')} into every image, load it before the drivers, and make the images again.`
  const anyLoader = `Add to the kernel command line of your boot loader: ${line.join(' ')}`
  throw new UserError('unknown-system', `${why.join('; ')}. Nothing was written; by hand:`, [
    ...filesByHand(changes),
    ...(requirements === null ? [] : (initramfs.adapter?.steps(requirements) ?? [anyImage])),
    ...(loads ? (bootloader.adapter?.steps(line) ?? [anyLoader]) : []),
  ])
}

function whyByHand({ adapter, why }: Detected<Bootloader | Initramfs>): string[] {
  if (adapter === undefined) return [why]
  return adapter.isManual?.() ? [`${adapter.name} (${why}) is set up by hand`] : []
}
