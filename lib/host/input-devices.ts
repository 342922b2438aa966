import { parseCommandLine } from './kernel.ts'
import { isAddress, isDisplay, type PciDevice } from './pci.ts'
import type { Reader } from './reader.ts'
import { deviceAbove, type Unreadable } from './readings.ts'

interface Keyboard {
  name: string
  /** The selected device that it hangs on; `null` when it stays with the host. */
  address: string | null
}

export interface Keyboards {
  found: Keyboard[]
  unseen: Unreadable[]
}

// Serial buses (USB, I2C), input devices, signal processors (I2C of laptops): the classes that may carry a keyboard.
const CARRIERS = /^(0c|09|11)/

/**
 * Reads the keyboards of the machine: devices whose key map has letters, which power buttons and mice lack. A device
 * that a program made (uinput) does not count.
 * Source: Documentation/input/input.rst, drivers/input/input.c.
 */
export function readKeyboards(reader: Reader, selected: readonly PciDevice[]): Keyboards {
  if (!selected.some((device) => CARRIERS.test(device.class.id))) return { found: [], unseen: [] }
  const text = reader.optionalBytes('/proc/bus/input/devices')?.toString('utf8')
  if (text === undefined)
    return { found: [], unseen: [{ what: 'the keyboards (/proc/bus/input/devices)', root: false }] }
  const found = text.split('\n\n').flatMap((block) => {
    const value = (key: string): string => new RegExp(`^${key}=(.*)$`, 'm').exec(block)?.[1]?.trim() ?? ''
    const path = `/sys${value('S: Sysfs')}`
    const handlers = value('H: Handlers').split(/\s+/)
    if (!handlers.includes('kbd') || !hasLetters(value('B: KEY')) || path.startsWith('/sys/devices/virtual/')) return []
    return [{ name: value('N: Name').replace(/^"|"$/g, ''), address: deviceAbove(path, selected)?.address ?? null }]
  })
  return { found, unseen: [] }
}

/** Does a key map have KEY_Q (16) to KEY_P (25)? They are bits of the last word, whichever size words have. */
function hasLetters(bitmap: string): boolean {
  const last = bitmap.slice(bitmap.lastIndexOf(' ') + 1).slice(-8)
  const letters = 0x03ff0000
  return (Number.parseInt(last, 16) & letters) === letters
}

/** The selected devices that show the text console. */
export interface Screens {
  found: { address: string; how: string }[]
  unseen: Unreadable[]
}

/**
 * Finds the selected device that carries the text console: that of the frame buffer that fbcon draws on, or the boot
 * VGA when the console is on the firmware's frame buffer or VGA text.
 * Source: Documentation/fb/fbcon.rst, Documentation/driver-api/console.rst.
 */
export function readScreens(reader: Reader, selected: readonly PciDevice[]): Screens {
  if (!selected.some(isDisplay)) return { found: [], unseen: [] }
  const vtconsoles = reader.list('/sys/class/vtconsole')
  if (vtconsoles === undefined)
    return { found: [], unseen: [{ what: 'the consoles (/sys/class/vtconsole)', root: false }] }
  const bound = vtconsoles
    .filter((name) => reader.text(`/sys/class/vtconsole/${name}/bind`) === '1')
    .map((name) => reader.text(`/sys/class/vtconsole/${name}/name`) ?? '')
  const boot = selected.find((device) => device.bootVga === true)
  const found: Screens['found'] = []
  // A kernel with fbcon keeps the dummy console bound beside it.
  if (bound.some((name) => name.includes('frame buffer'))) {
    for (const name of consoleFrameBuffers(reader)) {
      const path = reader.resolve(`/sys/class/graphics/${name}`) ?? ''
      const owner = deviceAbove(path, selected)
      const platform = /\/devices\/platform\/([^/]+)/.exec(path)?.[1]
      if (owner !== undefined) found.push({ address: owner.address, how: `/dev/${name} carries the text console` })
      else if (boot !== undefined && platform !== undefined && !path.split('/').some(isAddress))
        found.push({
          address: boot.address,
          how: `the firmware's frame buffer (${platform}) carries the text console`,
        })
    }
  } else if (bound.some((name) => name.includes('VGA')) && boot !== undefined) {
    found.push({ address: boot.address, how: 'VGA text mode carries the text console' })
  }
  return { found, unseen: [] }
}

/** Returns the frame buffers with consoles: those that `fbcon=map:01` spreads the consoles over, else the first. */
function consoleFrameBuffers(reader: Reader): string[] {
  const names = (reader.list('/sys/class/graphics') ?? []).filter((name) => /^fb\d+$/.test(name))
  const map = parseCommandLine(reader.optionalText('/proc/cmdline') ?? '')
    .filter(({ name, value }) => name === 'fbcon' && value?.startsWith('map:'))
    .map(({ value }) => value?.slice(4) ?? '')
    .join('')
  const mapped = names.filter((name) => map.includes(name.slice(2)))
  const [first] = names.sort((one, other) => Number(one.slice(2)) - Number(other.slice(2)))
  if (mapped.length > 0) return mapped
  return first === undefined ? [] : [first]
}
