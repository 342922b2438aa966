import { addId, addLine, hasId, hasLine, removeId, removeLine } from './modprobe.ts'
import { addToken, hasToken, removeToken } from './variable.ts'

/**
 * A file's content, one character a byte (latin1): whatever bytes a person's file holds come through an edit unharmed.
 * `null`: there is no such file.
 */
export type Content = string | null

/** One thing that a file can say. It knows how it is read, added and removed; plan, status and undo use nothing else. */
export type Setting = LineSetting | IdSetting | ArgumentSetting

interface InFile {
  /** The file, without symbolic links, as seen from the root. */
  path: string
  /**
   * Of a file of our own: the text that it starts with. When nothing but this is left, the file goes. Without it the
   * file is the person's and stays.
   */
  head?: string
  /** Permissions of a file of our own; 0o644 unless told. */
  mode?: number
  /** Why it is there, for the plan. */
  reason: string
}

/** A setting of a plan, and the addresses of the devices that need it; `host`: no device of its own. */
export type PlannedSetting = Setting & { devices: readonly string[] }

/** A whole line. */
export interface LineSetting extends InFile {
  kind: 'line'
  line: string
}

/** An ID in `options MODULE ids=…` (modprobe.d(5)). */
export interface IdSetting extends InFile {
  kind: 'id'
  module: string
  id: string
}

/** A kernel argument in a variable of a shell file such as /etc/default/grub. */
export interface ArgumentSetting extends InFile {
  kind: 'argument'
  variable: string
  /** `intel_iommu=on`; of a list such as `vfio-pci.ids=10de:1cb6`, one member. */
  token: string
}

/** The comment that every file of our own starts with. */
export function ownHead(): string {
  return '# Written by vfio-scripts; bind-vfio --undo --apply takes it back.\n'
}

/** Does the file say it? */
export function hasSetting(content: Content, setting: Setting): boolean {
  if (content === null) return false
  if (setting.kind === 'line') return hasLine(content, setting.line)
  if (setting.kind === 'id') return hasId(content, setting.module, setting.id)
  return hasToken(content, setting.variable, setting.token)
}

/** The file with the setting in it: the same text when it says so already. */
export function addSetting(content: Content, setting: Setting): string {
  const text = content ?? setting.head ?? ''
  if (hasSetting(text, setting)) return text
  if (setting.kind === 'line') return addLine(text, setting.line)
  if (setting.kind === 'id') return addId(text, setting.module, setting.id)
  return addToken(text, setting.variable, setting.token)
}

/** The file without the setting; `null` when a file of our own has nothing left to say. */
export function removeSetting(content: Content, setting: Setting): Content {
  if (content === null) return null
  let text = content
  if (setting.kind === 'line') text = removeLine(text, setting.line)
  else if (setting.kind === 'id') text = removeId(text, setting.module, setting.id)
  else text = removeToken(text, setting.variable, setting.token)
  return setting.head !== undefined && text === setting.head ? null : text
}

/** What tells two settings apart: all but the reason and who needs it. */
export function settingKey(planned: Setting | PlannedSetting): string {
  const { reason: _reason, devices: _devices, ...setting } = { devices: [], ...planned }
  return JSON.stringify(Object.entries(setting).sort(([one], [other]) => (one < other ? -1 : 1)))
}
