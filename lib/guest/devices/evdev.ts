import { supportsElseNote } from '../../core/versions.ts'
import { listOption, pathValues } from '../guest-arguments.ts'
import { xmlElement } from '../libvirt/xml-element.ts'
import { escapeCommas } from '../qemu/qemu-words.ts'
import type { GuestDevice } from './guest-device.ts'

interface DecidedEvdev {
  /** The host's input devices; both control keys, pressed together, give them to the guest or back to the host. */
  evdev: string[]
}

export const evdevInput: GuestDevice<object, DecidedEvdev> = {
  options: [listOption('evdev', 'DEV', "the host's keyboard and mouse: /dev/input/by-id/…-event-kbd")],
  decide(given, { versions }, remarks) {
    const evdev = pathValues(given, 'evdev')
    return { evdev: evdev.length > 0 && supportsElseNote(versions, 'evdev', 'evdev input', remarks) ? evdev : [] }
  },
  files: (given) => ({ others: given.list('evdev') }),
  // The other devices follow the first when both control keys are pressed.
  xml: ({ evdev }) =>
    evdev.map((dev, index) =>
      xmlElement(
        'input',
        { type: 'evdev' },
        xmlElement('source', index === 0 ? { dev, grab: 'all', repeat: 'on' } : { dev }),
      ),
    ),
  match: { input: ['@type', 'source@dev'] },
  qemu: ({ evdev }) =>
    evdev.map((path, index) => [
      '-object',
      `input-linux,id=input${index},evdev=${escapeCommas(path)}${index === 0 ? ',grab_all=on,repeat=on' : ''}`,
    ]),
}
