import lt from 'semver/functions/lt.js'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { argumentsOf, combinations, situationOf, title } from '../support/combinations.ts'
import { addCards, domainHost, genDomain, largeCard } from '../support/domain.ts'
import { putFirmware, SITUATION_NAMES, type SituationName } from '../support/firmware.ts'
import { GUESTS } from '../support/guests.ts'
import { Libvirt, lacking, versionOf } from '../support/libvirt.ts'
import { currentRoot } from '../support/libvirt-root.ts'
import { needs, sampleOf } from '../support/needs.ts'
import type { Row } from '../support/pairs.ts'

// What gen-domain writes, defined and started by a real libvirtd with the firmware running. `npm run domains` starts
// all, on this system's libvirt and on a current one; without it a few are started, for emulation takes its time.

const ALL = process.env.VFIO_DOMAINS === 'all'
const ROOTS = { 'this system': '/', 'a current one': currentRoot() }
/** What stands for the guests where not all of them are started. */
const FEW = ['windows7', 'i440fx']
const FIRMWARE_GUESTS = ['windows11', 'windows10', 'windows7', 'linux']

const STARTED = /^started$/

/** What is to become of a guest that wants UEFI. */
function wanted(situation: SituationName, version: string): RegExp {
  if (situation === 'none') return /^refused by gen-domain: .*not found/
  return situation === 'fedora' && lt(version, '9.2.0') ? /^refused by gen-domain: .*qcow2/ : STARTED
}

/** A row of the table: who, with which firmware and libvirt, and what became of it. */
function tell(...cells: string[]): void {
  if (ALL) process.stdout.write(`| ${cells.join(' | ').replaceAll('\n', ' ')} |\n`)
}

describe.each(Object.entries(ROOTS))('libvirt of %s', (_, root) => {
  const why = lacking(root)
  needs(why, why === '').describe('runs', () => {
    let libvirt: Libvirt
    let versions: string[]
    let present: SituationName = 'debian'
    beforeAll(async () => {
      libvirt = await Libvirt.open(root)
      versions = ['--libvirt', libvirt.version(), '--qemu', libvirt.qemu()]
    }, 120_000)
    afterAll(() => libvirt.close())

    /** What becomes of a guest: `started`, or who refused it and why. */
    async function fate(host: string, name: string, args: readonly string[]): Promise<string> {
      const own = args.includes('--libvirt') ? [] : versions
      const { code, stdout, stderr } = genDomain(host, '--name', name, ...args, ...own)
      if (code !== 0) return `refused by gen-domain: ${stderr.trim()}`
      const defined = libvirt.define(stdout)
      if (defined.error !== '') return `refused at define: ${defined.error}`
      const { error, log } = await libvirt.start(stdout)
      return error === '' ? 'started' : `refused at start: ${error}\n${log.slice(-600)}`
    }

    const hosts = new Map(SITUATION_NAMES.map((name) => [name, domainHost(addCards, name)]))
    /** Has the daemon's system these images, too? */
    function hostWith(situation: SituationName): string {
      if (present !== situation) putFirmware(libvirt, situation)
      present = situation
      return hosts.get(situation) ?? ''
    }

    const host = hosts.get('debian') ?? ''
    const guests = Object.entries(GUESTS).filter(([name]) => ALL || FEW.includes(name))
    it.each(guests)(
      '%s is defined and starts',
      async (name, { args, libvirt: needs }) => {
        if (needs !== undefined && lt(libvirt.version(), needs)) return
        const result = await fate(host, name, args)
        tell(name, 'debian', libvirt.version(), result)
        expect(result).toBe('started')
      },
      300_000,
    )

    needs('npm run domains', ALL).it(
      'a card of 64 GiB is placed with what gen-domain writes, and not without',
      async () => {
        const large = largeCard(64, { cpu: 39, iommu: null, ovmf: '2022.11-6' })
        const { stdout } = genDomain(
          large,
          '--name',
          'large',
          '--guest',
          'linux',
          '--gpu',
          '02:00',
          '--libvirt',
          '9.0.0',
        )
        const test = "<qemu:arg value='-device'/><qemu:arg value='pci-testdev,membar=64G,addr=0x18'/>"
        // 39 bits, in a CPU that is emulated.
        const narrow = "<qemu:arg value='-global'/><qemu:arg value='max-x86_64-cpu.phys-bits=39'/>"
        const xml = stdout.replace('</qemu:commandline>', `${test}${narrow}</qemu:commandline>`)
        expect(await libvirt.start(xml)).toMatchObject({ error: '' })
        const without = xml.replace(/<qemu:arg value='-fw_cfg'\/>\s*<qemu:arg [^>]*>/, '')
        expect(await libvirt.start(without, undefined, 90)).toMatchObject({ error: 'the firmware placed no device' })
      },
      600_000,
    )

    needs('npm run domains', ALL).describe.each(SITUATION_NAMES.filter((name) => name !== 'debian'))(
      'firmware as with %s',
      (situation) => {
        it.each(FIRMWARE_GUESTS)(
          '%s',
          async (name) => {
            const result = await fate(hostWith(situation), name, GUESTS[name]?.args ?? [])
            tell(name, situation, libvirt.version(), result)
            expect(result).toMatch(name === 'windows7' ? STARTED : wanted(situation, libvirt.version()))
          },
          300_000,
        )
      },
    )

    const rows = combinations(versionOf(root))
    const sorted = (some: readonly Row[]): Row[] =>
      SITUATION_NAMES.flatMap((name) => some.filter((row) => situationOf(row) === name))
    needs('npm run domains', ALL).it.each(sorted(rows).map((row) => [title(row), row] as const))(
      'started: %s',
      async (name, row) => {
        const result = await fate(hostWith(situationOf(row)), 'vm', argumentsOf(row))
        tell(name, situationOf(row), libvirt.version(), result)
        expect(result).toBe('started')
      },
      300_000,
    )
    if (!ALL)
      it.each(sorted(sampleOf(rows, 2)).map((row) => [title(row), row] as const))('defined: %s', (_, row) => {
        const { stdout, stderr } = genDomain(
          hostWith(situationOf(row)),
          '--name',
          'vm',
          ...argumentsOf(row),
          ...versions,
        )
        expect(stderr === '' || stdout !== '' ? '' : stderr).toBe('')
        expect(libvirt.define(stdout).error).toBe('')
      })
  })
})
