import { cpuList } from '../../host/cpu.ts'
import { type Guest, QEMU_DEVICES } from '../devices/guest-devices.ts'
import { needsSmm } from '../firmware.ts'
import type { HypervFlag } from '../guest.ts'
import { windowArguments } from '../window.ts'
import { escapeCommas, STATE_DIR, shellQuote } from './qemu-words.ts'

// The same guest as a shell program that starts QEMU itself. Source: qemu-system(1), QEMU's docs/system.

const FLAGS: Readonly<Record<HypervFlag, string>> = {
  relaxed: 'hv_relaxed',
  vapic: 'hv_vapic',
  spinlocks: 'hv_spinlocks=0x1fff',
  vpindex: 'hv_vpindex',
  runtime: 'hv_runtime',
  synic: 'hv_synic',
  stimer: 'hv_stimer',
  frequencies: 'hv_frequencies',
  tlbflush: 'hv_tlbflush',
  ipi: 'hv_ipi',
  evmcs: 'hv_evmcs',
  avic: 'hv_avic',
}

/**
 * Returns a POSIX shell program that runs the guest; `unit` has its card taken from the host before, and given back
 * after. Throws a UserError with code `usage` for what only libvirt can do:
 * its networks, and macvtap.
 */
export function guestScript(guest: Guest, unit: string | null): string {
  const { name, pinning } = guest
  const words = [
    ...machineArguments(guest),
    ...firmwareArguments(guest),
    ...QEMU_DEVICES.flatMap((device) => device.qemu(guest)),
    ...(guest.mmio64Mib === null ? [] : [windowArguments(guest.mmio64Mib)]),
    ['-monitor', `unix:${STATE_DIR}/monitor.sock,server=on,wait=off`],
  ]
  const first = pinning === null ? '' : `taskset -c ${cpuList(pinning.vcpus.map(({ cpu }) => cpu))} `
  const monitorLines = QEMU_DEVICES.flatMap((device) => device.monitor?.(guest) ?? [])
  const lines = words.map((group) => `  ${group.map(shellQuote).join(' ')} \\`)
  return `#!/bin/sh
# The guest ${name}, run by QEMU without libvirt. Its state is in ~/.local/state/vfio-scripts/${name}.
# For a user of the group kvm (else root), once: tune-host --vfio-group kvm --memory ${Math.ceil(guest.memory.kib / 1024)}M --apply
# which is this rule for udev, and this limit:
#   SUBSYSTEM=="vfio", GROUP="kvm", MODE="0660"
#   @kvm - memlock ${guest.memory.kib + 1024 ** 2}
# The monitor: socat - UNIX-CONNECT:"$dir/monitor.sock"
${monitorLines.map((line) => `#   ${line}\n`).join('')}set -eu
dir=\${XDG_STATE_HOME:-$HOME/.local/state}/vfio-scripts/${shellQuote(name)}
mkdir -p "$dir"
${startHelpers(guest)}${unit === null ? 'exec ' : takenByUnit(unit)}${first}"\${QEMU:-qemu-system-x86_64}" \\
${lines.join('\n')}
  "$@"
`
}

/** Returns the lines that take the card and give it back, however QEMU ends: the unit does that, as for libvirt. */
function takenByUnit(unit: string): string {
  return `# What hand-over set up: only root may have it done.
trap 'systemctl stop ${unit}' EXIT
trap 'exit 1' HUP INT TERM
# One that is active from an earlier start took nothing for this one.
systemctl restart ${unit}
`
}

function machineArguments(guest: Guest): string[][] {
  const { chipset, memory, firmware, ioapicKvm } = guest
  const mib = Math.ceil(memory.kib / 1024)
  const backed = memory.hugepageKib !== null || memory.shared
  const options = [
    chipset === 'q35' ? 'q35' : 'pc',
    'accel=kvm',
    'vmport=off',
    'hpet=off',
    ...(needsSmm(firmware) ? ['smm=on'] : []),
    ...(ioapicKvm ? ['kernel-irqchip=on'] : []),
    ...(backed ? ['memory-backend=memory'] : []),
  ]
  const huge = memory.hugepageKib === null ? '' : `,hugetlb=on,hugetlbsize=${memory.hugepageKib}K,prealloc=on`
  const { sockets, dies, cores, threads } = guest.topology
  return [
    ['-name', `${guest.name},debug-threads=on`],
    ['-nodefaults', '-no-user-config'],
    ['-machine', options.join(',')],
    ['-cpu', cpuValue(guest)],
    ['-smp', `${guest.vcpus},sockets=${sockets},dies=${dies},cores=${cores},threads=${threads}`],
    ['-m', `${mib}M`],
    ...(backed
      ? [['-object', `memory-backend-memfd,id=memory,size=${mib}M,share=${memory.shared ? 'on' : 'off'}${huge}`]]
      : []),
    ['-rtc', `base=${guest.localtime ? 'localtime' : 'utc'},driftfix=slew`],
    ['-global', 'kvm-pit.lost_tick_policy=delay'],
  ]
}

function cpuValue({ cpuModel, hideKvm, hyperv, vendorId, hypervclock, pinning, topoext, addressBits }: Guest): string {
  const host = cpuModel === 'host-passthrough'
  return [
    host ? 'host' : cpuModel,
    ...(host ? ['migratable=off'] : []),
    ...(host && addressBits !== null ? [`host-phys-bits-limit=${addressBits}`] : []),
    ...(hideKvm ? ['kvm=off'] : []),
    ...(hyperv ?? []).map((flag) => FLAGS[flag]),
    ...(hypervclock ? ['hv_time'] : []),
    ...(vendorId === null ? [] : [`hv_vendor_id=${escapeCommas(vendorId)}`]),
    ...(topoext ? ['topoext=on'] : []),
    ...(pinning === null ? [] : [pinning.caches === 'passthrough' && host ? 'host-cache-info=on' : 'l3-cache=on']),
  ].join(',')
}

function firmwareArguments({ firmware: selected }: Guest): string[][] {
  if (selected.kind !== 'files') return []
  return [
    ['-drive', `if=pflash,format=${selected.format},readonly=on,file=${escapeCommas(selected.code)}`],
    ['-drive', `if=pflash,format=${selected.format},file=${STATE_DIR}/${varsName(selected.format)}`],
    ...(selected.smm ? [['-global', 'driver=cfi.pflash01,property=secure,value=on']] : []),
  ]
}

function varsName(format: 'raw' | 'qcow2'): string {
  return format === 'raw' ? 'vars.fd' : 'vars.qcow2'
}

/** Returns the line that makes the guest's own copy of the template, in the template's format. */
function copyVariables({ format, vars }: { format: 'raw' | 'qcow2'; vars: string }): string {
  const own = `"$dir/${varsName(format)}"`
  return `[ -e ${own} ] || cp ${shellQuote(vars)} ${own}\n`
}

/** Returns lines that prepare what QEMU needs: the guest's own copy of the variables, and what its devices need. */
function startHelpers(guest: Guest): string {
  const { firmware } = guest
  return [
    firmware.kind === 'files' ? copyVariables(firmware) : '',
    ...QEMU_DEVICES.map((device) => device.start?.(guest) ?? ''),
  ].join('')
}
