// check-host --guest: what a guest of libvirt asks for, against its process.
import { rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { expectRan } from '../support/bind.ts'
import { answer, check, host } from '../support/checking.ts'
import type { Ran } from '../support/run.ts'

const card = '0000:02:00.0'
const STATUS = `<domstatus state='running' reason='booted' pid='4000'>
  <vcpus>
    <vcpu id='0' pid='4010'/>
    <vcpu id='1' pid='4011'/>
  </vcpus>
  <domain type='kvm' id='1'>
    <name>win11</name>
    <memory unit='KiB'>4194304</memory>
    <memoryBacking><hugepages><page size='2048' unit='KiB'/></hugepages></memoryBacking>
    <vcpu placement='static'>2</vcpu>
    <cputune>
      <vcpupin vcpu='0' cpuset='2'/>
      <vcpupin vcpu='1' cpuset='2-3,^2'/>
      <emulatorpin cpuset='0-1'/>
    </cputune>
    <devices>
      <hostdev mode='subsystem' type='pci' managed='yes'>
        <driver name='vfio'/>
        <source><address domain='0x0000' bus='0x02' slot='0x00' function='0x0'/></source>
      </hostdev>
    </devices>
  </domain>
</domstatus>
`
const status = 'run/libvirt/qemu/win11.xml'
const smaps = 'proc/4000/smaps'
const pages = (page: number, held: number): string => `7f00-7f80 rw-s 00000000 00:0f 1 /dev/hugepages/libvirt/qemu
Size:            4194304 kB
KernelPageSize:     ${page} kB
MMUPageSize:        ${page} kB
Shared_Hugetlb:        0 kB
Private_Hugetlb: ${held} kB
7f90-7fa0 rw-p 00000000 00:00 0
KernelPageSize:        4 kB
Shared_Hugetlb:        0 kB
Private_Hugetlb:       0 kB
`
const interrupts = (kind: string): string =>
  `           CPU0       CPU1\n  50:          0          7   IR-PCI-MSI 1-edge      ${kind}(${card})\n  51:   3   1   IR-PCI-MSI 1-edge      vfio-msi[0](0000:0a:00.0)\n`
const task = (id: number, name: string, cpus: string): Record<string, string> => ({
  [`proc/4000/task/${id}/status`]: `Name:\t${name}\nCpus_allowed_list:\t${cpus}\n`,
})

const guest = (files: Record<string, string | null> = {}): string => {
  const dir = host({
    [status]: STATUS,
    ...task(4000, 'qemu-system-x86', '0-1'),
    ...task(4010, 'CPU 0/KVM', '2'),
    ...task(4011, 'CPU 1/KVM', '3'),
    [smaps]: pages(2048, 4194304),
    'proc/interrupts': interrupts('vfio-msi[0]'),
    'proc/irq/50/effective_affinity_list': '1\n',
    ...files,
  })
  return dir
}
const ask = (dir: string, ...args: string[]): Ran => check(dir, '--guest', 'win11', ...args)
const states = (dir: string): Record<string, string> =>
  Object.fromEntries(answer(ask(dir, '--json')).findings.map(({ code, state }) => [code, state]))

describe('--guest', () => {
  it.each<[string, Record<string, string | null>, string, string, RegExp]>([
    [
      'a vCPU that may run elsewhere',
      task(4011, 'CPU 1/KVM', '0-7'),
      'guest-pinning',
      'problem',
      /vCPU 1: CPU 0-7, asked for 3\n/,
    ],
    [
      "QEMU's main thread on a vCPU's CPU",
      task(4000, 'qemu-system-x86', '2'),
      'guest-pinning',
      'problem',
      /main thread: CPU 2, asked for 0-1\n/,
    ],
    [
      'a thread that is gone',
      { 'proc/4000/task/4011': null },
      'guest-pinning',
      'unknown',
      /vCPU 1: CPU not seen, asked for 3/,
    ],
    [
      'pinning, where the thread goes by its name',
      { [status]: STATUS.replace(/<vcpus>.*<\/vcpus>/s, ''), ...task(4011, 'CPU 1/KVM', '5') },
      ...(['guest-pinning', 'problem', /vCPU 1: CPU 5, asked for 3\n/] as const),
    ],
    [
      'no pinning',
      { [status]: STATUS.replace(/<cputune>.*<\/cputune>/s, '') },
      'guest-pinning',
      'ok',
      /asks for no CPUs of its own/,
    ],
    [
      'the CPUs of all vCPUs at once',
      { [status]: STATUS.replace(/<cputune>.*<\/cputune>/s, '').replace("'static'", "'static' cpuset='2'") },
      'guest-pinning',
      'problem',
      /vCPU 1: CPU 3, asked for 2\n/,
    ],
    [
      'half of the memory in huge pages',
      { [smaps]: pages(2048, 2097152) },
      'guest-hugepages',
      'problem',
      /only 2 GiB are in pages of 2 MiB/,
    ],
    [
      'pages of another size',
      { [smaps]: pages(1048576, 4194304) },
      'guest-hugepages',
      'problem',
      /nothing is in pages of 2 MiB/,
    ],
    [
      'huge pages of no size that is named',
      { [status]: STATUS.replace(/<page .*?\/>/, '') },
      'guest-hugepages',
      'ok',
      /All 4 GiB/,
    ],
    ['no smaps', { [smaps]: null }, 'guest-hugepages', 'unknown', /not known which pages/],
    [
      'no interrupt of the card',
      { 'proc/interrupts': 'CPU0\n' },
      'guest-devices',
      'unknown',
      /uses none of its interrupts/,
    ],
    [
      'a line interrupt',
      { 'proc/interrupts': interrupts('vfio-intx') },
      'guest-devices',
      'ok',
      /line interrupt; MSI is faster/,
    ],
    [
      'the process gone',
      { 'proc/4000': null, 'proc/4000/task': null },
      'guest-process',
      'problem',
      /process 4000 is not there/,
    ],
  ])('%s', (_, files, code, state, text) => {
    const dir = guest(files)
    expect(states(dir)[code]).toBe(state)
    expectRan(ask(dir), state === 'problem' ? 1 : 0, text)
  })

  it('says where all is, when all is as asked', () => {
    const ran = ask(guest())
    expectRan(ran, 0, /no problem \(0 not known, 4 well\)/)
    expect(ran.stdout).toContain('All 3 pinned threads of win11 are on their CPUs')
    expect(ran.stdout).toContain('vCPU 1: CPU 3\n')
    expect(ran.stdout).toContain(`${card}: vfio-pci has it, with 1 interrupt by MSI`)
    expect(ran.stdout).toContain('interrupt 50 (msi) on CPU 1\n')
  })

  it('files as long as those of a real guest', () => {
    const long = {
      [smaps]: 'Rss: 4 kB\n'.repeat(200_000) + pages(2048, 4194304),
      [status]: STATUS + ' '.repeat(2_000_000),
    }
    expectRan(ask(guest(long)), 0, /All 4 GiB of win11 are in pages of 2 MiB/)
  })

  it("a card that the host's driver has", () => {
    const dir = guest()
    const link = join(dir, 'sys/bus/pci/devices', card, 'driver')
    rmSync(link)
    symlinkSync('../../../../bus/pci/drivers/nouveau', link)
    expectRan(ask(dir), 1, /0000:02:00\.0: nouveau has it, not vfio-pci, while win11 runs/)
  })

  it.each<[string[], RegExp]>([
    [['--guest', 'win10'], /runs no guest of this name/],
    [['--guest', '../win11'], /no guest's name/],
    [['--guest', 'win11', '--device', '02:00'], /--guest and --device/],
  ])('%j is refused', (args, text) => {
    const ran = check(guest(), ...args)
    expect(ran.code).toBe(2)
    expect(ran.stderr).toMatch(text)
    expect(ran.stderr.trim().split('\n')).toHaveLength(1)
  })

  it('a status that libvirt did not write is refused', () => {
    for (const text of ['<domain/>', '<domstatus', "<domstatus pid='x'><domain/></domstatus>"])
      expect(ask(guest({ [status]: text })).code).toBe(2)
  })
})
