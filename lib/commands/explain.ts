import { type Recognised, recognise } from '../checks/symptoms.ts'
import { UserError } from '../core/error.ts'
import type { Finding } from '../core/finding.ts'
import type { PciDevice } from '../host/pci.ts'
import type { Reader } from '../host/reader.ts'
import { paint, printable, type TerminalStyle } from '../terminal/text.ts'
import { findingsText } from '../views/changes.ts'

/** A message that `check-host --explain` knows, as `--json` prints it. */
export interface Explained {
  /** The message as people search for it. */
  title: string
  /** The line in which it was found. */
  line: string
  means: string
  /** The command that finds the cause, and what mends it, with the address of the card where the line has one. */
  find: string
  mend: string
}

const GUEST_LOGS = '/var/log/libvirt/qemu'

/**
 * Returns the symptoms in a message or, for `logs`, in the kernel log and the logs of libvirt's guests; `undefined`
 * when nothing is to be explained. Throws a UserError with code `unknown-message` for a message that is not known.
 */
export function recogniseAsked(
  message: string | undefined,
  kernelLog: string | null,
  files: Reader,
): Recognised[] | undefined {
  if (message === undefined) return undefined
  if (message === 'logs') return recognise([kernelLog ?? '', ...guestLogs(files)].join('\n'))
  const found = recognise(message)
  if (found.length === 0)
    throw new UserError(
      'unknown-message',
      `--explain: this message is not known here: ${message}; check-host --device ADDRESS looks at all that is known of a card`,
    )
  return found
}

/** Reads the logs of libvirt's guests, each from its last start on. */
function guestLogs(files: Reader): string[] {
  const names = (files.list(GUEST_LOGS) ?? []).filter((name) => name.endsWith('.log'))
  return names.map((name) => {
    const text = files.optionalBytes(`${GUEST_LOGS}/${name}`)?.toString('utf8') ?? ''
    return text.slice(Math.max(0, text.lastIndexOf(': starting up')))
  })
}

/** Returns the addresses in what was recognised, of devices that this machine has. */
export function recognisedAddresses(
  recognised: readonly Recognised[] | undefined,
  devices: readonly PciDevice[],
): string[] {
  const named = new Set((recognised ?? []).map(({ address }) => address))
  return devices.map(({ address }) => address).filter((address) => named.has(address))
}

/** Returns what messages mean, with the findings of this machine that bear on them. */
export function explainMessages(
  recognised: readonly Recognised[],
  all: readonly Finding[],
  devices: readonly PciDevice[],
): { explained: Explained[]; findings: Finding[]; text: (style: TerminalStyle) => string } {
  const codes = new Set(recognised.flatMap(({ symptom }) => symptom.codes))
  const findings = all.filter(({ code }) => codes.has(code))
  const explained = recognised.map(({ symptom: { title, means, find, mend }, line, address }): Explained => {
    const card = address ?? (devices[0]?.address || 'ADDRESS')
    const here = (text: string): string => text.replaceAll('ADDRESS', card)
    return { title, line, means, find: here(find), mend: here(mend) }
  })
  return { explained, findings, text: (style) => explainedText(style, explained, findings) }
}

function explainedText(style: TerminalStyle, explained: readonly Explained[], findings: readonly Finding[]): string {
  if (explained.length === 0) return 'No message that is known here is in the logs.\n'
  const parts = explained.map(({ line, means, find, mend }) => {
    const rows = [`${printable(means)}`, `Find the cause:  ${printable(find)}`, `Mend it:         ${printable(mend)}`]
    return `${paint(style, 'bold', printable(line))}\n${rows.map((row) => `  ${row}\n`).join('')}`
  })
  const open = findings.filter(({ state }) => state !== 'ok')
  const well = findings.length - open.length
  const rest = well === 0 ? '' : `  ${well} checks that have to do with it found nothing wrong.\n`
  return `${parts.join('\n')}\nOn this machine:\n${findingsText(style, open)}${rest}`
}
