import type { CardQuirk, CardReset, ResetVerdict } from '../bind/reset.ts'
import type { MessageInterrupts, PowerFacts } from '../host/config-space.ts'
import type { IommuGroup } from '../host/iommu.ts'
import type { PciDevice } from '../host/pci.ts'
import { type Cell, type Color, paint, printable, type TerminalStyle, table } from '../terminal/text.ts'
import { deviceName, lspciLine } from './devices.ts'

/** One function of a card with all that check-reset says about it. */
export type FunctionReset = CardReset['functions'][number] & MessageInterrupts & PowerFacts

const VERDICT_COLORS: Record<ResetVerdict, Color> = {
  ok: 'green',
  bus: 'cyan',
  none: 'red',
  quirk: 'yellow',
  failed: 'red',
  unknown: 'dim',
}

const COLUMNS = [
  { title: 'VERDICT' },
  { title: 'ADDRESS' },
  { title: 'DEVICE', least: 16, want: 32 },
  { title: 'ID', drop: 2 },
  { title: 'METHODS', least: 8 },
  { title: 'LEFT' },
  { title: 'MSI', drop: 1 },
  { title: 'MSI-X', drop: 1 },
  { title: 'POWER', drop: 3 },
] as const

/** Returns the table of check-reset: a row for each function, then why each card got its verdict. */
export function resetText(
  style: TerminalStyle,
  cards: readonly (Omit<CardReset, 'functions'> & { functions: readonly FunctionReset[] })[],
  address: (address: string) => string,
): string {
  if (cards.length === 0) return ''
  const rows = cards.flatMap(({ verdict, staying, functions }) =>
    functions.map((device, index): Cell[] => [
      { text: index === 0 ? verdict : '', color: staying.length > 0 ? 'red' : VERDICT_COLORS[verdict] },
      { text: address(device.address), color: 'bold' },
      { text: deviceName(device) },
      { text: `${device.vendor.id}:${device.device.id}` },
      { text: methodsText(device) },
      leftCell(device.left),
      { text: interruptText(device.msi) },
      { text: interruptText(device.msix) },
      {
        text:
          device.powerState === null ? '?' : device.powerState + (device.d3coldAllowed === false ? ' (no D3cold)' : ''),
      },
    ]),
  )
  const reasons = cards
    .filter(({ verdict }) => verdict !== 'ok')
    .map(
      ({ card, verdict, reason }) =>
        `${address(card)}: ${paint(style, VERDICT_COLORS[verdict], verdict)}: ${printable(reason)}\n`,
    )
  for (const { card, quirk, evidence } of cards) {
    if (quirk !== null) reasons.push(`${address(card)}: ${printable(sourceText(quirk))}\n`)
    for (const line of evidence) reasons.push(`${address(card)}: the kernel log: ${printable(line)}\n`)
  }
  if (cards.some(({ verdict }) => verdict === 'none')) {
    reasons.push('\nnone: the guest hangs when it shuts down, or the device stays unusable until the host reboots.\n')
  }
  return `${table(style, COLUMNS, rows)}${reasons.length > 0 ? '\n' : ''}${reasons.join('')}`
}

function sourceText({ source, since, sure }: CardQuirk): string {
  const who = { driver: 'a driver was written for it', reports: 'several reports', report: 'one report' }[sure]
  return `known since ${since} (${who}): ${source}`
}

/** Returns the cell for what resets a function when its guest stops; `host`: it stays with the host. */
function leftCell(left: FunctionReset['left']): Cell {
  if (left === null) return { text: 'host', color: 'dim' }
  return { text: left === 'unknown' ? '?' : left, color: left === 'refused' || left === 'none' ? 'red' : undefined }
}

function methodsText({ reset }: PciDevice): string {
  if (reset.supported === null) return '?'
  if (!reset.supported) return '-'
  return reset.methods?.join(' ') ?? 'yes'
}

function interruptText(interrupt: { supported: boolean; enabled: boolean } | null): string {
  if (interrupt === null) return '?'
  return interrupt.supported ? (interrupt.enabled ? 'on' : 'off') : '-'
}

/** Returns the listing of the ArchWiki guide: groups, and `[RESET]` before each device that has a reset. */
export function resetGuide(groups: readonly IommuGroup[], address: (address: string) => string): string {
  return groups
    .filter(({ devices }) => devices.length > 0)
    .map(({ id, devices }) => {
      const lines = devices.map(
        (device) => `${device.reset.supported ? '[RESET]' : ''}\t${lspciLine(device, address(device.address))}\n`,
      )
      return `IOMMU group ${id}\n${lines.join('')}`
    })
    .join('')
}
