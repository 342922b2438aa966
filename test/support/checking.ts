// Fake hosts for check-host: one without a fault, to plant faults in.
import { chmodSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { CheckHost } from '../../lib/commands/check-host.ts'
import { loadMachine } from './machine.ts'
import { type Ran, runScript } from './run.ts'
import { systemDir } from './system.ts'

/** Runs check-host on that system. */
export const check = (dir: string, ...args: string[]): Ran => runScript('check-host', ['--root', dir, ...args])
export const answer = (ran: Ran): CheckHost => JSON.parse(ran.stdout)

/** Of test/machines. */
export const machine = 'i9-14900k-vmd'
export const release = loadMachine(machine).kernel

/** What a host without a fault has beside the machine: path → text. */
export const HEALTHY: Readonly<Record<string, string>> = {
  'proc/cpuinfo': 'vendor_id\t: GenuineIntel\nmodel name\t: one\nflags\t\t: fpu vmx\n',
  'proc/cmdline': 'BOOT_IMAGE=/vmlinuz root=/dev/vda1 ro quiet\n',
  'proc/meminfo': 'MemTotal:       67108864 kB\nMemAvailable:   60000000 kB\n',
  'proc/self/status': 'Name:\tnode\nUid:\t4711\t4711\t4711\t4711\nGid:\t4711\t4711\t4711\t4711\nGroups:\t104 105 \n',
  'proc/self/limits': 'Max locked memory         unlimited            unlimited            bytes     \n',
  'proc/iomem':
    '80000000-8fffffff : PCI Bus 0000:01\n  80000000-80ffffff : 0000:01:00.0\n    80000000-803fffff : BOOTFB\n90000000-9fffffff : 0000:02:00.0\n',
  'sys/module/kvm_intel/refcnt': '0\n',
  'sys/module/kvm/parameters/ignore_msrs': 'N\n',
  'sys/class/misc/kvm/dev': '10:232\n',
  'sys/devices/system/cpu/online': '0-3\n',
  'sys/devices/system/cpu/cpufreq/policy0/scaling_governor': 'schedutil\n',
  'sys/devices/system/cpu/cpufreq/policy0/scaling_driver': 'acpi-cpufreq\n',
  'sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages': '0\n',
  'var/log/dmesg': '[    0.000000] Linux version 6.14\n[    0.1] DMAR-IR: Enabled IRQ remapping in x2apic mode\n',
  'etc/passwd': 'root:x:0:0::/root:/bin/sh\nann:x:4711:4711::/home/ann:/bin/sh\n',
  'etc/group': 'root:x:0:\nkvm:x:104:ann\nlibvirt:x:105:ann\n',
  'usr/bin/qemu-system-x86_64': '#!/bin/sh\n',
  'usr/sbin/libvirtd': '#!/bin/sh\n',
  'usr/bin/swtpm': '#!/bin/sh\n',
  'usr/libexec/virtiofsd': '#!/bin/sh\n',
  'usr/share/OVMF/OVMF_CODE_4M.fd': 'firmware',
  'usr/share/OVMF/OVMF_VARS_4M.fd': 'firmware',
  'run/libvirt/libvirt-sock': '',
  'dev/kvm': '',
}

/** A host without a fault, less what is `null`. */
export function host(files: Readonly<Record<string, string | null>> = {}): string {
  const dir = systemDir({ machine })
  for (const [path, text] of Object.entries({ ...HEALTHY, ...files })) {
    rmSync(join(dir, path), { recursive: true, force: true })
    if (text === null) continue
    mkdirSync(dirname(join(dir, path)), { recursive: true })
    writeFileSync(join(dir, path), text)
  }
  if (existsSync(join(dir, 'dev/kvm'))) chmodSync(join(dir, 'dev/kvm'), 0o666)
  return dir
}
