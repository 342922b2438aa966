import coerce from 'semver/functions/coerce.js'
import { UserError } from '../core/error.ts'
import { parseSize } from '../core/sizes.ts'
import type { PinRequest } from '../cpu/pinning.ts'
import type { Preset } from '../guest/guest.ts'
import type { GuestRequest } from '../guest/request.ts'
import type { Arguments } from '../terminal/options.ts'
import { printable } from '../terminal/text.ts'

function requestUsageError(message: string): UserError {
  return new UserError('usage', message)
}

/** Reads what was asked for. Throws a UserError with code `usage` for what has the wrong form. */
export function requestFrom(given: Arguments): GuestRequest {
  const one = <T>(name: string, read: (text: string) => T): T | undefined => {
    const text = given.value(name)
    return text === undefined ? undefined : read(text)
  }
  const shaped = (name: string, shape: RegExp, like: string): string | undefined =>
    one(name, (text) => {
      if (!shape.test(text)) throw requestUsageError(`--${name} ${text}: write ${like}`)
      return text
    })
  const path = (name: string): string | undefined => one(name, (text) => checkPath(name, text))
  const paths = (name: string): string[] =>
    unique(
      name,
      given.list(name).map((text) => checkPath(name, text)),
    )
  return {
    name: shaped('name', /^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}$/, 'letters, digits and . _ + -, 64 at most') ?? '',
    preset: (given.value('guest') ?? 'linux') as Preset,
    format: (given.value('format') ?? 'libvirt') as GuestRequest['format'],
    chipset: (given.value('chipset') ?? 'q35') as GuestRequest['chipset'],
    firmware: given.value('firmware') as GuestRequest['firmware'],
    loader: path('loader'),
    cpuModel: shaped('cpu', /^[A-Za-z0-9][A-Za-z0-9_.-]{0,40}$/, "a model as QEMU's -cpu help lists them"),
    tpm: given.flag('tpm'),
    memoryKib: one('memory', (text) => kibOf('memory', text, 64 * 1024)),
    hugepageKib: one('hugepages', (text) => kibOf('hugepages', text, 1024)),
    pin: pinFrom(given),
    headless: given.flag('headless'),
    disks: paths('disk'),
    diskBus: given.value('disk-bus') as GuestRequest['diskBus'],
    iso: path('iso'),
    virtioIso: path('virtio-iso'),
    optical: paths('optical'),
    networks: given.list('network'),
    nicModel: shaped('nic-model', /^[a-z0-9][a-z0-9-]{0,30}$/, 'virtio, e1000e, e1000 or rtl8139'),
    mac: shaped('mac', /^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/i, 'six bytes of one card, such as 52:54:00:12:34:56'),
    rom: path('rom'),
    xVga: given.flag('x-vga'),
    usb: unique('usb', given.list('usb')),
    evdev: paths('evdev'),
    audio: given.value('audio') as GuestRequest['audio'],
    audioUser: shaped('audio-user', /^[a-z0-9_][a-z0-9_-]{0,31}$/, 'the name or number of a user'),
    lookingGlass: one('looking-glass', (text) => {
      const [, width, height] = /^(\d{3,5})x(\d{3,5})$/.exec(text) ?? []
      if (width === undefined) throw requestUsageError(`--looking-glass ${text}: write 2560x1440`)
      return { width: Number(width), height: Number(height) }
    }),
    shares: given.list('share').map(parseShare),
    hideKvm: given.flag('hide-kvm'),
    vendorId: shaped('vendor-id', /^[A-Za-z0-9 _.-]{1,12}$/, '1 to 12 letters, digits, spaces or . _ -'),
    nvidiaDriver: shaped('nvidia-driver', /^\d{3}(\.\d{1,3}){0,2}$/, '430 or 535.171.04'),
  }
}

/** `--libvirt` and `--qemu`. */
export function versionFrom(given: Arguments, name: 'libvirt' | 'qemu'): string | undefined {
  const text = given.value(name)
  if (text === undefined) return undefined
  const version = /^\d+(\.\d+){1,3}$/.test(text) ? coerce(text)?.version : undefined
  if (version === undefined) throw requestUsageError(`--${name} ${text}: write a version such as 9.0.0`)
  return version
}

function unique(name: string, values: readonly string[]): string[] {
  const twice = values.find((value, index) => values.indexOf(value) !== index)
  if (twice !== undefined) throw requestUsageError(`--${name} ${twice}: given twice`)
  return [...values]
}

/** Whole paths, for libvirt and another --root know no present folder; nothing in them that hides or moves text. */
function checkPath(name: string, text: string): string {
  if (printable(text) !== text)
    throw requestUsageError(`--${name} ${text}: control characters are refused in names of files`)
  if (!text.startsWith('/')) throw requestUsageError(`--${name} ${text}: write the whole path, from /`)
  return text
}

function kibOf(name: string, text: string, least: number): number {
  const kib = parseSize(name, text) / 1024
  if (kib < least) throw requestUsageError(`--${name} ${text}: less than ${least / 1024} MiB`)
  return kib
}

function parseShare(text: string): { path: string; tag: string } {
  const [, folder = '', tag] = /^(.*?)(?::([A-Za-z0-9_.-]{1,36}))?$/s.exec(text) ?? []
  const path = checkPath('share', folder)
  const name =
    tag ??
    path
      .replace(/\/+$/, '')
      .replace(/^.*\//, '')
      .replace(/[^A-Za-z0-9_.-]/g, '_')
  return { path, tag: name.slice(0, 36) || 'root' }
}

function pinFrom(given: Arguments): Omit<PinRequest, 'node'> | undefined {
  const number = (name: string): number | undefined => {
    const text = given.value(name)
    if (text === undefined) return undefined
    if (!/^[1-9]\d{0,3}$/.test(text)) throw requestUsageError(`--${name} ${text}: write a number from 1`)
    return Number(text)
  }
  const [vcpus, cores] = [number('vcpus'), number('cores')]
  const all = given.value('pin') === 'all-cores'
  const sizes = [vcpus !== undefined && '--vcpus', cores !== undefined && '--cores', all && '--pin all-cores']
  const requested = sizes.filter(Boolean)
  if (requested.length > 1) throw requestUsageError(`${requested.join(' and ')}: choose one`)
  const rest = { oneThread: given.flag('one-thread'), prefer: given.value('prefer') as PinRequest['prefer'] }
  if (vcpus !== undefined) return { size: { vcpus }, ...rest }
  if (cores !== undefined) return { size: { cores }, ...rest }
  if (all) return { size: 'all-cores', ...rest }
  if (rest.oneThread || rest.prefer !== undefined)
    throw requestUsageError(
      `--${rest.oneThread ? 'one-thread' : 'prefer'} goes with --vcpus, --cores or --pin all-cores`,
    )
  return undefined
}
