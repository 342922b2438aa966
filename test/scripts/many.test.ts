// 20,000 devices, 2,000 where tests are sampled: all of them, in every format.
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { expectNoTrace, newFolder } from '../support/expect.ts'
import { placeDevices } from '../support/fake/place.ts'
import { generateMachine } from '../support/machine.ts'
import { WHOLE } from '../support/needs.ts'
import { runScript } from '../support/run.ts'

const COUNT = WHOLE ? 20_000 : 2_000
const machine = generateMachine(COUNT)
const addresses = Object.keys(machine.devices).sort()
const groups = new Set(Object.values(machine.devices).map((device) => device.group))

/** The least that a kernel could show of them: half a million files would say no more. */
function sparseTree(): string {
  const dir = newFolder()
  mkdirSync(`${dir}/sys/bus/pci/devices`, { recursive: true })
  mkdirSync(`${dir}/sys/kernel`)
  mkdirSync(`${dir}/var/log`, { recursive: true })
  writeFileSync(`${dir}/var/log/dmesg`, '')
  for (const { address, path, device } of placeDevices(machine).values()) {
    mkdirSync(`${dir}/${path}`, { recursive: true })
    const driver = device.driver === undefined ? '' : `DRIVER=${device.driver}\n`
    writeFileSync(`${dir}/${path}/uevent`, `${driver}PCI_CLASS=${device.class}\nPCI_ID=${device.id}\n`)
    symlinkSync(`/${path}`, `${dir}/sys/bus/pci/devices/${address}`)
    symlinkSync(`/sys/kernel/iommu_groups/${device.group}`, `${dir}/${path}/iommu_group`)
  }
  return dir
}

describe(`${COUNT} devices`, () => {
  const dir = sparseTree()
  const ask = (script: string, ...args: string[]): string => {
    const ran = runScript(script, ['--machine', dir, ...args])
    expectNoTrace(ran)
    expect({ code: ran.code, stderr: ran.stderr }).toEqual({ code: 0, stderr: '' })
    return ran.stdout
  }
  const found = (text: string): string[] =>
    (text.match(/\b[0-9a-f]{4,5}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]\b/g) ?? []).sort()

  it('--json', () => {
    const { groups: listed, ungrouped } = JSON.parse(ask('list-iommu', '--json')) as {
      groups: { id: number; devices: { address: string }[] }[]
      ungrouped: []
    }
    expect(listed.map(({ id }) => id)).toEqual([...groups].sort((one, other) => Number(one) - Number(other)))
    expect(listed.flatMap(({ devices }) => devices.map(({ address }) => address)).sort()).toEqual(addresses)
    expect(ungrouped).toEqual([])
  })

  it.each(['table', 'lspci', 'addresses', 'tree'])('--format %s', (format) => {
    expect(found(ask('list-iommu', '--format', format))).toEqual(addresses)
  })

  it('--format svg', () => {
    expect(new Set(found(ask('list-iommu', '--format', 'svg')))).toEqual(new Set(addresses))
  })

  it('filters', () => {
    const gpus = addresses.filter((address) => machine.devices[address]?.class.startsWith('03'))
    expect(gpus.length).toBeGreaterThan(COUNT / 20)
    expect(found(ask('list-iommu', '--gpu', '--format', 'addresses'))).toEqual(gpus)
  })

  it('check-reset: every function of every card', () => {
    const ran = runScript('check-reset', ['--machine', dir, '--json'])
    expectNoTrace(ran)
    expect(ran.stderr).toBe('')
    const { cards } = JSON.parse(ran.stdout) as { cards: { functions: { address: string; bridge: boolean }[] }[] }
    // An ISA bridge is a bridge, a host bridge too: they are no cards.
    const endpoints = addresses.filter((address) => !machine.devices[address]?.class.startsWith('06'))
    expect(cards.flatMap(({ functions }) => functions.map(({ address }) => address)).sort()).toEqual(endpoints)
  })
})
