import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { system } from './bind.ts'
import { type System, systemDir } from './system.ts'

// What the tests of tune-host share.

/** A host, of Debian unless told, with 64 GiB, huge pages of both sizes and a group kvm. */
export function host(files: Readonly<Record<string, string>> = {}, more: Partial<System> = {}): string {
  const dir = systemDir({
    ...system,
    ...more,
    files: {
      'etc/group': 'root:x:0:\nkvm:x:104:\n',
      'proc/meminfo': 'MemTotal:       67108864 kB\nMemFree:        60000000 kB\n',
      'usr/lib/systemd/systemd': '',
      'etc/systemd/system/multi-user.target.wants/systemd-networkd.service': '',
      'sys/devices/system/cpu/cpufreq/policy0/scaling_available_governors': 'performance schedutil\n',
      'sys/devices/system/node/node0/meminfo': 'Node 0 MemTotal:       33554432 kB\n',
      ...files,
    },
  })
  // Eight CPUs, four cores of two threads.
  for (let cpu = 0; cpu < 8; cpu++) {
    const topology = join(dir, `sys/devices/system/cpu/cpu${cpu}/topology`)
    mkdirSync(topology, { recursive: true })
    writeFileSync(join(topology, 'thread_siblings_list'), `${cpu % 4},${(cpu % 4) + 4}\n`)
    writeFileSync(join(topology, 'core_id'), `${cpu % 4}\n`)
    writeFileSync(join(topology, 'physical_package_id'), '0\n')
  }
  for (const list of ['online', 'present']) writeFileSync(join(dir, `sys/devices/system/cpu/${list}`), '0-7\n')
  for (const size of [2048, 1048576]) {
    const file = join(dir, `sys/kernel/mm/hugepages/hugepages-${size}kB/nr_hugepages`)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, '0\n')
  }
  return dir
}
