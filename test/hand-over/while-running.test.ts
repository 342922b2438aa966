// CPUs, interrupts, huge pages and clocks that guests have while they run.
import { existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { SHELLS } from '../support/hand-over-kernel.ts'
import { type TunedHost, tunedHost, wanting } from '../support/tuned-host.ts'

const slice = (host: TunedHost): string => host.text('slices/system.slice')
const pages = 'sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages'
const governor = (host: TunedHost, cpu: number): string =>
  host.text(`sys/devices/system/cpu/cpufreq/policy${cpu}/scaling_governor`)
const vfio = '  50:          0          0   IR-PCI-MSI 1-edge      vfio-msi[0](0000:01:00.0)\n'

function expectRuns(
  host: TunedHost,
  verb: Parameters<TunedHost['run']>[0],
  guest: string,
  shell?: readonly string[],
): string {
  const ran = host.run(verb, guest, shell)
  expect(ran).toMatchObject({ code: 0, stdout: '' })
  return ran.stderr
}

describe.each(SHELLS.map((shell) => ({ shell, name: shell[0] })))('in $name', ({ shell }) => {
  it('a guest has its CPUs to itself, and gives them back', () => {
    const host = tunedHost()
    host.write(wanting('win11', [2, 3, 6, 7], ['isolate yes', 'governor performance', 'pages 2048 512 -']))
    const before = host.state()
    expectRuns(host, 'tune', 'win11', shell)
    for (const one of ['init.scope', 'system.slice', 'user.slice']) expect(host.text(`slices/${one}`)).toBe('0,1,4,5')
    expect(host.text('sys/devices/virtual/workqueue/cpumask')).toBe('00000033')
    expect(host.text('proc/irq/default_smp_affinity')).toBe('00000033')
    expect(host.text('proc/irq/1/smp_affinity_list')).toBe('0,1,4,5')
    expect(host.text('proc/31/status')).toMatch(/list:\t0,1,4,5$/)
    // Bound to one CPU by the kernel, and no thread of the kernel.
    expect(host.text('proc/32/status')).toMatch(/list:\t3$/)
    expect(host.text('proc/900/status')).toMatch(/list:\t0-7$/)
    expect(host.text(pages)).toBe('528')
    expect([1, 2, 3].map((cpu) => governor(host, cpu))).toEqual(['schedutil', 'performance', 'performance'])
    expect(host.text('sys/devices/system/cpu/cpufreq/policy2/energy_performance_preference')).toBe('performance')
    // An interrupt that a driver asks for meanwhile gets the default of now.
    host.write({ 'proc/irq/77/smp_affinity': '00000033\n' })
    expectRuns(host, 'untune', 'win11', shell)
    expect(host.text('proc/irq/77/smp_affinity')).toBe('ff')
    rmSync(join(host.root, 'proc/irq/77'), { recursive: true })
    expect(host.state()).toBe(before)
    expect(existsSync(join(host.root, 'run/vfio-scripts/while-running'))).toBe(false)
  })
})

describe('two guests at once', () => {
  const both = {
    ...wanting('a', [2, 3], ['isolate yes', 'pages 2048 100 -']),
    ...wanting('bb', [6, 7], ['isolate yes', 'governor performance', 'pages 2048 50 -']),
  }
  it.each([
    ['a', 'bb'],
    ['bb', 'a'],
  ])('the end of %s takes nothing from %s', (first, second) => {
    const host = tunedHost()
    host.write(both)
    const before = host.state()
    expectRuns(host, 'tune', 'a')
    const alone = { a: '0,1,4,5,6,7', bb: '0,1,2,3,4,5' }
    expect(slice(host)).toBe(alone.a)
    expectRuns(host, 'tune', 'bb')
    expect(slice(host)).toBe('0,1,4,5')
    expect(host.text(pages)).toBe('166')
    expectRuns(host, 'untune', first)
    expect(slice(host)).toBe(alone[second as 'a'])
    expect(host.text(pages)).toBe(second === 'a' ? '116' : '66')
    expect(governor(host, 6)).toBe(second === 'a' ? 'schedutil' : 'performance')
    expectRuns(host, 'untune', second)
    expect(host.state()).toBe(before)
  })
})

it('killed before any of its steps, the way back puts all right', () => {
  const host = tunedHost()
  const lines = ['isolate yes', 'governor performance', 'pages 2048 512 -', 'pages 2048 64 1']
  host.write(wanting('win11', [2, 3], lines))
  const before = host.state()
  expectRuns(host, 'tune', 'win11')
  const steps = Number(host.text('steps'))
  expect(steps).toBeGreaterThan(15)
  expectRuns(host, 'untune', 'win11')
  for (let killAt = 1; killAt <= steps; killAt++) {
    expect(host.run('tune', 'win11', ['sh'], killAt).code, `at ${killAt}`).not.toBe(0)
    expectRuns(host, 'untune', 'win11')
    expect(host.state(), `at ${killAt}`).toBe(before)
  }
})

describe('interrupts', () => {
  it('of the guest’s card go to its CPUs once they exist; all others leave those', () => {
    const host = tunedHost()
    host.write(wanting('win11', [2, 3], ['isolate yes', 'function 0000:01:00.0']))
    expectRuns(host, 'tune', 'win11')
    host.write({
      'proc/irq/50/smp_affinity_list': '0,1\n',
      'proc/interrupts': `${host.text('proc/interrupts')}\n${vfio}`,
    })
    expectRuns(host, 'set_cards', 'win11')
    expect(host.text('proc/irq/50/smp_affinity_list')).toBe('2,3')
    expect(host.text('proc/irq/1/smp_affinity_list')).toBe('0,1,4,5,6,7')
  })

  it('that the kernel manages itself are named', () => {
    const host = tunedHost()
    host.write(wanting('win11', [2, 3], ['isolate yes']))
    expect(expectRuns(host, 'tune', 'win11')).toMatch(/interrupts that the kernel keeps where they are: 40/)
  })

  it('irqbalance is told, and told again at the end', () => {
    const host = tunedHost()
    host.write(wanting('win11', [2, 3], ['isolate yes']))
    expectRuns(host, 'tune', 'win11')
    const file = 'run/systemd/system/irqbalance.service.d/vfio-scripts.conf'
    expect(host.text(file)).toBe('[Service]\nEnvironment=IRQBALANCE_BANNED_CPULIST=2,3')
    expectRuns(host, 'untune', 'win11')
    expect(existsSync(join(host.root, file))).toBe(false)
    expect(host.text('systemctl').match(/try-restart irqbalance/g)).toHaveLength(2)
  })
})

describe('memory', () => {
  it('too fragmented: the start is refused with the number that could be had, and all is as before', () => {
    const host = tunedHost()
    host.write({ ...wanting('win11', [2, 3], ['isolate yes', 'pages 2048 4096 -']), most: '1016\n' })
    const before = host.state()
    const ran = host.run('tune', 'win11')
    expect(ran.code).toBe(1)
    expect(ran.stderr).toMatch(/memory is too fragmented: only 1000 of 4096 huge pages of 2 MiB could be had/)
    expect(host.state()).toBe(before)
  })

  it('goes on with what there is, where asked', () => {
    const host = tunedHost()
    host.write({ ...wanting('win11', [2, 3], ['pages 2048 4096 -', 'best-effort yes']), most: '1016\n' })
    expect(expectRuns(host, 'tune', 'win11')).toMatch(/goes on with less memory: only 1000 of 4096/)
    expect(host.text(pages)).toBe('1016')
  })

  it('is found where files were cached', () => {
    const host = tunedHost()
    host.write({ ...wanting('win11', [], ['pages 2048 4096 -']), most: '1016\n', cached: '8000\n' })
    expectRuns(host, 'tune', 'win11')
    expect(host.text(pages)).toBe('4112')
  })

  it('of one NUMA node', () => {
    const host = tunedHost()
    host.write(wanting('win11', [], ['pages 2048 64 1']))
    expectRuns(host, 'tune', 'win11')
    expect(host.text('sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages')).toBe('64')
    expect(host.text(pages)).toBe('16')
    expectRuns(host, 'untune', 'win11')
    expect(host.text('sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages')).toBe('0')
  })
})

it.each([
  ['a range without some', '2-6,^4-5', '2,3,6'],
  ['a range without one', '2-5,^3', '2,4,5'],
])('CPUs as libvirt writes them: %s', (_, list, cpus) => {
  const host = tunedHost()
  const files = wanting('win11', [], ['isolate yes'])
  const xml = Object.keys(files).find((path) => path.endsWith('.xml')) ?? ''
  // What one virtual CPU excludes, another one has.
  const pins = `<vcpupin vcpu='0' cpuset='${list}'/>\n<vcpupin vcpu='1' cpuset='6'/>\n`
  host.write({ ...files, [xml]: files[xml]?.replace('<cputune>', `<cputune>\n${pins}`) ?? '' })
  expectRuns(host, 'tune', 'win11')
  expect(host.text('run/vfio-scripts/while-running/wants/win11')).toContain(
    `isolated ${[...new Set([...cpus.split(','), '6'])].join(',')}`,
  )
})

describe('what is refused', () => {
  it.each([
    ['a guest that pins nothing', [], /pins no virtual CPU.*gen-domain --vcpus/],
    ['a guest that has every CPU', [0, 1, 2, 3, 4, 5, 6, 7], /no CPU would be left for the host/],
  ] as [string, number[], RegExp][])('%s', (_, cpus, says) => {
    const host = tunedHost()
    host.write(wanting('win11', cpus, ['isolate yes']))
    const before = host.state()
    const ran = host.run('tune', 'win11')
    expect(ran.code).toBe(1)
    expect(ran.stderr).toMatch(says)
    expect(host.state()).toBe(before)
  })
})

it('a person’s own AllowedCPUs= come back', () => {
  const host = tunedHost()
  host.write({
    ...wanting('win11', [2, 3], ['isolate yes']),
    'slices/user.slice': '4-7\n',
    'run/systemd/system.control/user.slice.d/50-AllowedCPUs.conf': 'own\n',
  })
  expectRuns(host, 'tune', 'win11')
  expect(host.text('slices/user.slice')).toBe('0,1,4,5,6,7')
  expectRuns(host, 'untune', 'win11')
  expect(host.text('slices/user.slice')).toBe('4-7')
  expect(readdirSync(join(host.root, 'run/systemd/system.control'))).toEqual(['user.slice.d'])
})
