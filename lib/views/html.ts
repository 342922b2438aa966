import type { CardReset } from '../bind/reset.ts'
import type { IommuGroup } from '../host/iommu.ts'
import { cardOf, isDisplay, isVfio, type PciDevice } from '../host/pci.ts'
import { printable } from '../terminal/text.ts'
import { deviceName, iommuLine, type Listing } from './devices.ts'
import { PAGE_SCRIPT, PAGE_STYLE } from './html-page.ts'
import { escapeXml } from './svg.ts'

/** Text of the machine as it stands in the page. */
const shown = (text: string): string => escapeXml(printable(text))

/**
 * Returns the listing as one HTML page for people to send: groups, cards, resets and findings, which can be searched.
 * It loads nothing, and runs only its own search.
 */
export function listingPage(listing: Listing): string {
  const { facts, selected, groups, address } = listing
  const resets = listing.resets()
  const verdicts = new Map(resets.flatMap((card) => card.functions.map((one) => [one.address, card] as const)))
  const row = (device: PciDevice, group: IommuGroup | undefined): string =>
    deviceRow(device, group, verdicts.get(device.address), address)
  const ungrouped = selected.filter((device) => device.group === null)
  const summary = iommuLine(
    { color: false, columns: undefined },
    facts.iommu,
    facts.groups.length,
    facts.devices.length,
  )
  const found = pageFindings(listing, resets)
  const sections = groups.map((group) =>
    groupSection(
      group,
      group.devices.map((device) => row(device, group)),
    ),
  )
  if (ungrouped.length > 0)
    sections.push(section('Without an IOMMU group', '', ungrouped.map((device) => row(device, undefined)).join('')))
  return [
    '<!DOCTYPE html>',
    '<html lang="en"><head><meta charset="utf-8">',
    `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">`,
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    '<meta name="color-scheme" content="light dark">',
    `<title>PCI devices by IOMMU group</title><style>${PAGE_STYLE}</style></head><body>`,
    `<header><h1>PCI devices by IOMMU group</h1><p>${shown(summary.trim())}</p>`,
    '<input id="search" type="search" placeholder="Search: an address, an ID, a name, a driver …" aria-label="Search" autofocus>',
    '<p id="none" hidden>No device has all of these words.</p></header><main>',
    ...(found.length === 0
      ? []
      : [`<section class="findings"><h2>What stands out</h2><ul>${found.join('')}</ul></section>`]),
    ...sections,
    `</main><footer>Made by <code>list-iommu --format html</code>. A guest gets all of a group or none of it; bridges stay with the host.</footer>`,
    `<script>${PAGE_SCRIPT}</script></body></html>`,
    '',
  ].join('\n')
}

function groupSection(group: IommuGroup, rows: readonly string[]): string {
  const isolated = group.isolated ? '<span class="pill good">isolated</span>' : ''
  const others = group.others.map(({ name }) => `<tr><td></td><td colspan="6">${shown(name)}</td></tr>`)
  return section(`Group ${group.id}`, isolated, [...rows, ...others].join(''))
}

function section(title: string, mark: string, rows: string): string {
  const heads = ['Address', 'Class', 'Device', 'ID', 'Driver', 'Reset', ''].map((each) => `<th>${each}</th>`).join('')
  return `<section class="group"><h2>${title} ${mark}</h2><table><thead><tr>${heads}</tr></thead><tbody>${rows}</tbody></table></section>`
}

function deviceRow(
  device: PciDevice,
  group: IommuGroup | undefined,
  card: CardReset | undefined,
  address: Listing['address'],
): string {
  const { driver, bootVga, bridge } = device
  const id = `${device.vendor.id}:${device.device.id}`
  const pill = driver === null ? '' : `<span class="pill ${isVfio(driver) ? 'bound' : ''}">${shown(driver)}</span>`
  // Few devices other than cards can be reset, and few others are given to guests.
  const kind = card?.verdict === 'none' && !isDisplay(device) ? '' : card?.verdict
  const verdict =
    card === undefined ? '' : `<span class="pill ${kind}" title="${shown(card.reason)}">${card.verdict}</span>`
  const cells = [
    `<td class="address">${address(device.address)}</td>`,
    `<td>${shown(device.class.name ?? `Class ${device.class.id}`)}</td>`,
    `<td>${shown(deviceName(device))}</td>`,
    `<td class="id">${id}</td>`,
    `<td>${pill}</td>`,
    `<td>${verdict}</td>`,
    `<td>${bootVga ? '<span class="pill boot">boot VGA</span>' : ''}</td>`,
  ]
  const words = `group:${group?.id ?? 'none'} ${device.address} ${device.vendor.name ?? ''} ${device.class.id}`
  return `<tr class="${bridge ? 'bridge' : ''}" data-words="${shown(words)}">${cells.join('')}</tr>`
}

/** Returns what decides whether cards can be given to guests, a list item each, the worst first. */
function pageFindings({ facts, selected, groups, address }: Listing, resets: readonly CardReset[]): string[] {
  const item = (mark: string, kind: string, text: string): string =>
    `<li><span class="pill ${kind}">${mark}</span> ${shown(text)}</li>`
  const found: string[] = []
  if (facts.iommu.enabled !== true) found.push(item('IOMMU', 'failed', facts.iommu.reason ?? 'no IOMMU groups'))
  const displays = selected.filter(isDisplay)
  for (const card of resets) {
    const ofDisplay = card.functions.some(isDisplay)
    if (card.verdict === 'failed' || card.verdict === 'quirk' || (ofDisplay && card.verdict === 'none'))
      found.push(item(`reset ${card.verdict}`, card.verdict, `${address(card.card)}: ${card.reason}`))
  }
  for (const device of displays.filter(({ bootVga }) => bootVga))
    found.push(
      item(
        'boot VGA',
        'boot',
        `${address(device.address)} has the screen of the host: a guest that gets it takes the screen`,
      ),
    )
  for (const { id, devices } of groups) {
    const cards = [...new Set(devices.filter(({ bridge }) => !bridge).map(cardOf))]
    if (cards.length > 1 && devices.some(isDisplay))
      found.push(
        item('shared group', 'quirk', `group ${id} holds ${cards.length} cards: a guest gets all of them or none`),
      )
  }
  for (const device of displays.filter(({ driver }) => isVfio(driver)))
    found.push(item('bound', 'bound', `${address(device.address)} is held for guests by ${device.driver}`))
  return found
}
