import { UserError } from '../../core/error.ts'
import { supportsElseNote } from '../../core/versions.ts'
import { accountText } from '../../host/accounts.ts'
import { choiceOption, shapedValue, valueOption } from '../guest-arguments.ts'
import { child } from '../libvirt/edit-document.ts'
import { addIfMissing, devicesOf, ensureElement } from '../libvirt/edit-domain.ts'
import { type XmlElement, xmlElement } from '../libvirt/xml-element.ts'
import { escapeCommas } from '../qemu/qemu-words.ts'
import { chooseGraphics } from './display.ts'
import type { GuestDevice } from './guest-device.ts'

// A sound card, and where its sound goes.

interface AudioFacts {
  /** The number of the user whose sound server plays. */
  audioUid: number
}

interface DecidedAudio {
  audio: {
    kind: 'pipewire' | 'pulseaudio' | 'spice'
    /** The folder where a user's sound server listens, `/run/user/1000`; unused for SPICE. */
    runtimeDir: string | null
  } | null
}

const SINCE = {
  pulseaudio: { libvirt: '7.0.0', qemu: '4.2.0' },
  pipewire: { libvirt: '9.10.0', qemu: '8.1.0' },
} as const

export const soundCard: GuestDevice<AudioFacts, DecidedAudio> = {
  options: [
    choiceOption('audio', ['none', 'spice', 'pipewire', 'pulseaudio'], "the guest's sound"),
    valueOption('audio-user', 'USER', 'whose PipeWire or PulseAudio plays it: a name or number (default 1000)'),
  ],
  read({ files }, given) {
    const user = shapedValue(given, 'audio-user', /^[a-z0-9_][a-z0-9_-]{0,31}$/, 'the name or number of a user')
    return { audioUid: user === undefined ? 1000 : userNumber(accountText(files, 'passwd') ?? '', user) }
  },
  decide(given, { audioUid, capabilities, format, preset, versions }, remarks) {
    const audio = given.value('audio') as 'none' | NonNullable<DecidedAudio['audio']>['kind'] | undefined
    const headless = given.flag('headless')
    const vnc = !headless && chooseGraphics(preset, capabilities).display === 'vnc'
    if (audio === 'spice' && (vnc || headless))
      throw new UserError(
        'usage',
        `--audio spice: ${vnc ? 'QEMU here' : 'a guest with --headless'} has no SPICE; choose pipewire, pulseaudio or none`,
      )
    if (format === 'proxmox' && audio !== undefined && audio !== 'none' && audio !== 'spice')
      throw new UserError('usage', `--audio ${audio}: Proxmox plays sound through SPICE alone; choose spice or none`)
    if (format === 'proxmox' && audio === undefined) return { audio: null }
    if (audio === 'none' || (audio === undefined && (headless || vnc))) return { audio: null }
    if (audio === undefined || audio === 'spice') return { audio: { kind: 'spice', runtimeDir: null } }
    const known = supportsElseNote(versions, SINCE[audio], `${audio} sound`, remarks)
    return { audio: known ? { kind: audio, runtimeDir: `/run/user/${audioUid}` } : null }
  },
  xml({ audio, chipset }) {
    if (audio === null) return []
    const model = chipset === 'q35' ? 'ich9' : 'ich6'
    const { kind, runtimeDir } = audio
    // SPICE's sound needs no `<audio>`.
    if (kind === 'spice') return [xmlElement('sound', { model })]
    const server = kind === 'pipewire' ? { runtimeDir } : { serverName: `${runtimeDir}/pulse/native` }
    return [
      xmlElement('sound', { model }, xmlElement('audio', { id: 1 })),
      xmlElement('audio', { id: 1, type: kind, ...server }),
    ]
  },
  patch: (text, guest, versions) => soundCard.xml(guest, versions).reduce(addSound, text),
  proxmox: ({ audio, chipset }) =>
    audio === null
      ? []
      : [
          // SPICE is what Proxmox starts for this video card.
          { name: 'vga', when: 'asked', value: { '': 'qxl' } },
          {
            name: 'audio0',
            when: 'asked',
            value: `device=${chipset === 'q35' ? 'ich9-intel-hda' : 'intel-hda'},driver=spice`,
          },
        ],
  qemu({ audio, chipset }) {
    if (audio === null) return []
    const backend = {
      spice: 'spice,id=sound',
      pipewire: 'pipewire,id=sound',
      pulseaudio: `pa,id=sound,server=${escapeCommas(`${audio.runtimeDir}/pulse/native`)}`,
    }[audio.kind]
    return [
      ['-audiodev', backend],
      ['-device', chipset === 'q35' ? 'ich9-intel-hda' : 'intel-hda'],
      ['-device', 'hda-duplex,audiodev=sound'],
    ]
  },
}

/** Adds a sound card, unless there is one, and sets where its sound goes. */
function addSound(text: string, element: XmlElement): string {
  const { id: _, ...rest } = element.attributes
  return element.name === 'sound' || child(devicesOf(text), element.name) === undefined
    ? addIfMissing(text, element, [])
    : ensureElement(text, ['devices'], xmlElement(element.name, rest))
}

function userNumber(passwd: string, user: string): number {
  if (/^\d+$/.test(user)) return Number(user)
  const uid = passwd
    .split('\n')
    .find((line) => line.startsWith(`${user}:`))
    ?.split(':')[2]
  if (uid === undefined) throw new UserError('no-user', `--audio-user ${user}: no such user on this host`)
  return Number(uid)
}
