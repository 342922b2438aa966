import { UserError } from '../cli/error.ts'
import { cpuList } from '../host/cpu.ts'
import type { Card, Guest, HypervFlag, Nic } from './guest.ts'

// The same guest as a shell program that starts QEMU itself. Source: qemu-system(1), QEMU's docs/system.

/** In a word, what the program finds out when it runs. */
const DIR = '\0dir\0'

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
}
const MODELS: Readonly<Record<string, string>> = { virtio: 'virtio-net-pci' }

/**
 * A POSIX shell program that runs the guest. Throws a UserError with code `usage` for what libvirt alone can do: its
 * networks, and macvtap.
 */
export function guestScript(guest: Guest): string {
  const { name, pinning } = guest
  const words = [
    ...machine(guest),
    ...firmware(guest),
    ...disks(guest),
    ...guest.nics.flatMap(network),
    ...guest.cards.flatMap((card, index) => cardWords(guest, card, index)),
    ...inputs(guest),
    ...display(guest),
    ...sound(guest),
    ...rest(guest),
    ['-monitor', `unix:${DIR}/monitor.sock,server=on,wait=off`],
  ]
  const first = pinning === null ? '' : `taskset -c ${cpuList(pinning.vcpus.map(({ cpu }) => cpu))} `
  const lines = words.map((group) => `  ${group.map(quote).join(' ')} \\`)
  return `#!/bin/sh
# The guest ${name}, run by QEMU without libvirt. Its state is in ~/.local/state/vfio-scripts/${name}.
# For a user of the group kvm (else root), once: tune-host --vfio-group kvm --memory ${Math.ceil(guest.memory.kib / 1024)}M --apply
# which is this rule for udev, and this limit:
#   SUBSYSTEM=="vfio", GROUP="kvm", MODE="0660"
#   @kvm - memlock ${guest.memory.kib + 1024 ** 2}
# The monitor: socat - UNIX-CONNECT:"$dir/monitor.sock"
${optical(guest)}set -eu
dir=\${XDG_STATE_HOME:-$HOME/.local/state}/vfio-scripts/${quote(name)}
mkdir -p "$dir"
${helpers(guest)}exec ${first}"\${QEMU:-qemu-system-x86_64}" \\
${lines.join('\n')}
  "$@"
`
}

/** As a shell takes it: in quotes only where it must be. */
function quote(word: string): string {
  if (!word.includes(DIR)) return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
  return word
    .split(DIR)
    .map((text) => (text === '' ? '' : quote(text)))
    .join('"$dir"')
}

/** A value among QEMU's options: commas are doubled. */
function value(text: string): string {
  return text.replaceAll(',', ',,')
}

function machine(guest: Guest): string[][] {
  const { chipset, memory, pinning, firmware, ioapicKvm } = guest
  const mib = Math.ceil(memory.kib / 1024)
  const backed = memory.hugepageKib !== null || memory.shared
  const options = [
    chipset === 'q35' ? 'q35' : 'pc',
    'accel=kvm',
    'vmport=off',
    'hpet=off',
    ...(firmware.kind !== 'bios' && firmware.secure ? ['smm=on'] : []),
    ...(ioapicKvm ? ['kernel-irqchip=on'] : []),
    ...(backed ? ['memory-backend=memory'] : []),
  ]
  const huge = memory.hugepageKib === null ? '' : `,hugetlb=on,hugetlbsize=${memory.hugepageKib}K,prealloc=on`
  const { sockets, dies, cores, threads } = pinning?.topology ?? { sockets: 1, dies: 1, cores: guest.vcpus, threads: 1 }
  return [
    ['-name', `${guest.name},debug-threads=on`],
    ['-nodefaults', '-no-user-config'],
    ['-machine', options.join(',')],
    ['-cpu', cpu(guest)],
    ['-smp', `${guest.vcpus},sockets=${sockets},dies=${dies},cores=${cores},threads=${threads}`],
    ['-m', `${mib}M`],
    ...(backed
      ? [['-object', `memory-backend-memfd,id=memory,size=${mib}M,share=${memory.shared ? 'on' : 'off'}${huge}`]]
      : []),
    ['-rtc', `base=${guest.localtime ? 'localtime' : 'utc'},driftfix=slew`],
    ['-global', 'kvm-pit.lost_tick_policy=delay'],
  ]
}

function cpu({ cpuModel, hideKvm, hyperv, vendorId, hypervclock, pinning }: Guest): string {
  const host = cpuModel === 'host-passthrough'
  return [
    host ? 'host' : cpuModel,
    ...(host ? ['migratable=off'] : []),
    ...(hideKvm ? ['kvm=off'] : []),
    ...(hyperv ?? []).map((flag) => FLAGS[flag]),
    ...(hypervclock ? ['hv_time'] : []),
    ...(vendorId === null ? [] : [`hv_vendor_id=${value(vendorId)}`]),
    ...(pinning?.topoext ? ['topoext=on'] : []),
    ...(pinning === null ? [] : [pinning.caches === 'passthrough' && host ? 'host-cache-info=on' : 'l3-cache=on']),
  ].join(',')
}

function firmware({ firmware: chosen }: Guest): string[][] {
  if (chosen.kind !== 'files') return []
  return [
    ['-drive', `if=pflash,format=raw,readonly=on,file=${value(chosen.code)}`],
    ['-drive', `if=pflash,format=raw,file=${DIR}/vars.fd`],
    ...(chosen.secure ? [['-global', 'driver=cfi.pflash01,property=secure,value=on']] : []),
  ]
}

function disks(guest: Guest): string[][] {
  const { chipset, scsi, cdroms } = guest
  const first = 1 + Number(guest.cards.some(({ boot }) => boot))
  const controller = scsi.length > 0 || guest.disks.some(({ bus }) => bus === 'scsi')
  let ide = 0
  // q35 has six ports, i440fx two channels of two drives.
  const port = (): string => {
    const number = ide++
    return chipset === 'q35' ? `bus=ide.${number}` : `bus=ide.${number >> 1},unit=${number & 1}`
  }
  const own = guest.disks.flatMap(({ path, kind, format, bus }, index) => {
    const cache = kind === 'block' ? ',cache=none,aio=native' : ''
    const device = { virtio: 'virtio-blk-pci', scsi: 'scsi-hd,bus=scsi.0', sata: 'ide-hd' }[bus]
    const at = bus === 'sata' ? `,${port()}` : ''
    return [
      ['-drive', `if=none,id=disk${index},file=${value(path)},format=${format}${cache},discard=unmap`],
      ['-device', `${device}${at},drive=disk${index},bootindex=${first + index}`],
    ]
  })
  return [
    ...(controller ? [['-device', 'virtio-scsi-pci,id=scsi']] : []),
    ...own,
    ...cdroms.flatMap((path, index) => [
      ['-drive', `if=none,id=cd${index},file=${value(path)},format=raw,media=cdrom,readonly=on`],
      ['-device', `ide-cd,${port()},drive=cd${index}${index === 0 ? `,bootindex=${first + own.length / 2}` : ''}`],
    ]),
    ...scsi.flatMap(({ path }, index) => [
      ['-drive', opticalDrive(path, index)],
      ['-device', `scsi-block,bus=scsi.0,drive=optical${index},id=optical${index}`],
    ]),
  ]
}

function opticalDrive(path: string, index: number): string {
  return `if=none,id=optical${index},file=${value(path)},format=raw`
}

/** How an optical drive comes and goes while the guest runs. */
function optical({ scsi }: Guest): string {
  return scsi
    .flatMap(({ path }, index) => [
      `#   device_del optical${index}\n`,
      `#   drive_add 0 ${opticalDrive(path, index)}\n`,
      `#   device_add scsi-block,bus=scsi.0,drive=optical${index},id=optical${index}\n`,
    ])
    .join('')
}

function network({ kind, source, model, mac }: Nic, index: number): string[][] {
  const backends: Readonly<Record<Nic['kind'], string | undefined>> = {
    user: 'user',
    bridge: `bridge,br=${value(source)}`,
    tap: `tap,ifname=${value(source)},script=no,downscript=no`,
    network: undefined,
    macvtap: undefined,
  }
  const backend = backends[kind]
  if (backend === undefined)
    throw new UserError(
      'usage',
      `--network ${kind}:${source}: libvirt alone has that; with --format qemu: bridge:NAME, tap:NAME, user or none`,
    )
  const device = `${MODELS[model] ?? model},netdev=net${index}${mac === null ? '' : `,mac=${mac}`}`
  return [
    ['-netdev', `${backend},id=net${index}`],
    ['-device', device],
  ]
}

/** The first slot of i440fx that nothing above takes. */
const FIRST_SLOT = 0x10

function cardWords({ chipset }: Guest, { functions, xVga, boot }: Card, index: number): string[][] {
  const slot = (FIRST_SLOT + index).toString(16)
  const bus = chipset === 'q35' ? `card${index}` : 'pci.0'
  const port = ['-device', `pcie-root-port,id=card${index},bus=pcie.0,chassis=${index + 1}`]
  const devices = functions.map(({ address, rom }, fn) => {
    const at = chipset === 'q35' ? `0x0.${fn}` : `0x${slot}.${fn}`
    return [
      '-device',
      [
        `vfio-pci,host=${address},bus=${bus},addr=${at}`,
        ...(functions.length > 1 && fn === 0 ? ['multifunction=on'] : []),
        ...(xVga && fn === 0 ? ['x-vga=on'] : []),
        ...(boot && fn === 0 ? ['bootindex=1'] : []),
        ...(rom === null ? [] : [`romfile=${value(rom)}`]),
      ].join(','),
    ]
  })
  return chipset === 'q35' ? [port, ...devices] : devices
}

function inputs({ usbController, usb, evdev }: Guest): string[][] {
  return [
    ['-device', usbController === 'qemu-xhci' ? 'qemu-xhci' : 'ich9-usb-ehci1'],
    ...usb.map((one) => [
      '-device',
      'vendor' in one
        ? `usb-host,vendorid=0x${one.vendor},productid=0x${one.product}`
        : `usb-host,hostbus=${one.bus},hostport=${one.port}`,
    ]),
    ...evdev.map((path, index) => [
      '-object',
      `input-linux,id=input${index},evdev=${value(path)}${index === 0 ? ',grab_all=on,repeat=on' : ''}`,
    ]),
  ]
}

function display({ graphics }: Guest): string[][] {
  if (graphics === null) return [['-display', 'none']]
  return [
    ['-device', graphics === 'qxl' ? 'qxl-vga' : 'virtio-vga'],
    ['-device', 'usb-tablet'],
    ['-spice', `unix=on,addr=${DIR}/spice.sock,disable-ticketing=on`],
  ]
}

function sound({ audio, chipset }: Guest): string[][] {
  if (audio === null) return []
  const { kind, runtimeDir } = audio
  const backend = {
    spice: 'spice,id=sound',
    pipewire: `pipewire,id=sound`,
    pulseaudio: `pa,id=sound,server=${value(`${runtimeDir}/pulse/native`)}`,
  }[kind]
  return [
    ['-audiodev', backend],
    ['-device', chipset === 'q35' ? 'ich9-intel-hda' : 'intel-hda'],
    ['-device', 'hda-duplex,audiodev=sound'],
  ]
}

function rest({ tpm, frames, shares, mmio64Mib }: Guest): string[][] {
  return [
    ...(tpm
      ? [
          ['-chardev', `socket,id=tpm,path=${DIR}/tpm.sock`],
          ['-tpmdev', 'emulator,id=tpm0,chardev=tpm'],
          ['-device', 'tpm-crb,tpmdev=tpm0'],
        ]
      : []),
    ...(frames === null
      ? []
      : [
          [
            '-object',
            `memory-backend-file,id=frames,share=on,size=${frames.mib}M,mem-path=${frames.device === 'kvmfr' ? '/dev/kvmfr0' : '/dev/shm/looking-glass'}`,
          ],
          ['-device', 'ivshmem-plain,memdev=frames'],
        ]),
    ...shares.flatMap(({ tag }, index) => [
      ['-chardev', `socket,id=share${index},path=${DIR}/share${index}.sock`],
      ['-device', `vhost-user-fs-pci,chardev=share${index},tag=${value(tag)}`],
    ]),
    ...(mmio64Mib === null ? [] : [['-fw_cfg', `name=opt/ovmf/X-PciMmio64Mb,string=${mmio64Mib}`]]),
  ]
}

/** What has to be there before QEMU: the guest's own copy of the variables, its TPM, its shares. */
function helpers({ firmware: chosen, tpm, shares }: Guest): string {
  return [
    ...(chosen.kind === 'files' ? [`[ -e "$dir/vars.fd" ] || cp ${quote(chosen.vars)} "$dir/vars.fd"\n`] : []),
    ...(tpm
      ? [
          'mkdir -p "$dir/tpm"\n',
          'swtpm socket --daemon --tpm2 --terminate --tpmstate dir="$dir/tpm" --ctrl type=unixio,path="$dir/tpm.sock"\n',
        ]
      : []),
    ...shares.map(
      ({ path }, index) => `virtiofsd --socket-path="$dir/share${index}.sock" --shared-dir=${quote(path)} &\n`,
    ),
  ].join('')
}
