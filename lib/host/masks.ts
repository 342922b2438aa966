import type { Pseudonyms } from './pseudonyms.ts'

// A value that is not known to be harmless is left out, and only its name is carried: kernel command lines hold
// credentials for disks, networks, installers and init systems, and every program may take arguments of its own there.

/**
 * The arguments whose values a diagnosis needs, with `-` as `_`.
 * Source: Documentation/admin-guide/kernel-parameters.rst, dracut.cmdline(7).
 */
const KNOWN_ARGUMENTS = new RegExp(
  `^(?:${[
    'BOOT_IMAGE|BOOTIF|initrd|init|ro|rw|root|rootfstype|rootflags|rootdelay|rootwait|resume|resume_offset|ostree|systemConfig',
    'console|earlycon|earlyprintk|consoleblank|loglevel|ignore_loglevel|log_buf_len|no_console_suspend|debug|quiet|splash',
    '\\w*iommu|amd_iommu_\\w+|intremap|iommu_\\w+|swiotlb|pci|pcie_\\w+|pci_\\w+|pcie|dma_\\w+|cma',
    'module_blacklist|initcall_blacklist|blacklist|ids|default_hugepagesz|hugepagesz?|hugetlb\\w*|transparent_hugepage',
    'isolcpus|nohz(?:_full)?|rcu_\\w+|irqaffinity|kthread_cpus|threadirqs|skew_tick|mitigations|spec\\w*|spectre\\w*',
    'l1tf|mds|tsx\\w*|kvm|nosmt|smt|maxcpus|nr_cpus|possible_cpus|mem|memmap|memory_corruption_check|memtest|numa\\w*',
    'video|fbcon|vga|nomodeset|efi|efifb|add_efi_memmap|acpi\\w*|noapic|nolapic|lapic|apic|x2apic\\w*|clocksource|tsc|hpet',
    'idle|intel_\\w+|amd_\\w+|preempt|split_lock_detect|crashkernel|panic|nmi_watchdog|nowatchdog|watchdog\\w*|audit',
    'apparmor|security|lsm|selinux|enforcing|lockdown|cgroup\\w*|psi|reboot|ifname|bond|vlan|bridge|net_ifnames|biosdevname',
    'snapd_recovery_mode|vconsole_keymap|rd_(?:driver|modules)\\w*|page_poison|init_on_\\w+|slab\\w*|sysrq_always_enabled',
  ].join('|')})$`,
)

/**
 * The families of arguments with a dot: parameters of modules that drive hardware, and the parts of dracut and systemd
 * that say what is loaded.
 */
const FAMILIES = new RegExp(
  `^(?:${[
    'vfio\\w*|pci_stub|kvm\\w*|iommu\\w*|arm_smmu\\w*|pci\\w*|i915|xe|amdgpu|radeon|nouveau|nvidia\\w*|ast|mgag200|drm\\w*|fb\\w*',
    'simpledrm|efifb|snd\\w*|usbcore|usb_storage|usbhid|xhci\\w*|nvme\\w*|ahci|libata|ixgbe\\w*|igb\\w*|igc|ice|i40e|e1000e?',
    'mlx\\w+|bnxt\\w*|r8169|acpi\\w*|processor|intel_\\w+|amd_\\w+|cpufreq|cpuidle|workqueue|rcu\\w*|zswap|thunderbolt|modprobe',
    'rd\\.(?:driver|md|lvm|luks\\.(?:uuid|name|options)|auto|break|shell|debug|neednet|modules?_load)|luks\\.(?:uuid|name|options)|modules_load',
    'net\\.ifnames|systemd\\.(?:unit|mask|wants|show_status|unified_cgroup_hierarchy|log_level)|vfio_scripts|efi|sysctl\\.vm\\.nr_hugepages',
  ].join('|')})(?:\\.|$)`,
)

/** Device names, numbers and words, but not what a password, an address or a URL would be written with. */
const HARMLESS = /^[\w.,:;*!@+=()[\]/\\~%|-]*$/
/** The names of a local root, swap or init, rather than of a server. */
const LOCAL =
  /^"?(?:\/[\w./@+-]*|[/\\][\w./\\@+-]*|(?:PART)?(?:UUID|LABEL)=[\w.-]*|ZFS=[\w./@-]*|zfs:[\w./@-]*|live:\S*LABEL=[\w.-]*|[0-9a-f]{3,4}|\d+:\d+)"?$/
const FLAGS =
  /^(?:(?:subvol(?:id)?|compress(?:-force)?|data|errors|discard|commit)=[^,=]*|[a-z_]+)(?:,(?:(?:subvol(?:id)?|compress(?:-force)?|data|errors|discard|commit)=[^,=]*|[a-z_]+))*$/
const PATH_ARGUMENTS = /^(?:root|resume|init|initrd|ostree|systemConfig)$/

/** Returns the value of an argument as it may be shown. */
function maskValue(name: string, value: string, secret: (value: string) => string): string {
  const known = name.replaceAll('-', '_')
  const bare = value.replace(/^\\?["'](.*?)\\?["']$/s, '$1')
  if (value === '') return value
  if (known === 'ip') return maskIpArgument(bare, secret)
  // The options of a file system on a server hold a login.
  if (known === 'rootflags' && !FLAGS.test(bare)) return secret(bare)
  if (PATH_ARGUMENTS.test(known)) return LOCAL.test(value) ? value : secret(bare)
  return (KNOWN_ARGUMENTS.test(known) || FAMILIES.test(known)) && HARMLESS.test(bare) ? value : secret(bare)
}

/** Masks `ip=`: interfaces and ways of asking stay, addresses and host names go (dracut.cmdline(7), nfsroot.rst). */
function maskIpArgument(value: string, secret: (value: string) => string): string {
  const harmless =
    /^(?:(?:en|eth|lan|wan|wl|bond|br|team|vlan|ib)[\w.-]*|(?:dhcp|auto|either|link)6?|on|any|none|off|both|ibft|static|\d{1,2}|255\.[\d.]+)?$/
  return value
    .split(/(\[[^\]]*\]|:)/)
    .map((part) => (part === ':' || harmless.test(part) ? part : secret(part)))
    .join('')
}

/**
 * Masks a text that is a command line and nothing else, cut as the kernel cuts it. With `fixed`, nothing changes its
 * place.
 */
export function maskCommandLine(text: string, { secret }: Pseudonyms, fixed = false): string {
  return text.replace(/(?:[^\s"\0]|"[^"\0]*"?)+/g, (token) => {
    const [all = '', open = '', name = '', value = ''] = /^("?)([^="]+)=(.*)$/s.exec(token) ?? []
    if (all === '') return token
    const end = open !== '' && value.endsWith('"') ? '"' : ''
    const inner = end === '' ? value : value.slice(0, -1)
    return `${open}${name}=${maskValue(name, inner, (one) => secret(one, fixed ? one.length : undefined))}${end}`.padEnd(
      fixed ? token.length : 0,
      'x',
    )
  })
}

/** An argument in the middle of something else: GRUB's menu, a quoted variable, an entry, a list. */
const ARGUMENT =
  /(?<![\w./$%-])(-{0,2}[A-Za-z][\w./-]*)=((?<=\\"[^"=]*=)(?:[^"\\\n]|\\(?!"))*(?=\\")|\\"(?:[^"\\\n]|\\(?!"))*\\"|"[^"\n]*"|'[^'\n]*'|(?:\\.|[^\s"'\\\0])*)/g
/**
 * An assignment in the file's own language (`NAME=`, `set name=`, `name+=`, `Name =`): no argument, unless a string is
 * still open.
 */
const ASSIGNMENT = /^[ \t]*(?:export[ \t]+|set[ \t]+)?(?:[A-Za-z_][\w[\]-]*[ \t]*\+?=|[\w.]+[ \t]+=)(?!=)[ \t]*/

/** Masks the arguments in a file that has command lines in some of its lines. */
export function maskArguments(text: string, { secret }: Pseudonyms): string {
  let quoted = false
  let open = false
  return text
    .split('\n')
    .map((line) => {
      const head = open ? '' : (ASSIGNMENT.exec(line)?.[0] ?? '')
      const quotes =
        line
          .replace(/\\./g, '')
          .replace(/'[^']*'/g, '')
          .split('"').length - 1
      quoted = (quotes % 2 === 1) !== quoted
      open = quoted || line.endsWith('\\')
      const rest = line.slice(head.length)
      return (
        head + rest.replace(ARGUMENT, (_, name: string, value: string) => `${name}=${maskValue(name, value, secret)}`)
      )
    })
    .join('\n')
}

const SECRET_NAME =
  /((?:^|[^\w.-])[\w.-]*(?:passw(?:or)?d|passphrase|psk|secret|private[_-]?key|preshared[_-]?key|credentials?|token|wep[_-]?key\d?|api[_-]?key)[\w.-]*["']?[ \t]*[:=][ \t]*)(\\?"[^"\n]*"|'[^'\n]*'|[^\s,;#"']+)/gi

/**
 * Masks values that are named as secrets in any file (`vnc_password = "…"`, `password_pbkdf2 …`), and the user in a
 * URL.
 */
export function maskSecretNames(text: string, { secret }: Pseudonyms): string {
  const unquoted = (value: string): string => {
    const [, open = '', inner = value, end = ''] = /^(\\?["'])(.*?)(\\?["'])$/s.exec(value) ?? []
    return `${open}${/^hidden-\d+$/.test(inner) ? inner : secret(inner)}${end}`
  }
  return text
    .replace(/^([ \t]*password\w*[ \t]+)(\S.*)$/gm, (_, head: string, rest: string) => head + secret(rest))
    .replace(SECRET_NAME, (_, head: string, value: string) => head + unquoted(value))
    .replace(/(:\/\/)([^\s/@"']+)@/g, (_, head: string, user: string) => `${head}${secret(user)}@`)
}

/**
 * Removes comments that people wrote for themselves; those of vfio-scripts, GRUB's marks and a kernel's unset symbols
 * are read, and stay.
 */
export function withoutComments(text: string): string {
  return text.replace(/^([ \t]*#)(?!!|##|.*vfio-scripts| CONFIG_\w+ is not set).+$/gm, '$1')
}

/** Masks the paths of keys, which are nobody's business: the third field of crypttab(5). */
export function maskKeys(text: string, { secret }: Pseudonyms): string {
  return text.replace(
    /^([^\s#]+[ \t]+\S+[ \t]+)(?!none\b|-[ \t]|\/dev\/u?random\b)(\S+)/gm,
    (_, head: string, key: string) => head + secret(key),
  )
}

/** Masks the options of mounts and the sources on other machines: mountinfo, fstab, crypttab. */
export function maskMounts(text: string, { secret }: Pseudonyms): string {
  const option =
    /(?<=[ \t,])(?!(?:subvol|subvolid|size|mode|uid|gid|errors|data|compress|compress-force|pgrp|fd|nr_inodes|tpm2-\w+|fido2-\w+|pkcs11-uri|keyfile-timeout|try-empty-password|header|cipher|UUID|LABEL|PARTUUID|PARTLABEL|ID|x-[\w.-]+)=)([\w.-]+)=([^,\s]+)/g
  return text
    .replace(/( - (?:nfs4?|cifs|smb3|9p|ceph|fuse\.\w+|davfs) )(\S+)/g, (_, head, source) => head + secret(source))
    .replace(/^(\S+)(?=[ \t]+\S+[ \t]+(?:nfs4?|cifs|smb3|9p|ceph|fuse\.\w+|davfs)\b)/gm, (source) => secret(source))
    .replace(option, (_, name: string, value: string) => `${name}=${secret(value)}`)
}
