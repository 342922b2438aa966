import { type CheckResult, okResult, problemResult, unknownResult } from '../core/finding.ts'
import { sizeText } from '../core/sizes.ts'
import { hasAccount } from '../host/accounts.ts'
import { findProgram, startsLibvirtByOpenrc } from '../host/find-program.ts'
import { parseCommandLine } from '../host/kernel.ts'
import { mayAccess } from '../host/user.ts'
import { findInstalled, type GuestSoftware, packageNameFor } from '../system/packages.ts'
import type { AsyncCheck } from './check.ts'
import { type CheckFacts, type HostCheck, isSameSystem } from './check-facts.ts'

type ProgramFacts = Pick<CheckFacts, 'host' | 'packages' | 'version'>
type ProgramCheck = AsyncCheck<ProgramFacts>

/** Finds a program that guests need: its version, or the package to install. `absent`: why it may be missing. */
async function programResult(
  { host: { files }, packages, version }: ProgramFacts,
  software: GuestSoftware,
  title: string,
  absent?: string,
): Promise<CheckResult> {
  const path = findInstalled(files, software)
  if (path === null) return unknownResult(`It is not known whether ${title} is there`, ['/usr/bin'])
  if (path !== undefined)
    return okResult(`${title} is there (${(software === 'ovmf' ? null : await version(path)) ?? path})`)
  const install =
    packages === undefined ? 'install it' : `${packages.command} ${packageNameFor(packages, software, files)}`
  if (absent !== undefined) return unknownResult(`${title} is not there: ${absent}`, [], install)
  return problemResult(`${title} is not there`, [], install)
}

export const qemuCheck: ProgramCheck = {
  code: 'qemu',
  askedBy: ['host'],
  run: (facts) => programResult(facts, 'qemu', 'QEMU'),
}

export const libvirtProgramCheck: ProgramCheck = {
  code: 'libvirt',
  askedBy: ['host'],
  run: (facts) => programResult(facts, 'libvirt', 'libvirt', 'guests can be run by QEMU alone'),
}

export const ovmfCheck: ProgramCheck = {
  code: 'ovmf',
  askedBy: ['host'],
  run: (facts) => programResult(facts, 'ovmf', 'UEFI firmware for guests (OVMF)'),
}

export const swtpmCheck: ProgramCheck = {
  code: 'swtpm',
  askedBy: ['host'],
  run: (facts) => programResult(facts, 'swtpm', 'swtpm', 'Windows 11 wants a TPM'),
}

export const virtiofsdCheck: ProgramCheck = {
  code: 'virtiofsd',
  askedBy: ['host'],
  run: (facts) => programResult(facts, 'virtiofsd', 'virtiofsd', 'it shares folders with guests'),
}

/** Does libvirt run, as one daemon or one for each driver? Source: libvirt's manpages, virtqemud(8). */
export const libvirtCheck: HostCheck<'host'> = {
  code: 'libvirt-running',
  askedBy: ['host'],
  run({ host }) {
    const { files, machine } = host
    const installed = findInstalled(files, 'libvirt')
    if (installed === null) return unknownResult('It is not known whether libvirt is there and runs', ['/usr/bin'])
    if (installed === undefined) return okResult('Without libvirt nothing has to run')
    const sockets = ['/run/libvirt/libvirt-sock', '/run/libvirt/virtqemud-sock']
    const found = sockets.find((path) => machine.exists(path))
    if (found !== undefined) return okResult(`libvirt listens (${found})`)
    if (!isSameSystem(host)) return unknownResult('Only the running system shows whether libvirt runs', [])
    const unit = findProgram(files, 'virtqemud') === undefined ? 'libvirtd' : 'virtqemud.socket'
    const openrc = startsLibvirtByOpenrc(files)
    const start = openrc ? 'rc-service libvirtd start' : `systemctl enable --now ${unit}`
    return problemResult('libvirt does not run', [`neither ${sockets.join(' nor ')}`], start)
  },
}

/** The access to /dev/kvm that guests need. systemd gives it to everybody, some distributions only to the group kvm. */
const READ_WRITE = 0o6

/** Is the user in the groups that give access, and does this login have them yet? */
export const userGroupsCheck: HostCheck<'user' | 'host'> = {
  code: 'user-groups',
  askedBy: ['host'],
  run({ user, host: { machine, files } }) {
    if (user.root) return okResult('root may use all of it')
    if (user.name === null) return unknownResult('Who runs the guests is not known', [])
    const node = machine.access('/dev/kvm')
    const open = node !== undefined && (node.mode & READ_WRITE) === READ_WRITE
    const required = (open ? ['libvirt'] : ['libvirt', 'kvm']).filter(
      (name) => hasAccount(files, 'group', name) === true,
    )
    const missing = required.filter((name) => !user.groups.includes(name))
    if (missing.length === 0 && node !== undefined && user.login !== null && !mayAccess(node, user.login, READ_WRITE))
      return problemResult(
        `${user.name} may not open /dev/kvm`,
        [
          `/dev/kvm is ${(node.mode & 0o777).toString(8)}, group ${node.gid}; this login has the groups ${user.login.gids.join(', ')}`,
        ],
        'log out and in again, which takes up a new group; udevadm trigger --sysname-match=kvm gives the device to its group',
      )
    if (missing.length === 0)
      return okResult(`${user.name} is in ${required.join(' and ') || 'no group that matters here'}`)
    return problemResult(
      `${user.name} is not in ${missing.join(' and ')}`,
      ['/etc/group'],
      `usermod -aG ${missing.join(',')} ${user.name}, and log in again`,
    )
  },
}

/** May guests lock their memory? VFIO locks all of it; libvirt raises the limit for its own guests. */
export const memlockCheck: HostCheck<'user' | 'memory' | 'host'> = {
  code: 'memory-lock',
  askedBy: ['host'],
  run({ user, memory, host: { files } }) {
    const libvirt = findInstalled(files, 'libvirt')
    if (user.root || typeof libvirt === 'string')
      return okResult('Guests may lock their memory (root, or libvirt, sees to it)')
    if (user.memlock === null)
      return unknownResult('It is not known how much memory may be locked', ['/proc/self/limits'])
    const enough = (bytes: number | undefined): boolean => bytes === undefined || bytes >= (memory.total ?? 0) / 2
    if (enough(user.memlock)) return okResult('Guests may lock their memory')
    const now = `${user.name} may lock ${sizeText(user.memlock ?? 0)}, and a guest needs all of its memory locked`
    if (libvirt === null) return unknownResult(`${now}, or libvirt sees to it, which was not seen`, ['/usr/bin'])
    const next = user.nextMemlock
    if (next !== null && enough(next.bytes))
      return problemResult(`${now}: more is allowed, but not in this login`, [next.place], 'log out and in again')
    const set = next === null ? 'no file of /etc/security says more' : `${next.place}: ${sizeText(next.bytes ?? 0)}`
    return problemResult(now, ['/proc/self/limits', set], 'tune-host --vfio-group kvm')
  },
}

const HUGE_PAGES = '/sys/kernel/mm/hugepages'

export const hugePagesCheck: HostCheck<'memory' | 'host'> = {
  code: 'hugepages',
  askedBy: ['host'],
  run({ memory, host: { machine } }) {
    if (!machine.exists(HUGE_PAGES)) return unknownResult('It is not known how many huge pages there are', [HUGE_PAGES])
    const set = memory.hugePages.filter(({ total }) => (total ?? 0) > 0)
    if (set.length === 0) return okResult('No huge pages are set aside; guests run without (tune-host --hugepages)')
    const texts = set.map(
      ({ size, total = 0, free }) => `${total} of ${sizeText(size)}${free === undefined ? '' : `, ${free} free`}`,
    )
    return okResult(`Huge pages are set aside: ${texts.join('; ')}`)
  },
}

/** Are all requested huge pages there? The kernel sets aside only memory that it finds in one piece. */
export const hugePagesGivenCheck: HostCheck<'memory' | 'host'> = {
  code: 'hugepages-given',
  askedBy: ['host'],
  run({ memory, host: { machine } }) {
    const requested = requestedHugePages(machine.optionalText('/proc/cmdline') ?? '')
    if (requested.size === 0) return okResult('No huge pages were asked for on the kernel command line')
    const given = (size: number): number | undefined => memory.hugePages.find((one) => one.size === size)?.total
    const short = [...requested].filter(([size, required]) => (given(size) ?? required) < required)
    if (short.length > 0)
      return problemResult(
        short
          .map(([size, wanted]) => `${given(size)} of ${wanted} huge pages of ${sizeText(size)} are there`)
          .join('; '),
        ['/proc/cmdline'],
        'ask for fewer, or stop what uses memory early in the boot',
      )
    const seen = [...requested.keys()].every((size) => given(size) !== undefined)
    return seen
      ? okResult('The huge pages that were asked for are there')
      : unknownResult('It is not known how many huge pages there are', [HUGE_PAGES])
  },
}

/**
 * Returns the number of pages for each size in bytes. `hugepagesz=` is the size of the pages after it; those before the
 * first have the default size.
 * Source: Documentation/admin-guide/mm/hugetlbpage.rst
 */
function requestedHugePages(line: string): Map<number, number> {
  const tokens = parseCommandLine(line)
  const bytes = (value: string | undefined): number | undefined => {
    const [, count, unit = ''] = /^(\d+)([kmg])$/i.exec(value ?? '') ?? []
    return count === undefined ? undefined : Number(count) * 1024 ** ' kmg'.indexOf(unit.toLowerCase())
  }
  const common = tokens.filter(({ name }) => name === 'default_hugepagesz').at(-1)
  let size = bytes(common?.value) ?? 2 * 1024 ** 2
  const requested = new Map<number, number>()
  for (const { name, value } of tokens) {
    if (name === 'hugepagesz') size = bytes(value) ?? size
    // Counts for each node (`0:512,1:512`) are not checked here.
    if (name === 'hugepages' && /^\d+$/.test(value ?? '')) requested.set(size, Number(value))
  }
  return requested
}

export const governorCheck: HostCheck<'host'> = {
  code: 'governor',
  askedBy: ['host'],
  run({ host: { machine } }) {
    const base = '/sys/devices/system/cpu/cpufreq'
    const policies = (machine.list(base) ?? []).filter((name) => /^policy\d+$/.test(name))
    const seen = new Set(policies.map((name) => machine.optionalText(`${base}/${name}/scaling_governor`)?.trim()))
    if (seen.size === 0) return okResult('The CPUs have one clock, or firmware governs it')
    const driver = machine.optionalText(`${base}/${policies[0]}/scaling_driver`)?.trim() ?? ''
    // For these drivers, powersave is what ondemand is for others.
    const managed = /^(intel_pstate|amd-pstate-epp)$/.test(driver)
    if (!seen.has('powersave') || managed) return okResult(`The CPUs are governed by ${[...seen].join(', ')}`)
    return problemResult(
      'The CPUs stay at their lowest clock (powersave)',
      [`${base}/policy*/scaling_governor`],
      'tune-host --governor performance, or schedutil',
    )
  },
}

/** Has /boot room for new images? They are made beside the present ones, which fails half-way if it is full. */
export const bootSpaceCheck: HostCheck<'host'> = {
  code: 'boot-space',
  askedBy: ['host'],
  run({ host: { files } }) {
    const sizes = (files.list('/boot') ?? [])
      .filter((name) => /^(initr|booster)/.test(name))
      .map((name) => files.size(`/boot/${name}`) ?? 0)
    const free = files.freeSpace('/boot')
    if (free === undefined || sizes.length === 0) return okResult('Nothing is made in /boot')
    const need = Math.max(...sizes) * 1.2
    if (free >= need) return okResult(`/boot has room for another initramfs (${sizeText(free)})`)
    return problemResult(
      `/boot has ${sizeText(free)} left, and an initramfs takes ${sizeText(need)}`,
      [],
      'remove kernels that you do not use',
    )
  },
}
