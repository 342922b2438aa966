import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { argumentsOf, combinations, refusals, situationOf, title } from '../support/combinations.ts'
import { domainHost, genDomain } from '../support/domain.ts'
import { expectError } from '../support/expect.ts'
import { SITUATION_NAMES, type SituationName } from '../support/firmware.ts'
import { scratchDir } from '../support/machine.ts'
import { needs, sampleOf } from '../support/needs.ts'
import { pairsOf, pairwise, type Row } from '../support/pairs.ts'
import { has, type Ran, runProgram } from '../support/run.ts'

const hosts = Object.fromEntries(SITUATION_NAMES.map((name) => [name, domainHost(undefined, name)])) as Record<
  SituationName,
  string
>
const ask = (row: Row, libvirt: string, qemu: string) =>
  genDomain(hosts[situationOf(row)], '--name', 'vm', ...argumentsOf(row), '--libvirt', libvirt, '--qemu', qemu)

describe('pairwise', () => {
  const factors = { a: ['1', '2', '3'], b: ['1', '2'], c: ['1', '2', '3', '4'] }
  const excluded = (row: Row): boolean => row.a === '3' && row.c === '1'

  it('has every pair that may be, none that may not, and less than all', () => {
    const rows = pairwise(factors, excluded)
    const pairs = new Set(rows.flatMap(pairsOf).map((pair) => JSON.stringify(pair)))
    expect(rows.filter(excluded)).toEqual([])
    expect(pairs.size).toBe(3 * 2 + 3 * 4 - 1 + 2 * 4)
    expect(rows.length).toBeLessThan(24)
    expect(pairwise(factors, excluded)).toEqual(rows)
  })
})

/** Where virt-xml-validate finds it. */
const SCHEMA = '/usr/share/libvirt/schemas/domain.rng'

describe.each([
  ['9.0.0', '7.2.0'],
  ['4.0.0', '2.11.0'],
])('options combined, for libvirt %s', (libvirt, qemu) => {
  it('what cannot be is refused in a line that says why', () => {
    for (const { pair, says } of refusals(libvirt)) {
      const ran = ask(pair, libvirt, qemu)
      expect([title(pair), ran.stderr]).toEqual([title(pair), expect.stringMatching(says)])
      expectError(ran)
    }
  })

  // What older ones lack is left out everywhere by the same gates.
  const rows = libvirt === '9.0.0' ? combinations(libvirt) : sampleOf(combinations(libvirt), 20)
  let written: Ran[] = []
  beforeAll(() => {
    written = rows.map((row) => ask(row, libvirt, qemu))
  })
  const named = (bad: (ran: Ran, index: number) => string): string[] =>
    written.flatMap((ran, index) => (bad(ran, index) === '' ? [] : [`${title(rows[index] ?? {})}: ${bad(ran, index)}`]))

  it(`all else is written: ${rows.length} domains`, () => {
    expect(named(({ code, stderr }) => (code === 0 ? '' : stderr))).toEqual([])
  })

  needs('virt-xml-validate', has('xmllint') && existsSync(SCHEMA)).it("libvirt's schema accepts them", () => {
    const folder = scratchDir('combinations')
    const files = written.map(({ stdout }, index) => {
      const file = `${folder}/${index}.xml`
      writeFileSync(file, stdout)
      return file
    })
    const said = runProgram('xmllint', ['--noout', '--relaxng', SCHEMA, ...files]).stderr.split('\n')
    expect(named((_, index) => said.filter((line) => line.startsWith(`${files[index]}:`)).join('\n'))).toEqual([])
    expect(said.filter((line) => line.endsWith(' validates'))).toHaveLength(rows.length)
  })
})

const IMAGES = '/var/lib/libvirt/images'

/** What a script loses to be run by a QEMU that has neither KVM, nor the devices, files and programs of the host. */
const scriptChanges = (home: string): [what: RegExp, to: string][] => [
  [/^exec taskset -c \S+/m, 'exec'],
  [/accel=kvm/, 'accel=tcg'],
  [/kernel-irqchip=on/, 'kernel-irqchip=off'],
  [/^ {2}-cpu .*/m, '  -cpu max \\'],
  [/^ {2}-global kvm-pit.*\n/m, ''],
  [/vfio-pci,host=[^,]*/g, 'virtio-rng-pci'],
  [/,(x-vga=on|romfile=\S*)/g, ''],
  [/^ {2}(-device usb-host|-object input-linux).*\n/gm, ''],
  [/,hugetlb=on,hugetlbsize=\w+,prealloc=on/, ''],
  [/-netdev (bridge|tap),\S*,id=/g, '-netdev user,id='],
  [/-audiodev (pa|pipewire),id=sound\S*/, '-audiodev none,id=sound'],
  [/scsi-block/g, 'scsi-cd'],
  [/\/dev\/(sr0|sdb)/g, `${home}/$1`],
  [/\/dev\/shm\/looking-glass/, `${home}/frames`],
  [/\/srv\/games/g, home],
  [new RegExp(IMAGES, 'g'), home],
]

const lacking = [
  process.getuid?.() === 0 ? '' : 'root',
  existsSync('/usr/share/OVMF/OVMF_CODE_4M.ms.fd') ? '' : 'OVMF',
  ...['qemu-system-x86_64', 'qemu-img', 'swtpm', 'unshare'].map((name) => (has(name) ? '' : name)),
  ['/usr/libexec', '/usr/lib/qemu'].some((folder) => existsSync(`${folder}/virtiofsd`)) ? '' : 'virtiofsd',
].filter((name) => name !== '')

describe('options combined, without libvirt', () => {
  const only = { firmware: ['debian'], network: ['usual', 'bridge', 'tap', 'user', 'none'] }
  const rows = combinations('9.0.0', only)
  const script = (row: Row) =>
    genDomain(hosts[situationOf(row)], '--name', 'vm', '--format', 'qemu', ...argumentsOf(row))

  needs(lacking.join(', '), lacking.length === 0).describe('the real QEMU takes the program', () => {
    it.each(sampleOf(rows, 3).map((row) => [title(row), row] as const))('%s', (_, row) => {
      const home = scratchDir('combined')
      for (const name of ['windows.iso', 'virtio-win.iso', 'sr0', 'sdb'])
        runProgram('qemu-img', ['create', '-q', '-f', 'raw', join(home, name), '8M'])
      runProgram('qemu-img', ['create', '-q', '-f', 'qcow2', join(home, 'guest.qcow2'), '8M'])
      const file = join(home, 'vm.sh')
      const written = script(row)
      expect([written.code, written.code === 0 ? '' : written.stderr]).toEqual([0, ''])
      writeFileSync(
        file,
        scriptChanges(home).reduce((text, [what, to]) => text.replace(what, to), written.stdout),
      )
      // What it starts ends with it.
      const command = `printf '%s' '{"execute":"qmp_capabilities"}{"execute":"quit"}' | unshare --pid --fork --kill-child sh ${file} -S -qmp stdio`
      const ran = runProgram('sh', ['-c', command], { env: { HOME: home, XDG_STATE_HOME: home } })
      expect(ran.stdout).toMatch(/"SHUTDOWN"/)
      expect(ran.stderr).not.toMatch(/^(?!.*warning:).*(qemu|audio|virtiofsd|swtpm|fuse)/im)
    })
  })
})
