import type { ImageFeature } from './guest.ts'
import { parseDocument } from './libvirt/document.ts'
import { attribute, child, childrenOf, elementText } from './libvirt/edit-document.ts'

/** The features that libvirt or QEMU reports that it can give a guest; `null` for a list that it does not report. */
export interface Capabilities {
  /** Hyper-V flags, as libvirt calls them. */
  hyperv: string[] | null
  /** The protocols of the display: `spice`, `vnc` … */
  graphics: string[] | null
  /** The models of the video card: `qxl`, `virtio`, `bochs`, `vga` … */
  video: string[] | null
  /** The properties of QEMU's vfio-pci with their types, such as `x-vga` → `bool`; asked for where they matter. */
  vfio: ReadonlyMap<string, string> | null
  /** UEFI images described for this board (12.1): `yes` where one has the feature, `no` where one has not. */
  firmware: Record<ImageFeature[0], string[] | null>
}

export const UNKNOWN_CAPABILITIES: Capabilities = {
  hyperv: null,
  graphics: null,
  video: null,
  vfio: null,
  firmware: { 'secure-boot': null, 'enrolled-keys': null },
}

/** Reads `virsh domcapabilities`. Source: https://libvirt.org/formatdomaincaps.html */
export function parseCapabilities(text: string): Capabilities {
  const root = parseDocument(text)
  const values = (path: readonly string[], name: string): string[] | null => {
    const element = child(root, ...path)
    const list = childrenOf(element, 'enum').find((each) => attribute(each, 'name') === name)
    if (element === undefined || attribute(element, 'supported') === 'no' || list === undefined) return null
    return childrenOf(list, 'value').map((value) => elementText(text, value))
  }
  return {
    ...UNKNOWN_CAPABILITIES,
    hyperv: values(['features', 'hyperv'], 'features'),
    graphics: values(['devices', 'graphics'], 'type'),
    video: values(['devices', 'video'], 'modelType'),
    firmware: {
      'secure-boot': values(['os', 'firmwareFeatures'], 'secureBoot'),
      'enrolled-keys': values(['os', 'firmwareFeatures'], 'enrolledKeys'),
    },
  }
}

/** Reads what `qemu-system-x86_64 -device vfio-pci,help` prints; `null` where it is no such list. */
export function parseProperties(text: string): Capabilities['vfio'] {
  const found = new Map([...text.matchAll(/^ {2}([\w-]+)=<([^>]+)>/gm)].map(([, name = '', type = '']) => [name, type]))
  return found.size === 0 ? null : found
}

/** QEMU's video devices by libvirt's names of them. */
const VIDEO = { qxl: 'qxl-vga', virtio: 'virtio-vga', bochs: 'bochs-display', vga: 'VGA' } as const

/** Reads what `qemu-system-x86_64 -device help` and `-chardev help` print, one behind the other. */
export function parseQemuHelp(text: string): Capabilities {
  const devices = new Set([...text.matchAll(/^name "([^"]+)"/gm)].map(([, name]) => name))
  if (devices.size === 0) return UNKNOWN_CAPABILITIES
  return {
    ...UNKNOWN_CAPABILITIES,
    // Where SPICE is a module of QEMU, -chardev help does not list it, and QXL, which cannot be without it, is listed.
    graphics: devices.has('qxl-vga') || /^\s*spicevmc\s*$/m.test(text) ? ['spice', 'vnc'] : ['vnc'],
    video: Object.entries(VIDEO).flatMap(([model, device]) => (devices.has(device) ? [model] : [])),
  }
}
