import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { coresOf } from '../../lib/cpu/cores.ts'
import { type Pinning, type PinRequest, pinVcpus } from '../../lib/cpu/pinning.ts'
import { type Cpus, readCpus } from '../../lib/host/cpu.ts'
import { openReader } from '../../lib/host/sysroot.ts'
import { cpuTree, DUMPS, dumpArchives, dumpRoots, lscpuRows, pin, pinningText } from '../support/cpus.ts'
import { needs, REAL_FILES, sampleOf } from '../support/needs.ts'

/** What holds for every guest on every machine. */
function expectSound(machine: Cpus, { vcpus, host, idle, emulator, topology, reasons }: Pinning): void {
  const numeric = (numbers: number[]): number[] => [...numbers].sort((one, other) => one - other)
  const cpus = vcpus.map(({ cpu }) => cpu)
  const online = machine.cpus.filter((cpu) => cpu.online).map(({ number }) => number)
  expect(numeric([...cpus, ...host, ...idle])).toEqual(online)
  expect(vcpus.map(({ vcpu }) => vcpu)).toEqual(cpus.map((_, index) => index))
  expect(topology.sockets * topology.dies * topology.cores * topology.threads).toBe(cpus.length)
  for (const core of coresOf(machine)) {
    const kept = core.cpus.filter((cpu) => host.includes(cpu)).length
    expect([0, core.cpus.length]).toContain(kept)
  }
  expect(host.length).toBeGreaterThan(0)
  expect(emulator.length).toBeGreaterThan(0)
  expect(emulator.filter((cpu) => !host.includes(cpu))).toEqual([])
  expect(reasons.join('\n')).not.toMatch(/undefined|NaN|null|\bCPUs? [,;:.]/)
}

function expectSoundAtAll(machine: Cpus): void {
  const total = machine.cpus.length
  const steps = [1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 31, 32, 48, 64].filter((count) => count <= total)
  const nodes = [undefined, ...(machine.nodes ?? []).map(({ number }) => number)].slice(0, 4)
  let refused = Number.POSITIVE_INFINITY
  for (const vcpus of [...steps, total]) {
    for (const node of nodes) {
      for (const prefer of [undefined, 'cache', 'frequency'] as const) {
        const request: PinRequest = { size: { vcpus }, node, prefer }
        try {
          const pinning = pinVcpus(machine, request)
          expect(pinning.vcpus.length).toBe(vcpus)
          expectSound(machine, pinning)
          expect(vcpus).toBeLessThan(refused)
        } catch (error) {
          if ((error as { code?: string }).code !== 'too-many-vcpus') throw error
          refused = Math.min(refused, vcpus)
        }
      }
    }
  }
  // All of a machine is never for the guest.
  expect(refused).toBeLessThanOrEqual(total)
}

const dumps = [...dumpArchives()]

/** Each is a golden file of each machine that has some: golden/gen-domain/pinning/MACHINE/CASE.txt. */
const CASES: Record<string, PinRequest> = {
  '8 vcpus': { size: { vcpus: 8 } },
  '3 cores near node 0': { size: { cores: 3 }, node: 0 },
  '12 cores near node 1': { size: { cores: 12 }, node: 1 },
  'all cores': { size: 'all-cores' },
  '4 vcpus, one thread, largest cache': { size: { vcpus: 4 }, oneThread: true, prefer: 'cache' },
}

async function expectGolden(machine: string, root: string): Promise<void> {
  for (const [name, request] of Object.entries(CASES)) {
    let text: string
    try {
      text = pinningText(pin(root, request))
    } catch (error) {
      text = `  ${(error as { code: string }).code}: ${(error as Error).message}\n`
    }
    const file = `${machine}/${name.replaceAll(/,? /g, '-')}.txt`
    await expect(text).toMatchFileSnapshot(`../golden/gen-domain/pinning/${file}`)
  }
}

needs(REAL_FILES, dumps.length > 0).describe('real machines', () => {
  it.each(sampleOf(dumps, 8))('%s', async (name, archive) => {
    for (const [index, root] of dumpRoots(archive).entries()) {
      expectSoundAtAll(readCpus(openReader(root)))
      if (GOLDEN.includes(name)) await expectGolden(index === 0 ? name : `${name}-${index + 1}`, root)
    }
  })
})

// SMT, none, hybrid, several L3 clusters, NUMA nodes, odd numbers, offline CPUs.
const GOLDEN = [
  '20em64t-hybrid-1p6c2t+2ca4co1t',
  'test-data-sample1',
  'ghw-amd-ryzen-1600',
  'ghw-intel-xeon-L5640',
  'harvester-linux-amd64-e147d239',
  'cri-rm-topology-aware-sysfs',
  'cri-rm-2socket-4node-40core',
  'x86_64-epyc_7451',
  'x86_64-64cpu-linux6.2',
  '48amd64-4pa2n6c-sparse',
  '16em64t-4s2c2t-offlines',
  'offline-cpu0-node0',
  'arm-A510-A710-A715-X3',
  's390-lpar',
]

const listings = existsSync(`${DUMPS}/cpu/lscpu-e`) ? readdirSync(`${DUMPS}/cpu/lscpu-e`) : []

needs(REAL_FILES, listings.length > 0).describe('real listings of lscpu -e', () => {
  it.each(sampleOf(listings, 3))('%s', async (file) => {
    const rows = lscpuRows(readFileSync(`${DUMPS}/cpu/lscpu-e/${file}`, 'utf8'))
    const vendor = file.includes('ryzen') ? 'AuthenticAMD' : 'GenuineIntel'
    const root = cpuTree(rows, { vendor })
    expectSoundAtAll(readCpus(openReader(root)))
    await expectGolden(file.replace(/^rog-strix-|-french-locale|\.txt$/g, ''), root)
  })
})
