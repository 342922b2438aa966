import { headComment, type PlannedSetting, type Setting } from '../change/settings.ts'
import { findListedIds } from '../edit/listed-ids.ts'
import { moduleName } from '../edit/modprobe.ts'
import { findIds, softdepFor } from '../edit/modprobe-conflicts.ts'
import type { Reader } from '../host/reader.ts'
import { BOOT_SCRIPT, BOOT_SCRIPT_HEAD } from './boot-script.ts'
import {
  expectKnownSystem,
  planSettings,
  type SettingGroups,
  type SettingsPlan,
  type SystemFacts,
} from './plan-settings.ts'
import { type RequiredState, type Requirement, requirementsOf } from './requirement.ts'
import type { InitramfsRequirements } from './system.ts'

/** The name of our file in modprobe.d. It sorts first: of several softdeps for a module kmod follows the first. */
export const OWN_MODPROBE_FILE = '00-vfio-scripts.conf'
const OWN_MODPROBE_PATH = `/etc/modprobe.d/${OWN_MODPROBE_FILE}`

/** The path of our file of sysctl values. It sorts last, so that our value wins over those of other files. */
export const OWN_SYSCTL_PATH = '/etc/sysctl.d/zz-vfio-scripts.conf'

/** The settings and changes that a backend made of requirements. */
export interface RenderedRequirements extends SettingsPlan {
  /** The kernel arguments that the boot entries must have afterwards. */
  tokens: string[]
  /** The contents that the images must have afterwards; `null`: none. */
  imageRequirements: InitramfsRequirements | null
}

/** Settings, grouped by what has to be made again for them, and the resulting contents of boot entries and images. */
type RenderedSettings = Required<Omit<SettingGroups, 'leaving'>> & Omit<RenderedRequirements, keyof SettingsPlan>

/**
 * The whole backend `files`: returns the settings and the changes, with commands that make images and entries again.
 * Throws the UserErrors of `fileSettings`.
 */
export function renderFiles(
  facts: SystemFacts,
  requirements: readonly Requirement[],
  again = false,
): RenderedRequirements {
  const { tokens, imageRequirements, ...groups } = fileSettings(facts, requirements)
  return { ...planSettings(facts, groups, again), tokens, imageRequirements }
}

/**
 * The backend `files`: returns the settings that meet the requirements, in the system's own files and in its tools.
 * Throws the UserErrors of `expectKnownSystem`, and of the adapters' settings.
 */
export function fileSettings(facts: SystemFacts, requirements: readonly Requirement[]): RenderedSettings {
  const { host, bootloader, initramfs } = facts
  const files = requirements.flatMap((one) => fileSetting(host.files, one) ?? [])
  const modprobe = modprobeSettings(facts, requirements)
  const bootScript = bootScriptSettings(facts, requirements)
  const imageRequirements = planImageRequirements(requirements, modprobe, bootScript)
  const early = requirementsOf(requirements, 'early').flatMap(({ owners }) => owners)
  const held = (imageRequirements === null ? [] : (initramfs.adapter?.settings(imageRequirements) ?? [])).map(
    (setting): PlannedSetting => ({ ...setting, owners: early }),
  )
  const required = requiredArguments(facts, requirements)
  const tokens = required.map(({ token }) => token)
  // The adapters' steps do not have the files that run the boot script.
  const runners = bootScript.length > 0 ? held : []
  expectKnownSystem(facts, [...files, ...modprobe, ...bootScript, ...runners], imageRequirements, tokens)
  const loader = required.flatMap((one) => {
    const { token, reason } = one
    return (bootloader.adapter?.settings([{ token, reason }]) ?? []).map((setting) => ownedBy(one, setting))
  })
  const image = [...modprobe, ...bootScript, ...held]
  // What runs on the root file system is in no image.
  return bootScript.length > 0 && initramfs.adapter?.bootScriptLocation() === 'root'
    ? { files: [...files, ...image], image: [], loader, tokens, imageRequirements: null }
    : { files, image, loader, tokens, imageRequirements }
}

function ownedBy({ owners, request }: Requirement, setting: Setting): PlannedSetting {
  return { ...setting, owners, ...(request === undefined ? {} : { request }) }
}

/** Returns the setting for a requirement that needs no new image or entry: the one given, or a line of our own file. */
function fileSetting(files: Reader, one: Requirement): PlannedSetting | undefined {
  if (one.kind === 'setting') return ownedBy(one, atRealPath(files, one.setting))
  const [path, line, section = ''] = ownLine(one) ?? []
  if (path === undefined || line === undefined) return undefined
  const head = headComment('tune-host') + section
  return ownedBy(one, atRealPath(files, { kind: 'line', path, head, line, reason: one.reason }))
}

function ownLine(one: RequiredState): [path: string, line: string, section?: string] | undefined {
  switch (one.kind) {
    case 'sysctl':
      return [OWN_SYSCTL_PATH, `${one.name} = ${one.value}`]
    case 'module-options':
      return [`/etc/modprobe.d/vfio-scripts-${one.module}.conf`, `options ${one.module} ${one.options.join(' ')}`]
    case 'udev-rule':
      return ['/etc/udev/rules.d/99-vfio-scripts.rules', one.rule]
    case 'memlock':
      return ['/etc/security/limits.d/vfio-scripts.conf', `@${one.group} - memlock ${one.limit}`]
    case 'unit-property': {
      const section = one.unit.endsWith('.scope') ? '[Scope]\n' : '[Slice]\n'
      return [`/etc/systemd/system/${one.unit}.d/vfio-scripts.conf`, `${one.name}=${one.value}`, section]
    }
  }
  return undefined
}

/** Returns the setting with the links in the path of its folder resolved. */
function atRealPath(files: Reader, setting: Setting): Setting {
  if (setting.path === '') return setting
  const folder = setting.path.replace(/\/[^/]*$/, '')
  return { ...setting, path: `${files.resolve(folder) ?? folder}${setting.path.slice(folder.length)}` }
}

type ArgumentRequirement = Extract<Requirement, { kind: 'argument' }>

const GOVERNOR = 'cpufreq.default_governor'

/** Returns the required kernel arguments, with the IDs of a module that is built into a kernel. */
function requiredArguments({ configured }: SystemFacts, requirements: readonly Requirement[]): ArgumentRequirement[] {
  const ids = requirementsOf(requirements, 'id')
  // modprobe reads the command line last, and the last list counts: one that is there has to have ours too.
  const hasList = (module: string): boolean => configured.some(({ name }) => name === `${moduleName(module)}.ids`)
  return [
    ...requirements.flatMap((one): ArgumentRequirement[] => {
      if (one.kind === 'argument') return [one]
      return one.kind === 'governor' ? [{ ...one, kind: 'argument', token: `${GOVERNOR}=${one.name}` }] : []
    }),
    ...ids.flatMap(({ module, id, owners, builtin }): ArgumentRequirement[] => {
      if (!builtin && !hasList(module)) return []
      const reason = builtin
        ? `${module} is built into the kernel, which takes IDs from its command line alone`
        : `a list of IDs on the command line counts in place of those in modprobe.d`
      return [{ kind: 'argument', token: `${module}.ids=${id}`, reason, owners }]
    }),
  ]
}

/** Returns the settings for modprobe.d: `options` with the IDs, and a softdep for each driver that could come first. */
function modprobeSettings(
  { host, modprobe, initramfs }: SystemFacts,
  requirements: readonly Requirement[],
): PlannedSetting[] {
  const ids = requirementsOf(requirements, 'id').filter(({ loadable }) => loadable)
  const [first] = ids
  if (first === undefined) return []
  const { module } = first
  const orders = requirementsOf(requirements, 'order')
  const own = { path: host.files.resolve(OWN_MODPROBE_PATH) ?? OWN_MODPROBE_PATH, head: headComment() }
  // A second list would replace the first: where somebody has one already, our IDs go into it.
  const theirs = findIds(modprobe, module)
    .filter(({ file }) => file !== own.path)
    .at(-1)
  const place = theirs === undefined ? own : { path: host.files.resolve(theirs.file) ?? theirs.file }
  const others = modprobe.filter(({ file }) => file !== own.path)
  const before = orders.length > 0 ? ` before ${orders.map(({ driver }) => driver).join(', ')}` : ''
  const reason = `${module} takes ${ids.map(({ id }) => id).join(' and ')}${before}`
  // A list beside the module's name in the list of modules to load comes last of all.
  const listed = initramfs.adapter?.modulesWithOptions
  const text = listed === undefined ? undefined : host.files.optionalBytes(listed)?.toString('latin1')
  const path = listed === undefined || findListedIds(text ?? '', module).length === 0 ? undefined : listed
  return [
    ...(path === undefined ? [] : ids).map(({ id, owners }): PlannedSetting => {
      return { kind: 'listed-id', path: host.files.resolve(path ?? '') ?? '', module, id, owners, reason }
    }),
    ...ids.map(({ id, owners }): PlannedSetting => ({ kind: 'modprobe-id', ...place, module, id, owners, reason })),
    ...orders.map(({ driver, owners }): PlannedSetting => {
      return { kind: 'line', ...own, line: softdepFor(others, driver, module), owners, reason }
    }),
  ]
}

/** Returns the settings for the boot script: a line for each function that is bound by address. */
function bootScriptSettings({ host }: SystemFacts, requirements: readonly Requirement[]): PlannedSetting[] {
  const place = { path: host.files.resolve(BOOT_SCRIPT) ?? BOOT_SCRIPT, head: BOOT_SCRIPT_HEAD, mode: 0o755 }
  return requirementsOf(requirements, 'address').map(({ function: bound, reason, owners }): PlannedSetting => {
    return { kind: 'line', ...place, line: `#= ${bound}`, owners, reason }
  })
}

function planImageRequirements(
  requirements: readonly Requirement[],
  modprobe: readonly PlannedSetting[],
  bootScript: readonly PlannedSetting[],
): InitramfsRequirements | null {
  const [early] = requirementsOf(requirements, 'early')
  if (early === undefined || modprobe.length + bootScript.length === 0) return null
  return {
    module: early.module,
    modprobe: [...new Set(modprobe.flatMap(({ kind, path }) => (kind === 'listed-id' ? [] : [path])))],
    bootScript: bootScript[0]?.path ?? null,
    drivers: early.drivers,
  }
}
