import type { Finding } from '../core/finding.ts'
import { sizeText } from '../core/sizes.ts'
import { hasAccount } from '../host/accounts.ts'
import { findProgram } from '../host/find-program.ts'
import { parseCommandLine } from '../host/kernel.ts'
import { mayAccess } from '../host/user.ts'
import { findInstalled, type GuestSoftware, packageNameFor } from '../system/packages.ts'
import { type CheckFacts, isSameSystem } from './check-facts.ts'
import { okFinding, problemFinding, unknownFinding } from './say.ts'

/** A program that guests need: who has it, its version, or the package that brings it. */
export async function checkProgram(
  facts: CheckFacts,
  software: Exclude<GuestSoftware, 'virt-manager'>,
  title: string,
  absent?: string,
): Promise<Finding> {
  const { files } = facts.host
  const path = findInstalled(files, software)
  if (path !== undefined) {
    const version = software === 'ovmf' ? null : await facts.version(path)
    return okFinding(software, `${title} is there (${version ?? path})`)
  }
  // A machine without its system: nobody installed there what is not seen.
  if (!['/usr/bin', '/bin'].some((folder) => files.exists(folder)))
    return unknownFinding(software, `Whether ${title} is there was not seen`, ['/usr/bin'])
  const command = facts.packages?.command
  const install = command === undefined ? 'install it' : `${command} ${packageNameFor(facts.packages, software, files)}`
  if (absent !== undefined)
    return { ...unknownFinding(software, `${title} is not there: ${absent}`, []), next: install }
  return problemFinding(software, `${title} is not there`, [], install)
}

/** Those that are looked for: what for, its name, and what its absence means where it is no fault. */
export const CHECKED_PROGRAMS: readonly [
  need: Exclude<GuestSoftware, 'virt-manager'>,
  title: string,
  absent?: string,
][] = [
  ['qemu', 'QEMU'],
  ['libvirt', 'libvirt', 'guests can be run by QEMU alone'],
  ['ovmf', 'UEFI firmware for guests (OVMF)'],
  ['swtpm', 'swtpm', 'Windows 11 wants a TPM'],
  ['virtiofsd', 'virtiofsd', 'it shares folders with guests'],
]

/** One daemon, or one for each driver: either listens below /run/libvirt. Source: libvirt's manpages, virtqemud(8). */
export function checkLibvirt({ host }: CheckFacts): Finding {
  const code = 'libvirt-running'
  const { files, machine } = host
  if (findProgram(files, 'libvirtd', 'virtqemud') === undefined)
    return okFinding(code, 'Without libvirt nothing has to run')
  const sockets = ['/run/libvirt/libvirt-sock', '/run/libvirt/virtqemud-sock']
  const found = sockets.find((path) => machine.exists(path))
  if (found !== undefined) return okFinding(code, `libvirt listens (${found})`)
  if (!isSameSystem(host)) return unknownFinding(code, 'Only the running system shows whether libvirt runs', [])
  const unit = findProgram(files, 'virtqemud') === undefined ? 'libvirtd' : 'virtqemud.socket'
  const start = files.exists('/etc/init.d/libvirtd') ? 'rc-service libvirtd start' : `systemctl enable --now ${unit}`
  return problemFinding(code, 'libvirt does not run', [`neither ${sockets.join(' nor ')}`], start)
}

/** systemd gives /dev/kvm to everybody, some distributions to the group kvm alone. */
const READ_WRITE = 0o6

/** Is the user in the groups that give access, and has this login what /etc/group says? */
export function checkUserGroups({ user, host: { machine, files } }: CheckFacts): Finding {
  const code = 'user-groups'
  if (user.root) return okFinding(code, 'root may use all of it')
  if (user.name === null) return unknownFinding(code, 'Who runs the guests is not known', [])
  const node = machine.access('/dev/kvm')
  const open = node !== undefined && (node.mode & READ_WRITE) === READ_WRITE
  const required = (open ? ['libvirt'] : ['libvirt', 'kvm']).filter((name) => hasAccount(files, 'group', name) === true)
  const missing = required.filter((name) => !user.groups.includes(name))
  if (missing.length === 0 && node !== undefined && user.login !== null && !mayAccess(node, user.login, READ_WRITE))
    return problemFinding(
      code,
      `${user.name} may not open /dev/kvm`,
      [
        `/dev/kvm is ${(node.mode & 0o777).toString(8)}, group ${node.gid}; this login has the groups ${user.login.gids.join(', ')}`,
      ],
      'log out and in again, which takes up a new group; udevadm trigger --sysname-match=kvm gives the device to its group',
    )
  if (missing.length === 0)
    return okFinding(code, `${user.name} is in ${required.join(' and ') || 'no group that matters here'}`)
  return problemFinding(
    code,
    `${user.name} is not in ${missing.join(' and ')}`,
    ['/etc/group'],
    `usermod -aG ${missing.join(',')} ${user.name}, and log in again`,
  )
}

/** VFIO locks all memory of a guest; libvirt raises the limit for its own. */
export function checkMemlock({ user, memory, host: { files } }: CheckFacts): Finding {
  const code = 'memory-lock'
  if (user.root || findProgram(files, 'libvirtd', 'virtqemud') !== undefined)
    return okFinding(code, 'Guests may lock their memory (root, or libvirt, sees to it)')
  if (user.memlock === null)
    return unknownFinding(code, 'How much memory may be locked was not seen', ['/proc/self/limits'])
  const enough = (bytes: number | undefined): boolean => bytes === undefined || bytes >= (memory.total ?? 0) / 2
  if (enough(user.memlock)) return okFinding(code, 'Guests may lock their memory')
  const now = `${user.name} may lock ${sizeText(user.memlock ?? 0)}, and a guest needs all of its memory locked`
  const next = user.nextMemlock
  if (next !== null && enough(next.bytes))
    return problemFinding(code, `${now}: more is allowed, but not in this login`, [next.place], 'log out and in again')
  const set = next === null ? 'no file of /etc/security says more' : `${next.place}: ${sizeText(next.bytes ?? 0)}`
  return problemFinding(code, now, ['/proc/self/limits', set], 'tune-host --vfio-group kvm')
}

export function checkHugePages({ memory }: CheckFacts): Finding {
  const code = 'hugepages'
  const set = memory.hugePages.filter(({ total }) => (total ?? 0) > 0)
  if (set.length === 0)
    return okFinding(code, 'No huge pages are set aside; guests run without (tune-host --hugepages)')
  const texts = set.map(
    ({ size, total = 0, free }) => `${total} of ${sizeText(size)}${free === undefined ? '' : `, ${free} free`}`,
  )
  return okFinding(code, `Huge pages are set aside: ${texts.join('; ')}`)
}

/** As many as were asked for? The kernel gives what it finds in one piece. */
export function checkHugePagesGiven({ memory, host: { machine } }: CheckFacts): Finding {
  const code = 'hugepages-given'
  const requested = requestedHugePages(machine.optionalText('/proc/cmdline') ?? '')
  if (requested.size === 0) return okFinding(code, 'No huge pages were asked for on the kernel command line')
  const given = (size: number): number | undefined => memory.hugePages.find((one) => one.size === size)?.total
  const short = [...requested].filter(([size, required]) => (given(size) ?? required) < required)
  if (short.length > 0)
    return problemFinding(
      code,
      short.map(([size, wanted]) => `${given(size)} of ${wanted} huge pages of ${sizeText(size)} are there`).join('; '),
      ['/proc/cmdline'],
      'ask for fewer, or stop what uses memory early in the boot',
    )
  const seen = [...requested.keys()].every((size) => given(size) !== undefined)
  return seen
    ? okFinding(code, 'The huge pages that were asked for are there')
    : unknownFinding(code, 'How many huge pages there are was not seen', ['/sys/kernel/mm/hugepages'])
}

/**
 * Size → how many. `hugepagesz=` is the size of what follows it; before the first, it is the default size.
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
    // By node (`0:512,1:512`) is another question.
    if (name === 'hugepages' && /^\d+$/.test(value ?? '')) requested.set(size, Number(value))
  }
  return requested
}

export function checkGovernor({ host: { machine } }: CheckFacts): Finding {
  const code = 'governor'
  const base = '/sys/devices/system/cpu/cpufreq'
  const policies = (machine.list(base) ?? []).filter((name) => /^policy\d+$/.test(name))
  const seen = new Set(policies.map((name) => machine.optionalText(`${base}/${name}/scaling_governor`)?.trim()))
  if (seen.size === 0) return okFinding(code, 'The CPUs have one clock, or firmware governs it')
  const driver = machine.optionalText(`${base}/${policies[0]}/scaling_driver`)?.trim() ?? ''
  // With these, powersave is what others call ondemand.
  const managed = /^(intel_pstate|amd-pstate-epp)$/.test(driver)
  if (!seen.has('powersave') || managed) return okFinding(code, `The CPUs are governed by ${[...seen].join(', ')}`)
  return problemFinding(
    code,
    'The CPUs stay at their lowest clock (powersave)',
    [`${base}/policy*/scaling_governor`],
    'tune-host --governor performance, or schedutil',
  )
}

/** Images are made beside the present ones: a full /boot breaks that half-way. */
export function checkBootSpace({ host: { files } }: CheckFacts): Finding {
  const code = 'boot-space'
  const sizes = (files.list('/boot') ?? [])
    .filter((name) => /^(initr|booster)/.test(name))
    .map((name) => files.size(`/boot/${name}`) ?? 0)
  const free = files.freeSpace('/boot')
  if (free === undefined || sizes.length === 0) return okFinding(code, 'Nothing is made in /boot')
  const need = Math.max(...sizes) * 1.2
  if (free >= need) return okFinding(code, `/boot has room for another initramfs (${sizeText(free)})`)
  return problemFinding(
    code,
    `/boot has ${sizeText(free)} left, and an initramfs takes ${sizeText(need)}`,
    [],
    'remove kernels that you do not use',
  )
}
