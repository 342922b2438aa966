import { describe, expect, it } from 'vitest'
import { coresOf, unpinnedTopology } from '../../lib/cpu/cores.ts'
import { readCpus } from '../../lib/host/cpu.ts'
import { openReader } from '../../lib/host/sysroot.ts'
import { cpuTree, type Row } from '../support/cpus.ts'
import { domainHost, genDomain, patch } from '../support/domain.ts'
import { expectError } from '../support/expect.ts'
import { addFiles } from '../support/fake/host.ts'
import type { Machine } from '../support/machine.ts'

// What a guest is told of its CPUs and gets to be seen by, from what the host, libvirt and QEMU say of themselves.

const topology = (text: string): string | undefined => /<topology [^>]*>/.exec(text)?.[0]
const windows = ['--name', 'x', '--guest', 'windows10']

describe('topology', () => {
  it('one socket always: Windows uses two at most', () => {
    const host = domainHost()
    expect(topology(genDomain(host, ...windows).stdout)).toContain("sockets='1' dies='1' cores='2' threads='2'")
    const odd = genDomain(host, ...windows, '--vcpus', '5', '--pin', 'none').stdout
    expect(topology(odd)).toContain("sockets='1' dies='1' cores='5' threads='1'")
    expect(odd).not.toContain('topoext')
  })

  it('threads only where every core has them', () => {
    const one: Row[] = Array.from({ length: 8 }, (_, cpu) => ({ cpu, core: cpu }))
    expect(unpinnedTopology(readCpus(openReader(cpuTree(one))), 4).topology).toMatchObject({ cores: 4, threads: 1 })
  })

  it('a patch without pinning tells it too, for libvirt refuses one of another product', () => {
    const domain = `<domain type='kvm'><name>x</name><vcpu>4</vcpu>
  <cpu mode='host-passthrough'>
    <topology sockets='1' cores='4' threads='1'/>
  </cpu>
</domain>`
    const patched = patch(domainHost(), domain, '--vcpus', '8', '--pin', 'none').stdout
    expect(patched).toContain('<vcpu>8</vcpu>')
    expect(topology(patched)).toContain("sockets='1' cores='4' threads='2'")
  })
})

it('every thread: said, for the host has none of its own then; and goes with no other size', () => {
  const host = domainHost()
  const all = genDomain(host, ...windows, '--pin', 'all-threads')
  expect(all.stdout.match(/<vcpupin /g)).toHaveLength(16)
  expect(all.stdout).toMatch(/<emulatorpin cpuset='0-15'/)
  expect(all.stderr).toContain('the host none of its own')
  const domain = "<domain type='kvm'><name>x</name><vcpu>4</vcpu></domain>"
  expect(patch(host, domain, '--pin', 'all-threads').stderr).toContain('the host none of its own')
  expect(genDomain(host, ...windows, '--pin', 'all-cores').stderr).not.toContain('the host none of its own')
  expectError(genDomain(host, ...windows, '--pin', 'all-threads', '--vcpus', '2'), 'choose one')
  expectError(genDomain(host, ...windows, '--pin', 'all-threads', '--one-thread'), 'choose one')
})

describe('E cores where no clock tells them (a guest, a capture)', () => {
  /** CPUs of cores, each with its L2: `P` two threads and an L2 of its own, `E` one thread, four on an L2. */
  const efficient = (rows: Row[]): number[] =>
    coresOf(readCpus(openReader(cpuTree(rows))))
      .filter((core) => core.efficient)
      .flatMap(({ cpus }) => cpus)
  const p = (cores: number): Row[] =>
    Array.from({ length: 2 * cores }, (_, cpu) => ({ cpu, core: cpu >> 1, l2: cpu >> 1, l3: 0 }))
  const e = (first: number, count: number): Row[] =>
    Array.from({ length: count }, (_, at) => ({ cpu: first + at, core: first + at, l2: 100 + (at >> 2), l3: 0 }))

  it('4 P cores and 8 E cores: SMT and the shared L2 tell', () => {
    expect(efficient([...p(4), ...e(8, 8)])).toEqual([8, 9, 10, 11, 12, 13, 14, 15])
  })
  it('P cores of one thread too (Arrow Lake)', () => {
    const fast = Array.from({ length: 8 }, (_, cpu): Row => ({ cpu, core: cpu, l2: cpu, l3: 0 }))
    expect(efficient([...fast, ...e(8, 4)])).toEqual([8, 9, 10, 11])
  })
  it.each<[string, Row[]]>([
    ['E cores alone (N100)', e(0, 4)],
    [
      'two cores on each L2, one offline (Core 2)',
      e(0, 4).map((row) => ({ ...row, l2: row.cpu >> 1, online: row.cpu < 3 })),
    ],
    ['threads alone, one offline', p(4).map((row) => ({ ...row, online: row.cpu < 7 }))],
  ])('not of %s', (_, rows) => expect(efficient(rows)).toEqual([]))
})

describe('a host that is not x86', () => {
  it.each([
    ['ARM', 'processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\n'],
    ['POWER', 'processor\t: 0\ncpu\t\t: POWER9\n'],
    ['RISC-V', 'processor\t: 0\nhart\t\t: 1\nisa\t\t: rv64imafdc\n'],
  ])('%s: refused', (_, text) => {
    const host = domainHost(() => {}, 'debian', { files: { '/proc/cpuinfo': text } })
    expectError(genDomain(host, ...windows), "this host's CPU is not x86")
    expectError(genDomain(host, ...windows, '--format', 'qemu', '--network', 'user'), "this host's CPU is not x86")
  })
})

/** A host whose libvirt and QEMU said this of themselves, as a captured machine has it. */
const told = (libvirt: string, qemu = '', more: Record<string, string> = {}, vendor = 'AuthenticAMD' as const) =>
  domainHost(
    (machine: Machine) =>
      addFiles(machine, {
        '/run/vfio-scripts/domcapabilities.xml': libvirt,
        '/run/vfio-scripts/qemu-help.txt': qemu,
        ...more,
      }),
    'debian',
    { vendor },
  )
const values = (name: string, list: string): string =>
  `<enum name='${name}'>${list
    .split(' ')
    .map((each) => `<value>${each}</value>`)
    .join('')}</enum>`
const capabilities = (hyperv: string, graphics: string, video: string): string =>
  `<domainCapabilities><devices><video supported='yes'>${values('modelType', video)}</video><graphics supported='yes'>${values('type', graphics)}</graphics></devices><features><hyperv supported='yes'>${values('features', hyperv)}</hyperv></features></domainCapabilities>`
const flags = (text: string): string[] =>
  [...(/<hyperv>[\s\S]*<\/hyperv>/.exec(text)?.[0].matchAll(/<(\w+) state='on'/g) ?? [])].map(([, name]) => name ?? '')

const ALL =
  'relaxed vapic spinlocks vpindex runtime synic stimer reset vendor_id frequencies reenlightenment tlbflush ipi evmcs avic'

describe('what libvirt says of itself', () => {
  it('decides on Hyper-V flags, and no version', () => {
    const text = capabilities('relaxed vapic spinlocks vpindex synic', 'spice vnc', 'qxl virtio')
    const ran = genDomain(told(text), ...windows)
    expect(flags(ran.stdout)).toEqual(['relaxed', 'vapic', 'spinlocks', 'vpindex', 'synic'])
    expect(ran.stderr).toContain("Hyper-V's runtime, stimer, frequencies, tlbflush, ipi: left out")
  })

  it('evmcs on Intel, avic where the hardware has it', () => {
    const text = capabilities(ALL, 'spice vnc', 'qxl virtio')
    expect(flags(genDomain(told(text), ...windows).stdout)).not.toEqual(expect.arrayContaining(['avic']))
    const avic = genDomain(told(text, '', { '/sys/module/kvm_amd/parameters/avic': 'Y\n' }), ...windows).stdout
    expect([flags(avic).includes('avic'), flags(avic).includes('evmcs')]).toEqual([true, false])
    const intel = genDomain(
      told(text, '', { '/sys/module/kvm_intel/parameters/enable_apicv': 'N\n' }, 'GenuineIntel' as 'AuthenticAMD'),
      ...windows,
    ).stdout
    expect([flags(intel).includes('avic'), flags(intel).includes('evmcs')]).toEqual([false, true])
  })

  it.each([
    ['spice vnc', 'qxl virtio vga', 'windows10', 'spice', 'qxl'],
    ['vnc', 'vga cirrus virtio bochs', 'windows10', 'vnc', 'virtio'],
    ['vnc', 'vga bochs', 'linux', 'vnc', 'bochs'],
    ['vnc', 'vga', 'linux', 'vnc', 'vga'],
    ['spice vnc', 'vga virtio', 'windows7', 'spice', 'virtio'],
  ])('graphics %s, video %s: %s gets %s and %s', (graphics, video, guest, display, model) => {
    const ran = genDomain(told(capabilities(ALL, graphics, video)), '--name', 'x', '--guest', guest)
    expect(ran.stdout).toContain(`<graphics type='${display}'`)
    expect(ran.stdout).toMatch(new RegExp(`<video>\\s*<model type='${model}'/>`))
    expect(/spicevmc|<sound/.test(ran.stdout)).toBe(display === 'spice')
    expect(ran.stderr.includes('VNC instead of SPICE')).toBe(display === 'vnc')
  })

  it('QEMU, where there is no libvirt between', () => {
    const help = 'name "virtio-vga", bus PCI\nname "VGA", bus PCI\nname "bochs-display", bus PCI\n'
    const script = (text: string): string =>
      genDomain(told('', text), ...windows, '--format', 'qemu', '--network', 'user').stdout
    expect(script(help)).toMatch(/-device virtio-vga [\s\S]*-vnc unix:"\$dir"\/vnc\.sock/)
    expect(script(`${help}name "qxl-vga", bus PCI\n`)).toMatch(/-device qxl-vga [\s\S]*-spice /)
    expect(script(`${help}  spicevmc\n`)).toContain('-spice ')
    expectError(
      genDomain(told('', help), ...windows, '--format', 'qemu', '--network', 'user', '--audio', 'spice'),
      'QEMU here has no SPICE',
    )
    // Nor where libvirt does not answer this user.
    expect(genDomain(told('', help), ...windows).stdout).toContain("<graphics type='vnc'")
  })
})

describe('a patch', () => {
  const domain = (first: string, second: string): string => `<domain type='kvm'><name>x</name>
  <os><type machine='q35'>hvm</type></os>
  <devices>
    <hostdev mode='subsystem' type='pci' ${first}
      <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0' multifunction='on'/>
    </hostdev>
    <hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0' bus='2' slot='0' function='1'/></source>
      <address type='pci' domain='0x0000' ${second}/>
    </hostdev>
  </devices>
</domain>`
  const source = "<source><address domain='0' bus='2' slot='0' function='0'/></source>"
  const together = "bus='0x01' slot='0x00' function='0x1'"
  const args = ['--gpu', '02:00', '--libvirt', '9.3.0']
  const host = domainHost()

  it.each(["bar='off'", "enabled='no'"])(
    'a ROM that is set is shown (%s), and a second time changes nothing',
    (hidden) => {
      const rom = ['--rom', '/var/lib/libvirt/images/card.rom']
      const ran = patch(host, domain(`managed='yes'>${source}<rom ${hidden}/>`, together), ...args, ...rom)
      const shown = hidden.replace('off', 'on').replace('no', 'yes')
      expect(ran.stdout).toContain(`<rom ${shown} file='/var/lib/libvirt/images/card.rom'/>`)
      expect(ran.stderr).toContain('0000:02:00.0: its ROM was hidden from the guest')
      expect(patch(host, ran.stdout, ...args, ...rom).stdout).toBe(ran.stdout)
      // Without --rom it stays as somebody wanted it.
      const plain = domain(`managed='yes'>${source}<rom ${hidden}/>`, together)
      expect(patch(host, plain, ...args).stdout).toBe(plain)
    },
  )

  it.each([`managed='no'>${source}`, `>${source}`])('says that libvirt takes no driver off: %s', (first) => {
    expect(patch(host, domain(first, together), ...args).stderr).toContain("0000:02:00.0: not managed='yes'")
  })

  it('says that a card is on two slots', () => {
    const split = domain(`managed='yes'>${source}`, "bus='0x02' slot='0x00' function='0x0'")
    expect(patch(host, split, ...args).stderr).toContain('0000:02:00.0, 0000:02:00.1: on 2 slots of the guest')
    expect(patch(host, domain(`managed='yes'>${source}`, together), ...args).stderr).not.toMatch(/slots|managed/)
  })
})
