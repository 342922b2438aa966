import { Buffer } from 'node:buffer'
import { maskArguments, maskCommandLine, maskKeys, maskMounts, maskSecretNames, withoutComments } from './masks.ts'
import type { Pseudonyms } from './pseudonyms.ts'

/** The replacements that a capture makes in the content of files. */
export interface CaptureMasks {
  names: Pseudonyms
  /** Replaces the host's name. */
  hostname(text: string): string
  /** Replaces public addresses in /proc/net. */
  addresses(text: string): string
}

type TextMask = (text: string, carrier: CaptureMasks) => string

const maskSettings: TextMask = (text, { names, hostname }) => hostname(maskSecretNames(withoutComments(text), names))
const maskBootFile: TextMask = (text, carrier) => {
  const { names } = carrier
  const json = tryParseJson(text)
  if (json !== undefined)
    return JSON.stringify(
      mapJson(json, (each) => maskSettings(maskCommandLine(each, names), carrier)),
      null,
      1,
    )
  return maskSettings(maskArguments(withoutComments(text), names), carrier)
}
const maskCmdlineFile: TextMask = (text, carrier) =>
  maskSettings(maskCommandLine(withoutComments(text), carrier.names), carrier)
const maskMountTable: TextMask = (text, { names, hostname }) =>
  hostname(maskMounts(maskSecretNames(withoutComments(text), names), names))
const maskHostname: TextMask = (text, { hostname }) => hostname(text)
const keepWhole: TextMask = (text) => text

/**
 * The rules for files outside of /sys: which part is carried, and how. The first rule that fits counts. A file that no
 * rule fits is carried in name alone, as an empty file.
 */
const FILE_RULES: readonly [RegExp, TextMask][] = [
  [/^\/proc\/cmdline$|\/(kernel-params|cmdline)$|\/cmdline\.d\//, maskCmdlineFile],
  [/^\/(boot|efi)\/(config|System\.map)-/, keepWhole],
  [/^\/(boot|efi|ostree|run\/ostree)\//, maskBootFile],
  [
    /^\/etc\/(default|kernel|kernelstub|limine|dracut|mkinitcpio|mkinitfs|booster|initramfs-tools|initcpio|genkernel|grub|nixos|sysconfig\/(bootloader|kernel)$)/,
    maskBootFile,
  ],
  [/^\/etc\/crypttab/, (text, carrier) => maskKeys(maskMountTable(text, carrier), carrier.names)],
  [/^\/proc\/self\/mountinfo$|^\/etc\/fstab$/, maskMountTable],
  [/^\/proc\/(swaps|mounts)$/, maskMountTable],
  [/^\/proc\/net\//, (text, { addresses }) => addresses(text)],
  [/^\/run\/udev\/data\//, (text, carrier) => maskHostname(filterUdev(text), carrier)],
  [/^\/proc\/\d+\/(comm|stat)$/, keepWhole],
  [
    /^\/proc\/(bus|driver|sys|self\/(limits|status))(\/|$)|^\/proc\/(config\.gz|consoles|cpuinfo|interrupts|iomem|meminfo)$/,
    keepWhole,
  ],
  [/^\/var\/log\/dmesg$/, maskKernelLog],
  [/^\/(var\/lib|run)\/vfio-scripts\/[^/]+\/entry\.json$/, maskJournal],
  [/^\/(var\/lib|run)\/vfio-scripts\/[^/]+\/(done|undone)$/, keepWhole],
  [/^\/var\/lib\/dpkg\/status$|\/apk\/db\/installed$/, filterPackages],
  [/^\/(usr|lib|lib64|sbin|bin|nix|run\/(current|booted)-system|dev)\//, keepWhole],
  [
    /^\/etc\/(os-release|machine-id|modprobe\.d|modules|modules-load\.d|conf\.d\/modules|rc\.conf\.d|security\/limits|sysctl\.d|udev|libvirt\/qemu\.conf|apparmor\.d|init\.d|qemu\/firmware|vfio-scripts|systemd\/system)/,
    maskSettings,
  ],
  [/^\/var\/lib\/dbus\/machine-id$/, keepWhole],
]

/** Returns what a capture carries of a file: all of it but secrets and names, part of it, or nothing. */
export function maskFile(path: string, content: Buffer, carrier: CaptureMasks): Buffer {
  const { names, hostname } = carrier
  if (path.startsWith('/sys/')) return maskSysfs(path, content, carrier)
  const [, change] = FILE_RULES.find(([kind]) => kind.test(path)) ?? []
  if (change === undefined) return Buffer.alloc(0)
  if (content.includes(0) && change === keepWhole) return content
  if (content.includes(0) && (change === maskBootFile || change === maskCmdlineFile)) return maskImage(content, names)
  const text = content.toString('utf8').replaceAll('\0', ' ')
  const plain =
    change === keepWhole
      ? names.rename(text)
      : names.replaceSecrets(names.rename(change(text, { ...carrier, hostname })))
  // Bytes that are not UTF-8 must stay as they were.
  return plain === text ? content : Buffer.from(plain)
}

/** Masks attributes, and the EFI variables that a boot loader left: four bytes, then UTF-16. */
function maskSysfs(path: string, content: Buffer, { names, hostname }: CaptureMasks): Buffer {
  const name = path.slice(path.lastIndexOf('/') + 1)
  if (/^(Loader|Stub)/.test(name)) {
    const text = content.subarray(4).toString('utf16le')
    return Buffer.concat([content.subarray(0, 4), Buffer.from(names.rename(text.toLowerCase()), 'utf16le')])
  }
  if (content.includes(0)) return content
  const text = content.toString('utf8')
  if (/serial|wwid/i.test(name)) return Buffer.from(names.rename(`serial=${text.trim()}`).slice(7))
  const plain = names.rename(/\/dm\/(name|uuid)$/.test(path) ? hostname(text) : text)
  return plain === text ? content : Buffer.from(plain)
}

/**
 * Keeps the headers and the masked command line of a unified image, the first 64 KiB of another EFI program, and of any
 * other file all, masked as a command line.
 */
function maskImage(content: Buffer, names: Pseudonyms): Buffer {
  const text = content.toString('latin1')
  if (!text.startsWith('MZ')) return Buffer.from(maskCommandLine(text, names, true), 'latin1')
  const found = [...text.slice(0, 4096).matchAll(/\.cmdline[\s\S]{32}/g)][0]
  if (found === undefined) return content.subarray(0, 1 << 16)
  const [size = 0, , raw = 0, from = 0] = [8, 12, 16, 20].map((at) => content.readUInt32LE(found.index + at))
  const to = from + Math.min(size, raw)
  const head = text
    .slice(0, found.index + 40)
    .padEnd(from, '\0')
    .slice(0, from)
  return Buffer.from(head + maskCommandLine(text.slice(from, to), names, true), 'latin1')
}

/** Keeps the lines of udev's database that say what is on a disk. */
function filterUdev(text: string): string {
  return text.replace(/^(?!E:(?:ID_FS_(?:UUID|TYPE|LABEL)|ID_PART_ENTRY_(?:UUID|NAME))=).*\n?/gm, '')
}

const LOG_LINES =
  /Linux version |ommand line:|kvm|\bSVM\b|VMX|iommu|DMAR|AMD-Vi|VT-d|vfio|[Rr]emapping|x2apic|BAR \d|secure ?boot|(?:simple|efi|vesa)drm|efifb|\bfb\d|nouveau|nvidia|amdgpu|i915|snd_hda|vgaarb/i

/** Keeps the lines of the kernel log about devices and their binding; no names of programs, people and peers. */
function maskKernelLog(text: string, carrier: CaptureMasks): string {
  const { names } = carrier
  const lines = text.split('\n').filter((each) => LOG_LINES.test(each) && !/audit|\bcomm=|\bSRC=|systemd\[/.test(each))
  const masked = lines.map((each) => {
    const [, head = '', rest = ''] = /^(.*?ommand line: ?)(.*)$/.exec(each) ?? []
    return head === '' ? maskArguments(each, names) : head + maskCommandLine(rest, names)
  })
  return maskSettings(`${masked.join('\n')}\n`, carrier)
}

/** Keeps the decisions and the changed lines of a journal's entry, but no whole files of /etc. */
function maskJournal(text: string, carrier: CaptureMasks): string {
  const json = tryParseJson(text)
  if (json === undefined) return ''
  const lessened = mapJson(
    json,
    (each) => each,
    ({ before, after, ...rest }) => {
      const texts = [before, after].map((one) => (typeof one === 'string' ? one.split('\n') : []))
      const only = (one: number, other: number): string =>
        (texts[one] ?? []).filter((row) => !texts[other]?.includes(row)).join('\n')
      return {
        ...rest,
        ...(before === undefined ? {} : { before: typeof before === 'string' ? only(0, 1) : before }),
        ...(after === undefined ? {} : { after: typeof after === 'string' ? only(1, 0) : after }),
      }
    },
  )
  const masked = mapJson(lessened, (each) => maskSettings(maskArguments(each, carrier.names), carrier))
  return JSON.stringify(masked, null, 1)
}

/** Keeps the installed packages that run guests. */
function filterPackages(text: string): string {
  return text
    .split('\n\n')
    .filter((stanza) => /^(?:Package: |P:)(?:qemu|libvirt|ovmf|edk2|swtpm)/m.test(stanza))
    .join('\n\n')
}

function tryParseJson(text: string): unknown {
  try {
    return /^\s*[[{]/.test(text) ? JSON.parse(text) : undefined
  } catch {
    return undefined
  }
}

type JsonObject = Record<string, unknown>

/** Returns the value with each string changed by `change` and each object by `fields`. */
function mapJson(
  value: unknown,
  change: (text: string) => string,
  fields: (object: JsonObject) => JsonObject = (one) => one,
): unknown {
  if (typeof value === 'string') return change(value)
  if (Array.isArray(value)) return value.map((each) => mapJson(each, change, fields))
  if (value === null || typeof value !== 'object') return value
  const entries = Object.entries(fields(value as JsonObject))
  return Object.fromEntries(entries.map(([key, each]) => [key, mapJson(each, change, fields)]))
}
