import { describe, it } from 'vitest'
import { expectRan, expectRefused, tune } from '../support/bind.ts'
import { systemDir } from '../support/system.ts'
import { host } from '../support/tune.ts'

describe('refusals', { concurrent: true }, () => {
  it.each<[string, string[], RegExp, Record<string, string>?]>([
    ['no settings', [], /nothing was asked for/],
    ['an option alone', ['--page-size', '1G'], /--page-size goes with --hugepages/],
    ['no size', ['--hugepages', 'much'], /--hugepages much: write a size with its unit/],
    ['pages that there are not', ['--hugepages', '1G', '--page-size', '4M'], /has pages of 2 MiB and 1 GiB/],
    ['a node that there is not', ['--hugepages', '1G', '--node', '7'], /no such NUMA node/],
    ['all memory', ['--hugepages', '63G'], /host-memory.*would keep 1 GiB of 64 GiB.*--force host-memory/],
    ['all of a node', ['--hugepages', '31G', '--node', '0'], /host-memory.*would keep 1 GiB of 32 GiB/],
    [
      'huge pages that are set already',
      ['--hugepages', '4G', '--page-size', '1G'],
      /grub:1: hugepages=2 is set already/,
      { 'etc/default/grub': 'GRUB_CMDLINE_LINUX_DEFAULT="hugepages=2"\n' },
    ],
    ['more vCPUs than there are', ['--isolate', '8'], /8 vCPUs are more than this host can give.*ask for 6 at most/],
    ['no number of vCPUs', ['--isolate', 'all'], /is no number of CPUs/],
    ['a device that there is not', ['--isolate', '2', '--near', '77:00'], /77:00: no such device/],
    ['a governor that there is not', ['--governor', 'fast'], /this machine has performance, schedutil/],
    [
      'a governor that Linux has not',
      ['--governor', 'fast'],
      /--governor fast: Linux has conservative, .*userspace/,
      { 'sys/devices/system/cpu/cpufreq/policy0/scaling_available_governors': '' },
    ],
    ['a driver in use', ['--blacklist', 'nvidia'], /driver-needed.*The host needs nvidia/s],
    ['a driver of no name', ['--blacklist', 'a b'], /not the name of a module/],
    ['no such group', ['--vfio-group', 'nobodies'], /there is no such group/],
    ['a group of bad name', ['--vfio-group', 'a"b'], /not the name of a group/],
    ['a disk by a name that moves', ['--disk', '/dev/sda'], /below \/dev\/disk\/by-id/],
    ['a long interface', ['--tap', 'a-name-that-is-long', '--user', 'ann'], /not a name for a network interface/],
    ['a TAP of nobody', ['--tap', 'tap0'], /--tap needs --user/],
    ['interrupts', ['--unsafe-interrupts'], /refused \(unsafe-interrupts\).*--force unsafe-interrupts overrides/],
    ['groups', ['--acs-override'], /refused \(acs-override\).*--force acs-override overrides/],
    ['both ways', ['--threadirqs', '--undo'], /--undo takes no settings/],
    ['a feature without undo', ['--threadirqs', 'hugepages'], /only --undo takes the name of a feature/],
  ])('%s', (_, args, says, files) => {
    const dir = host(files)
    expectRefused(dir, args, says)
  })

  it('an ACS override that no kernel here has, whatever is forced', () => {
    const dir = systemDir({ machine: 'x570-navi10' })
    expectRan(
      tune(dir, '--acs-override', '--force', 'acs-override'),
      2,
      /does not have it: no kernel of a large distribution does/,
    )
  })
})
