import { headComment, type PlannedSetting } from '../change/settings.ts'
import { findIds, softdepFor } from '../edit/modprobe-conflicts.ts'
import { BOOT_SCRIPT, BOOT_SCRIPT_HEAD } from './boot-script.ts'
import { expectKnownSystem, planSettings, type SettingsPlan, type SystemFacts } from './plan-settings.ts'
import { type Requirement, requirementsOf } from './requirement.ts'
import type { InitramfsRequirements } from './system.ts'

/** The name of our file in modprobe.d. Of several softdeps for one module kmod follows the first: it sorts first. */
export const OWN_MODPROBE_FILE = '00-vfio-scripts.conf'
const OWN_MODPROBE_PATH = `/etc/modprobe.d/${OWN_MODPROBE_FILE}`

/** What a backend made of requirements. */
export interface RenderedRequirements extends SettingsPlan {
  /** What the boot entries must carry afterwards. */
  tokens: string[]
  /** What the images must hold afterwards; `null`: nothing. */
  imageRequirements: InitramfsRequirements | null
}

/**
 * The backend `files`: requirements as edits of the system's own files, and what makes images and boot entries of them.
 * Throws the UserErrors of `expectKnownSystem`, and of the adapters' settings.
 */
export function renderFiles(facts: SystemFacts, requirements: readonly Requirement[]): RenderedRequirements {
  const { host, bootloader, initramfs } = facts
  const modprobe = modprobeSettings(facts, requirements)
  const bootScript = bootScriptSettings(facts, requirements)
  const image = imageRequirements(requirements, modprobe, bootScript)
  const early = requirementsOf(requirements, 'early').flatMap(({ owners }) => owners)
  const held = (image === null ? [] : (initramfs.adapter?.settings(host, image) ?? [])).map(
    (setting): PlannedSetting => ({ ...setting, owners: early }),
  )
  const required = requiredArguments(requirements)
  const tokens = required.map(({ token }) => token)
  // The adapters' steps do not have the files that run the boot script.
  const runners = bootScript.length > 0 ? held : []
  expectKnownSystem(facts, [...modprobe, ...bootScript, ...runners], image, tokens)
  const loader = required.flatMap(({ token, reason, owners }) =>
    (bootloader.adapter?.settings(host, [{ token, reason }]) ?? []).map(
      (setting): PlannedSetting => ({ ...setting, owners }),
    ),
  )
  // What runs on the root file system is in no image.
  const onRoot = bootScript.length > 0 && initramfs.adapter?.bootScriptLocation(host) === 'root'
  const settings = [...modprobe, ...bootScript, ...held]
  const plan = planSettings(facts, onRoot ? { files: settings, image: [], loader } : { image: settings, loader })
  return { ...plan, tokens, imageRequirements: onRoot ? null : image }
}

type RequiredArgument = Extract<Requirement, { kind: 'argument' }>

/** The arguments, and the IDs of a module that a kernel has built in. */
function requiredArguments(requirements: readonly Requirement[]): RequiredArgument[] {
  const builtin = requirementsOf(requirements, 'id').filter((one) => one.builtin)
  return [
    ...requirementsOf(requirements, 'argument'),
    ...builtin.map(({ module, id, owners }): RequiredArgument => {
      const reason = `${module} is built into the kernel, which takes IDs from its command line alone`
      return { kind: 'argument', token: `${module}.ids=${id}`, reason, owners }
    }),
  ]
}

/** `options` with the IDs, and a softdep for every module that could come first. */
function modprobeSettings({ host, modprobe }: SystemFacts, requirements: readonly Requirement[]): PlannedSetting[] {
  const ids = requirementsOf(requirements, 'id').filter(({ loadable }) => loadable)
  const [first] = ids
  if (first === undefined) return []
  const { module } = first
  const orders = requirementsOf(requirements, 'order')
  const own = { path: host.files.resolve(OWN_MODPROBE_PATH) ?? OWN_MODPROBE_PATH, head: headComment() }
  // A second list would replace the first: where somebody has one already, ours goes into it.
  const theirs = findIds(modprobe, module)
    .filter(({ file }) => file !== own.path)
    .at(-1)
  const place = theirs === undefined ? own : { path: host.files.resolve(theirs.file) ?? theirs.file }
  const others = modprobe.filter(({ file }) => file !== own.path)
  const before = orders.length > 0 ? ` before ${orders.map(({ driver }) => driver).join(', ')}` : ''
  const reason = `${module} takes ${ids.map(({ id }) => id).join(' and ')}${before}`
  return [
    ...ids.map(({ id, owners }): PlannedSetting => ({ kind: 'modprobe-id', ...place, module, id, owners, reason })),
    ...orders.map(({ driver, owners }): PlannedSetting => {
      return { kind: 'line', ...own, line: softdepFor(others, driver, module), owners, reason }
    }),
  ]
}

/** The boot script with a line for each function that goes by address. */
function bootScriptSettings({ host }: SystemFacts, requirements: readonly Requirement[]): PlannedSetting[] {
  const place = { path: host.files.resolve(BOOT_SCRIPT) ?? BOOT_SCRIPT, head: BOOT_SCRIPT_HEAD, mode: 0o755 }
  return requirementsOf(requirements, 'address').map(({ function: bound, reason, owners }): PlannedSetting => {
    return { kind: 'line', ...place, line: `#= ${bound}`, owners, reason }
  })
}

function imageRequirements(
  requirements: readonly Requirement[],
  modprobe: readonly PlannedSetting[],
  bootScript: readonly PlannedSetting[],
): InitramfsRequirements | null {
  const [early] = requirementsOf(requirements, 'early')
  if (early === undefined || modprobe.length + bootScript.length === 0) return null
  return {
    module: early.module,
    modprobe: [...new Set(modprobe.map(({ path }) => path))],
    bootScript: bootScript[0]?.path ?? null,
    drivers: early.drivers,
  }
}
