import type { Capabilities } from '../capabilities.ts'
import type { Preset } from '../guest.ts'
import { flagOption } from '../guest-arguments.ts'
import type { ParsedElement } from '../libvirt/document.ts'
import { attribute, child, childrenOf, removeElement, setAttribute } from '../libvirt/edit-document.ts'
import { addDevices, devicesOf } from '../libvirt/edit-domain.ts'
import { type XmlElement, xmlElement } from '../libvirt/xml-element.ts'
import { STATE_DIR } from '../qemu/qemu-words.ts'
import type { GuestDevice } from './guest-device.ts'

// Display, video card, tablet and SPICE USB redirection: the devices by which an installation is seen and used.

interface Graphics {
  display: 'spice' | 'vnc'
  video: 'qxl' | 'virtio' | 'bochs' | 'vga'
}

const QEMU_VIDEO = { qxl: 'qxl-vga', virtio: 'virtio-vga', bochs: 'bochs-display', vga: 'VGA' } as const

export const installationDisplay: GuestDevice<object, { graphics: Graphics | null }> = {
  options: [flagOption('headless', 'after the installation: no SPICE, video, tablet, USB redirection or CD-ROMs')],
  decide(given, { preset, capabilities }, { reasons, notes }) {
    const headless = given.flag('headless')
    const graphics = headless ? null : chooseGraphics(preset, capabilities)
    if (headless) reasons.push('headless: no SPICE, video, tablet, USB redirection, or CD-ROMs of the installation')
    if (graphics?.display === 'vnc')
      notes.push('VNC instead of SPICE, which QEMU here does not have: no sound and no USB redirection through it')
    return { graphics }
  },
  xml({ graphics, preset }) {
    const console = preset === 'linux' ? [xmlElement('console', { type: 'pty' })] : []
    if (graphics === null) return console
    const { display, video } = graphics
    const tablet = xmlElement('input', { type: 'tablet', bus: 'usb' })
    const shown = xmlElement('video', {}, xmlElement('model', { type: video }))
    if (display === 'vnc') return [...console, tablet, xmlElement('graphics', { type: 'vnc', autoport: 'yes' }), shown]
    const redirection = xmlElement('redirdev', { bus: 'usb', type: 'spicevmc' })
    return [
      ...console,
      xmlElement('channel', { type: 'spicevmc' }, xmlElement('target', { type: 'virtio', name: 'com.redhat.spice.0' })),
      tablet,
      xmlElement('graphics', { type: 'spice', autoport: 'yes' }, xmlElement('image', { compression: 'off' })),
      shown,
      redirection,
      redirection,
    ]
  },
  patch: (text, { graphics }) => (graphics === null ? removeDisplay(text) : text),
  // Without a setting Proxmox shows a plain VGA in the web interface, which every installer knows.
  proxmox: ({ graphics }) =>
    graphics === null
      ? [
          { name: 'vga', when: 'asked', value: 'none' },
          { name: 'tablet', when: 'asked', value: '0' },
        ]
      : [],
  qemu({ graphics }) {
    if (graphics === null) return [['-display', 'none']]
    return [
      ['-device', QEMU_VIDEO[graphics.video]],
      ['-device', 'usb-tablet'],
      graphics.display === 'spice'
        ? ['-spice', `unix=on,addr=${STATE_DIR}/spice.sock,disable-ticketing=on`]
        : ['-vnc', `unix:${STATE_DIR}/vnc.sock`],
    ]
  },
}

/** Chooses SPICE and QXL where this QEMU has them (RHEL 9 and its kin do not); else VNC and a card for any guest. */
export function chooseGraphics(preset: Preset, { graphics, video }: Capabilities): Graphics {
  const wished = preset === 'linux' ? (['virtio'] as const) : (['qxl', 'virtio'] as const)
  const models = [...wished, 'bochs', 'vga'] as const
  return {
    display: graphics === null || graphics.includes('spice') ? 'spice' : 'vnc',
    video: models.find((model) => video === null || video.includes(model)) ?? 'vga',
  }
}

/** Returns the element that keeps libvirt from adding a video card by itself. */
export function noVideo(): XmlElement {
  return xmlElement('video', {}, xmlElement('model', { type: 'none' }))
}

/** Does `--headless` remove it? It removes all that shows and feeds an installation's screen, and its media. */
function isForInstallation(element: ParsedElement): boolean {
  const type = attribute(element, 'type')
  switch (element.name) {
    case 'graphics':
      return true
    case 'channel':
    case 'redirdev':
    case 'smartcard':
      return type === 'spicevmc'
    case 'input':
      return type === 'tablet'
    case 'disk':
      return attribute(element, 'device') === 'cdrom'
    case 'video':
      return attribute(child(element, 'model'), 'type') !== 'none'
    default:
      return false
  }
}

/** Sends SPICE's sound nowhere; the element stays, since sound cards may name it. */
function silenceSpice(text: string): string {
  const spice = childrenOf(devicesOf(text), 'audio').find((each) => attribute(each, 'type') === 'spice')
  return spice === undefined ? text : setAttribute(text, spice, 'type', 'none')
}

function removeDisplay(text: string): string {
  const found = devicesOf(text)?.children.filter(isForInstallation) ?? []
  const left = silenceSpice([...found].reverse().reduce(removeElement, text))
  return childrenOf(devicesOf(left), 'video').length > 0 ? left : addDevices(left, [noVideo()])
}
