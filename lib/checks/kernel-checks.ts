import { kernelFindings } from '../bind/kernel-report.ts'
import { okResult, problemResult, unknownResult } from '../core/finding.ts'
import { hasArgument } from '../edit/kernel-arguments.ts'
import { modprobeFiles } from '../edit/modprobe.ts'
import { findDeadIds, findIds, findStrayIds } from '../edit/modprobe-conflicts.ts'
import { findProgram } from '../host/find-program.ts'
import { parseCommandLine, vfioInterfacesOf } from '../host/kernel.ts'
import { readFirmwareKind, readSecureBoot, SECURE_BOOT_VARIABLE } from '../host/secure-boot.ts'
import { type HostCheck, isSameSystem } from './check-facts.ts'

/**
 * The kernel's messages that the firmware switched virtualisation off. Since Linux 5.6 the CPU's flag is gone then.
 * Source: arch/x86/kernel/cpu/feat_ctl.c, arch/x86/kvm/svm/svm.c, and kvm_main.c of older kernels.
 */
const FIRMWARE_OFF = /(?:VMX \(.*\)|SVM|kvm:) disabled (?:\(by BIOS\)|by (?:the )?BIOS)|SVM disabled/i

function firmwareOffLines(log: string | null): string[] {
  return (log ?? '')
    .split('\n')
    .filter((line) => FIRMWARE_OFF.test(line))
    .slice(0, 1)
    .map((line) => line.trim())
}

/** Does the CPU have VT-x or AMD-V, and is it on? */
export const virtualisationCheck: HostCheck<'cpus' | 'log'> = {
  code: 'cpu-virtualisation',
  askedBy: ['host'],
  run({ cpus, log }) {
    if (cpus.flags === undefined) return unknownResult('It is not known what the CPU can do', ['/proc/cpuinfo'])
    const flag = ['vmx', 'svm'].find((name) => cpus.flags?.includes(name))
    if (cpus.vendor === undefined) return unknownResult('The CPU is neither of Intel nor of AMD', ['/proc/cpuinfo'])
    if (flag !== undefined) return okResult(`The CPU has virtualisation (${flag === 'vmx' ? 'VT-x' : 'AMD-V'})`)
    return problemResult(
      'The CPU has no virtualisation, or it is off',
      ['/proc/cpuinfo has neither vmx nor svm', ...firmwareOffLines(log)],
      'switch VT-x or SVM on in the firmware setup; in a virtual machine: nested virtualisation on its host',
    )
  },
}

export const kvmCheck: HostCheck<'cpus' | 'log' | 'host'> = {
  code: 'kvm',
  askedBy: ['host'],
  run({ cpus, log, host: { machine } }) {
    if (!machine.exists('/sys/module')) return unknownResult('It is not known whether KVM is loaded', ['/sys/module'])
    const module = ['kvm_intel', 'kvm_amd'].find((name) => machine.exists(`/sys/module/${name}`))
    if (module === undefined)
      return problemResult(
        'KVM is not loaded',
        ['/sys/module has neither kvm_intel nor kvm_amd', ...firmwareOffLines(log)],
        `modprobe ${cpus.vendor === undefined ? 'kvm_intel or kvm_amd' : `kvm_${cpus.vendor}`}; when that fails, the kernel log says why (usually: off in the firmware)`,
      )
    if (!machine.exists('/sys/class/misc/kvm'))
      return problemResult('There is no /dev/kvm', [`${module} is loaded`], 'look at the kernel log')
    return okResult(`KVM is there (${module})`)
  },
}

export const iommuCheck: HostCheck<'pci'> = {
  code: 'iommu',
  askedBy: ['host'],
  run({ pci }) {
    const { enabled, kind, reason } = pci.iommu
    if (enabled === true)
      return okResult(`The IOMMU is on (${kind ?? 'of a kind that is not known'}, ${pci.groups.length} groups)`)
    if (enabled === null) return unknownResult('It is not known whether the IOMMU is on', ['/sys/kernel/iommu_groups'])
    return problemResult('The IOMMU is off', [], reason ?? 'look at the firmware setup')
  },
}

/**
 * Are interrupts remapped? If not, a guest could raise any interrupt of the host.
 * Source: drivers/iommu/intel/irq_remapping.c, amd/init.c.
 */
export const remappingCheck: HostCheck<'log' | 'logMissing' | 'host'> = {
  code: 'interrupt-remapping',
  askedBy: ['host'],
  run({ log, logMissing, host: { machine } }) {
    if (machine.optionalText('/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts') === 'Y')
      return okResult('Whether interrupts are remapped does not matter: unsafe ones are allowed')
    // Every user may read this file. With remapping, names of interrupt chips start with IR- (IR-IO-APIC, IR-PCI-MSI).
    const chip = /^.*\bIR-[A-Z].*$/m.exec(machine.optionalText('/proc/interrupts') ?? '')?.[0]
    if (chip !== undefined)
      return okResult('Interrupts are remapped', [`/proc/interrupts: ${chip.trim().replace(/\s+/g, ' ')}`])
    if (log === null) return unknownResult('It is not known whether interrupts are remapped', [logMissing])
    const line = log
      .split('\n')
      .find((one) => /IRQ remapping in|Interrupt remapping enabled|Enabled IRQ remapping/.test(one))
    if (line !== undefined) return okResult('Interrupts are remapped', [line.trim()])
    if (!/Linux version /.test(log)) return unknownResult('The kernel log does not go back to the boot', [])
    return problemResult(
      'Interrupts are not remapped',
      ['the kernel log does not mention it'],
      'switch VT-d, x2APIC or interrupt remapping on in the firmware setup, or update it',
    )
  },
}

/** The arguments that guests depend on. Others do no harm when they are missing: the boot is just less quiet. */
const GUEST_ARGUMENTS =
  /^(iommu|intel_iommu|amd_iommu|vfio|kvm|huge|default_hugepagesz|isolcpus|nohz_full|rcu_nocbs|module_blacklist|pci|video|initcall_blacklist|threadirqs|systemd\.unit)/

/** Does this boot have the arguments that are set in the boot loader's files? */
export const bootArgumentsCheck: HostCheck<'configured' | 'host' | 'bootloader' | 'distro'> = {
  code: 'kernel-arguments',
  askedBy: ['host'],
  run({ configured, host, bootloader, distro }) {
    const line = host.machine.optionalText('/proc/cmdline')
    if (line === undefined || !isSameSystem(host))
      return unknownResult('Only the running system shows what it was booted with', [])
    if (bootloader.adapter === undefined && distro.adapter?.declarative === undefined)
      return unknownResult('Which kernel arguments are set for the next boot is not known', [bootloader.why])
    const late = configured.filter(
      ({ name, token, sure }) => sure && GUEST_ARGUMENTS.test(name) && !hasArgument(line, token),
    )
    if (late.length === 0) return okResult('This boot has the kernel arguments that are set')
    return problemResult(
      `${late.map(({ token }) => token).join(' ')}: set, and not in force`,
      late.map(({ file, line: number, token }) => `${file}:${number}: ${token}`),
      'make the boot entries again if that was not done, and reboot',
    )
  },
}

export const vfioModulesCheck: HostCheck<'host'> = {
  code: 'vfio-modules',
  askedBy: ['host'],
  run({ host: { kernels, files } }) {
    if (kernels.length === 0) return unknownResult('No installed kernel was seen', ['/lib/modules'])
    const groupless = kernels.filter(({ config }) => vfioInterfacesOf(config).groups === false)
    if (groupless.length > 0 && ['libvirtd', 'virtqemud'].some((name) => findProgram(files, name) !== undefined))
      return problemResult(
        `Linux ${groupless.map(({ release }) => release).join(', ')} has no VFIO groups: libvirt starts no guest with devices then (12.8 still)`,
        [],
        'use a kernel with CONFIG_VFIO_GROUP; QEMU alone does without (gen-domain --format qemu)',
      )
    // A kernel without VFIO groups maps a guest's memory by iommufd alone.
    const required = [['vfio-pci'], ['vfio_iommu_type1', 'iommufd']]
    const lacking = kernels.filter((kernel) =>
      required.some((ways) => ways.every((name) => kernel.provides(name) === 'absent')),
    )
    if (lacking.length === 0) {
      const how = kernels.every((kernel) => kernel.provides('vfio-pci') === 'builtin') ? 'built in' : 'as module'
      return okResult(
        `Every installed kernel has vfio-pci, ${how} (${kernels.map(({ release }) => release).join(', ')})`,
      )
    }
    return problemResult(
      `Linux ${lacking.map(({ release }) => release).join(', ')} has no vfio-pci`,
      [],
      'bind-vfio --kernel-config says what is missing',
    )
  },
}

/** Are settings in force that weaken the host? */
export const unsafeSettingsCheck: HostCheck<'host'> = {
  code: 'dangerous-settings',
  askedBy: ['host'],
  run({ host: { machine } }) {
    const parameters: [path: string, what: string][] = [
      ['vfio_iommu_type1/parameters/allow_unsafe_interrupts', 'guests may raise any interrupt of the host'],
      ['vfio/parameters/enable_unsafe_noiommu_mode', 'devices reach all memory of the host'],
      ['vfio_pci/parameters/disable_denylist', 'devices that are known to misbehave are given to guests'],
    ]
    const set = parameters.flatMap(([path, what]) =>
      machine.optionalText(`/sys/module/${path}`) === 'Y' ? [`/sys/module/${path} is Y: ${what}`] : [],
    )
    const line = machine.optionalText('/proc/cmdline') ?? ''
    const acs = parseCommandLine(line).find(({ name }) => name === 'pcie_acs_override')
    if (acs !== undefined) set.push(`/proc/cmdline: ${acs.token}: groups are smaller than the hardware says`)
    if (set.length === 0 && !machine.exists('/sys/module'))
      return unknownResult('It is not known whether a setting weakens the host', ['/sys/module'])
    if (set.length === 0) return okResult('No setting weakens the host')
    return problemResult(
      'The host is weaker than it has to be',
      set,
      'take out what you do not need (tune-host --undo, if it was set with it)',
    )
  },
}

export const modprobeIdsCheck: HostCheck<'host' | 'modprobe'> = {
  code: 'modprobe-ids',
  askedBy: ['host'],
  run({ host, modprobe }) {
    const modules = ['vfio-pci', 'pci-stub']
    const lists = modules.flatMap((module) => findIds(modprobe, module))
    const wrong = [
      ...lists.flatMap(({ file, line, problems }) => problems.map((what) => `${file}:${line}: ${what}`)),
      ...[
        ...modules.flatMap((module) => findStrayIds(modprobe, module)),
        ...findDeadIds(modprobeFiles(host.files)),
      ].map(({ file, line, what }) => `${file}:${line}: ${what}`),
    ]
    if (wrong.length === 0) return okResult('The lists of IDs in modprobe.d are well-formed')
    return problemResult(
      'A list of IDs does not say what it looks like',
      wrong,
      'correct the line, and make the initramfs again',
    )
  },
}

export const msrsCheck: HostCheck<'host'> = {
  code: 'msrs',
  askedBy: ['host'],
  run({ host: { machine } }) {
    const set = machine.optionalText('/sys/module/kvm/parameters/ignore_msrs')
    if (set === undefined)
      return unknownResult('It is not known what KVM does when a guest uses a register that KVM does not know', [
        'not seen: /sys/module/kvm/parameters/ignore_msrs',
      ])
    if (set === 'Y') return okResult('KVM ignores registers that it does not know')
    return okResult(
      'KVM faults on registers that it does not know: right, unless a guest stops over it (tune-host --ignore-msrs)',
    )
  },
}

export const secureBootCheck: HostCheck<'host'> = {
  code: 'secure-boot',
  askedBy: ['host'],
  run({ host: { machine } }) {
    const kind = readFirmwareKind(machine)
    const on = readSecureBoot(machine)
    if (on === null)
      return unknownResult('It is not known whether Secure Boot is on', [
        kind === null ? '/sys/firmware' : SECURE_BOOT_VARIABLE,
      ])
    if (kind === 'bios') return okResult('The firmware is BIOS: there is no Secure Boot')
    return okResult(
      on ? 'Secure Boot is on: modules from outside the kernel (vendor-reset) must be signed' : 'Secure Boot is off',
    )
  },
}

/** Does an installed kernel lack options that it should have been built with? */
export const kernelConfigCheck: HostCheck<'kernelReports' | 'distro'> = {
  code: 'kernel-config',
  askedBy: ['host'],
  run: ({ kernelReports, distro }) => kernelFindings(kernelReports, distro.adapter?.kernel).findings,
}
