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
