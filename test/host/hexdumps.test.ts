import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { type FakeDevice, type Machine, scratchDir, writeMachine } from '../support/machine.ts'
import { needs, REAL_FILES, sampleOf } from '../support/needs.ts'
import { has, PROJECT, runProgram, runScript } from '../support/run.ts'

// Configuration spaces of real devices, as `lspci -xxx` prints them, kept beside the checkout where there are any.
const DUMPS = `${PROJECT}../shared/machines/sysfs/lspci-hex`
const dumps = existsSync(DUMPS) && has('lspci') ? readdirSync(DUMPS) : []

const hex = (bytes: Buffer, at: number): string => bytes.readUInt16LE(at).toString(16).padStart(4, '0')

/** The functions of a dump and their configuration space, by full address. */
function functionsOf(dump: string): Map<string, Buffer> {
  const found = new Map<string, Buffer>()
  for (const paragraph of dump.split(/\n(?=\S*[0-9a-f]{2}:[0-9a-f]{2}\.[0-7] )/)) {
    const address = /^(?:([0-9a-f]{4}):)?([0-9a-f]{2}:[01][0-9a-f]\.[0-7])/m.exec(paragraph)
    const rows = [...paragraph.matchAll(/^([0-9a-f]0):((?: [0-9a-f]{2}){16})$/gm)]
    if (address === null || rows.length < 4) continue
    found.set(
      `${address[1] ?? '0000'}:${address[2]}`,
      Buffer.from(
        rows
          .map((row) => row[2])
          .join('')
          .replaceAll(' ', ''),
        'hex',
      ),
    )
  }
  return found
}

needs(REAL_FILES, dumps.length > 0).describe('real configuration spaces', () => {
  it.each(sampleOf(dumps, 6))('%s: MSI and MSI-X are as lspci decodes them', (name) => {
    const functions = functionsOf(readFileSync(`${DUMPS}/${name}`, 'latin1'))
    const devices: Record<string, FakeDevice> = {}
    for (const [address, config] of functions) {
      // As something that is no bridge, whatever it is: check-reset speaks of no bridges.
      devices[address] = { class: 'ff0000', id: `${hex(config, 0)}:${hex(config, 2)}` }
    }
    const dir = scratchDir('dump')
    const cpu = { vendor: 'unknown', model: 'unknown', flags: [] }
    const machine: Machine = { about: name, kernel: '6.1.0', cmdline: '', cpu, acpi: [], dmi: {}, devices }
    writeMachine(machine, dir)
    for (const [address, config] of functions) writeFileSync(`${dir}/sys/bus/pci/devices/${address}/config`, config)
    const theirs: Record<string, string> = {}
    let at = ''
    const decoded = runProgram('bash', ['-c', `lspci -F '${DUMPS}/${name}' -Dvv`]).stdout
    for (const line of decoded.split('\n')) {
      at = /^[0-9a-f]{4}:[0-9a-f:.]+/.exec(line)?.[0] ?? at
      const [, kind, sign] = /Capabilities: \[..\] (MSI|MSI-X): Enable([+-])/.exec(line) ?? []
      if (kind !== undefined) theirs[`${at} ${kind}`] ??= sign ?? ''
    }
    const { cards } = JSON.parse(runScript('check-reset', ['--machine', dir, '--json']).stdout)
    const ours: Record<string, string> = {}
    for (const { address, msi, msix } of cards.flatMap((card: { functions: unknown[] }) => card.functions)) {
      if (msi?.supported) ours[`${address} MSI`] = msi.enabled ? '+' : '-'
      if (msix?.supported) ours[`${address} MSI-X`] = msix.enabled ? '+' : '-'
    }
    expect(cards.length).toBeGreaterThan(0)
    expect(ours).toEqual(theirs)
  })
})
