import { Buffer } from 'node:buffer'
import { maskArguments, maskKeys, maskLine, maskMounts, maskNamed, withoutComments } from './masks.ts'
import type { Pseudonyms } from './pseudonyms.ts'

/** What a capture carries of a file's content. */
export interface Carrier {
  names: Pseudonyms
  /** Replaces the host's name. */
  hostname(text: string): string
  /** Replaces public addresses in /proc/net. */
  addresses(text: string): string
}

type Change = (text: string, carrier: Carrier) => string

const settings: Change = (text, { names, hostname }) => hostname(maskNamed(withoutComments(text), names))
const boot: Change = (text, carrier) => {
  const { names } = carrier
  const json = parsed(text)
  if (json !== undefined)
    return JSON.stringify(
      walk(json, (each) => settings(maskLine(each, names), carrier)),
      null,
      1,
    )
  return settings(maskArguments(withoutComments(text), names), carrier)
}
const line: Change = (text, carrier) => settings(maskLine(withoutComments(text), carrier.names), carrier)
const mounts: Change = (text, { names, hostname }) =>
  hostname(maskMounts(maskNamed(withoutComments(text), names), names))
const named: Change = (text, { hostname }) => hostname(text)
const whole: Change = (text) => text

/**
 * What of the files outside of /sys is carried, and how; the first that fits. What nobody thought of is there in name
 * alone: an empty file.
 */
const KINDS: readonly [RegExp, Change][] = [
  [/^\/proc\/cmdline$|\/(kernel-params|cmdline)$|\/cmdline\.d\//, line],
  [/^\/(boot|efi)\/(config|System\.map)-/, whole],
  [/^\/(boot|efi|ostree|run\/ostree)\//, boot],
  [
    /^\/etc\/(default|kernel|kernelstub|limine|dracut|mkinitcpio|mkinitfs|booster|initramfs-tools|initcpio|genkernel|grub|nixos|sysconfig\/(bootloader|kernel)$)/,
    boot,
  ],
  [/^\/etc\/crypttab/, (text, carrier) => maskKeys(mounts(text, carrier), carrier.names)],
  [/^\/proc\/self\/mountinfo$|^\/etc\/fstab$/, mounts],
  [/^\/proc\/(swaps|mounts)$/, mounts],
  [/^\/proc\/net\//, (text, { addresses }) => addresses(text)],
  [/^\/run\/udev\/data\//, (text, carrier) => named(udev(text), carrier)],
  [/^\/proc\/\d+\/(comm|stat)$/, whole],
  [
    /^\/proc\/(bus|driver|sys|self\/(limits|status))(\/|$)|^\/proc\/(config\.gz|consoles|cpuinfo|interrupts|iomem|meminfo)$/,
    whole,
  ],
  [/^\/var\/log\/dmesg$/, log],
  [/^\/(var\/lib|run)\/vfio-scripts\/[^/]+\/entry\.json$/, journal],
  [/^\/(var\/lib|run)\/vfio-scripts\/[^/]+\/(done|undone)$/, whole],
  [/^\/var\/lib\/dpkg\/status$|\/apk\/db\/installed$/, packages],
  [/^\/(usr|lib|lib64|sbin|bin|nix|run\/(current|booted)-system|dev)\//, whole],
  [
    /^\/etc\/(os-release|machine-id|modprobe\.d|modules|modules-load\.d|conf\.d\/modules|rc\.conf\.d|security\/limits|sysctl\.d|udev|libvirt\/qemu\.conf|apparmor\.d|init\.d|qemu\/firmware|vfio-scripts|systemd\/system)/,
    settings,
  ],
  [/^\/var\/lib\/dbus\/machine-id$/, whole],
]

/** What a capture carries of a file: all of it but secrets and names, part of it, or nothing. */
export function carriedOf(path: string, content: Buffer, carrier: Carrier): Buffer {
  const { names, hostname } = carrier
  if (path.startsWith('/sys/')) return sysfs(path, content, carrier)
  const [, change] = KINDS.find(([kind]) => kind.test(path)) ?? []
  if (change === undefined) return Buffer.alloc(0)
  if (content.includes(0) && change === whole) return content
  if (content.includes(0) && (change === boot || change === line)) return image(content, names)
  const text = content.toString('utf8').replaceAll('\0', ' ')
  const plain =
    change === whole ? names.rename(text) : names.again(names.rename(change(text, { ...carrier, hostname })))
  // Bytes that are no UTF-8 must stay as they were.
  return plain === text ? content : Buffer.from(plain)
}

/** Attributes, and the variables of EFI that a boot loader left: four bytes, then UTF-16. */
function sysfs(path: string, content: Buffer, { names, hostname }: Carrier): Buffer {
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

/** Of a unified image its headers and command line, of whatever else is no text the first bytes. */
function image(content: Buffer, names: Pseudonyms): Buffer {
  const text = content.toString('latin1')
  if (!text.startsWith('MZ')) return Buffer.from(maskLine(text, names, true), 'latin1')
  const found = [...text.slice(0, 4096).matchAll(/\.cmdline[\s\S]{32}/g)][0]
  if (found === undefined) return content.subarray(0, 1 << 16)
  const [size = 0, , raw = 0, from = 0] = [8, 12, 16, 20].map((at) => content.readUInt32LE(found.index + at))
  const to = from + Math.min(size, raw)
  const head = text
    .slice(0, found.index + 40)
    .padEnd(from, '\0')
    .slice(0, from)
  return Buffer.from(head + maskLine(text.slice(from, to), names, true), 'latin1')
}

/** Of udev's answers those that say what is on a disk. */
function udev(text: string): string {
  return text.replace(/^(?!E:(?:ID_FS_(?:UUID|TYPE|LABEL)|ID_PART_ENTRY_(?:UUID|NAME))=).*\n?/gm, '')
}

const TOLD =
  /Linux version |ommand line:|kvm|\bSVM\b|VMX|iommu|DMAR|AMD-Vi|VT-d|vfio|[Rr]emapping|x2apic|BAR \d|secure ?boot|simpledrm|efifb|\bfb\d|nouveau|nvidia|amdgpu|i915|snd_hda|vgaarb/i

/** Of the kernel log what a device and its binding are about; no names of programs, people and peers. */
function log(text: string, carrier: Carrier): string {
  const { names } = carrier
  const lines = text.split('\n').filter((each) => TOLD.test(each) && !/audit|\bcomm=|\bSRC=|systemd\[/.test(each))
  const masked = lines.map((each) => {
    const [, head = '', rest = ''] = /^(.*?ommand line: ?)(.*)$/.exec(each) ?? []
    return head === '' ? maskArguments(each, names) : head + maskLine(rest, names)
  })
  return settings(`${masked.join('\n')}\n`, carrier)
}

/** Of a journal's entry what was decided and which lines changed, not whole files of /etc. */
function journal(text: string, carrier: Carrier): string {
  const json = parsed(text)
  if (json === undefined) return ''
  const lessened = walk(
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
  const masked = walk(lessened, (each) => settings(maskArguments(each, carrier.names), carrier))
  return JSON.stringify(masked, null, 1)
}

/** Of all that is installed what runs guests. */
function packages(text: string): string {
  return text
    .split('\n\n')
    .filter((stanza) => /^(?:Package: |P:)(?:qemu|libvirt|ovmf|edk2|swtpm)/m.test(stanza))
    .join('\n\n')
}

function parsed(text: string): unknown {
  try {
    return /^\s*[[{]/.test(text) ? JSON.parse(text) : undefined
  } catch {
    return undefined
  }
}

type Fields = Record<string, unknown>

/** The same value with other strings in it, and other objects. */
function walk(
  value: unknown,
  change: (text: string) => string,
  fields: (object: Fields) => Fields = (one) => one,
): unknown {
  if (typeof value === 'string') return change(value)
  if (Array.isArray(value)) return value.map((each) => walk(each, change, fields))
  if (value === null || typeof value !== 'object') return value
  const entries = Object.entries(fields(value as Fields))
  return Object.fromEntries(entries.map(([key, each]) => [key, walk(each, change, fields)]))
}
