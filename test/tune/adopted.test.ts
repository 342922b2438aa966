// Kernel arguments that a person set by hand: adopted where they do the job, named all at once where not.
import { describe, expect, it } from 'vitest'
import { expectRan, tune } from '../support/bind.ts'
import { host } from '../support/tune.ts'

describe('what a person set by hand', () => {
  const set = (line: string): Record<string, string> => ({
    'etc/default/grub': `GRUB_CMDLINE_LINUX_DEFAULT="quiet"\nGRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT ${line}"\n`,
  })
  const pages = ['--hugepages', '16G', '--page-size', '1G']

  it.each<[string, string, string[], RegExp]>([
    ['pages', 'default_hugepagesz=1G hugepagesz=1G hugepages=16', pages, /grub:2: hugepages=16\./],
    [
      'more pages',
      'hugepagesz=1G hugepages=20',
      pages,
      /Enough is set already: \/etc\/default\/grub:2: hugepages=20\./,
    ],
    ['pages of the default size', 'hugepages=8192', ['--hugepages', '16G'], /Enough is set already/],
    ['pages on the node', 'hugepagesz=1G hugepages=0:16', [...pages, '--node', '0'], /hugepages=0:16\./],
  ])('is adopted where it does the job: %s', (_, line, args, says) => {
    expectRan(tune(host(set(line)), ...args), 0, says)
    expect(tune(host(set(line)), ...args).stdout).toMatch(/^Nothing to do/m)
  })

  it.each([
    ['rcu_nocbs=1-2,5-6', 'isolcpus=managed_irq,domain,1-2,5-6'],
    ['rcu_nocbs=0-7', 'isolcpus=managed_irq,domain,1-2,5-6'],
    ['rcu_nocbs=all', 'isolcpus=managed_irq,domain,1-2,5-6'],
  ])('%s is adopted, and the rest is added', (line, added) => {
    const ran = tune(host(set(line)), '--isolate', '4')
    expectRan(ran, 1, new RegExp(`${line} is set already: /etc/default/grub:2`))
    expect(ran.stdout).toContain(added)
    expect(ran.stdout.match(/rcu_nocbs/g)).toHaveLength(ran.stdout.match(new RegExp(line, 'g'))?.length ?? 0)
  })

  it.each<[string, string, string[], RegExp]>([
    [
      'too few pages',
      'hugepagesz=1G hugepages=8',
      pages,
      /hugepages=8: pages of 1 GiB are set .*, and 16 pages of 1 GiB/,
    ],
    [
      'pages on another node',
      'hugepagesz=1G hugepages=1:16',
      [...pages, '--node', '0'],
      /hugepages=1:16: pages of 1 GiB/,
    ],
    [
      'too few CPUs',
      'rcu_nocbs=1-2',
      ['--isolate', '4'],
      /grub:2: rcu_nocbs=1-2 is set already, and rcu_nocbs=1-2,5-6 is asked for/,
    ],
    [
      'CPUs that are isolated in another way',
      'isolcpus=1-2,5-6',
      ['--isolate', '4'],
      /isolcpus=1-2,5-6 is set already, and isolcpus=managed_irq,domain,1-2,5-6 is asked for/,
    ],
  ])('is named with both values where it does not: %s', (_, line, args, says) => {
    expectRan(tune(host(set(line)), ...args, '--apply'), 2, says)
  })

  it('is named all at once, whichever feature it stands against', () => {
    const files = {
      ...set('isolcpus=1 rcu_nocbs=1 hugepagesz=1G hugepages=8'),
      'etc/sysctl.d/zzz.conf': '',
      'etc/modprobe.d/zz.conf': '',
    }
    const ran = tune(host(files), '--isolate', '4', ...pages, '--apply')
    expectRan(ran, 2, /isolcpus=1 is set already/)
    expect(ran.stderr).toMatch(/rcu_nocbs=1 is set already/)
    expect(ran.stderr).toMatch(/hugepages=8: pages of 1 GiB are set aside already/)
    expect(ran.stderr.match(/nothing was written/g)).toHaveLength(3)
  })

  it('is named with what a plan finds only later', () => {
    const files = { ...set('rcu_nocbs=1'), 'etc/sysctl.d/zzz.conf': 'vm.nr_hugepages = 3\n' }
    const ran = tune(host(files), '--isolate', '4', '--hugepages', '4G')
    expectRan(ran, 2, /rcu_nocbs=1 is set already/)
    expect(ran.stderr).toMatch(/zzz\.conf:1: vm\.nr_hugepages = 3: keeps/)
  })
})
