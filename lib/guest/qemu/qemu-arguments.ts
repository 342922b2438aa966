import { UserError } from '../../core/error.ts'
import type { Guest, GuestCard, Nic } from '../guest.ts'
import { windowArguments } from '../window.ts'

// QEMU's options for a guest's devices, each with its value. Source: qemu-system(1), QEMU's docs/system/devices.

/** In a word, what the program finds out when it runs. */
export const STATE_DIR = '\0dir\0'

/** A value among QEMU's options: commas are doubled. */
export function escapeCommas(text: string): string {
  return text.replaceAll(',', ',,')
}

const MODELS: Readonly<Record<string, string>> = { virtio: 'virtio-net-pci' }

/** Disks, CD-ROMs and SCSI devices. */
export function diskArguments(guest: Guest): string[][] {
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
      ['-drive', `if=none,id=disk${index},file=${escapeCommas(path)},format=${format}${cache},discard=unmap`],
      ['-device', `${device}${at},drive=disk${index},bootindex=${first + index}`],
    ]
  })
  return [
    ...(controller ? [['-device', 'virtio-scsi-pci,id=scsi']] : []),
    ...own,
    ...cdroms.flatMap((path, index) => [
      ['-drive', `if=none,id=cd${index},file=${escapeCommas(path)},format=raw,media=cdrom,readonly=on`],
      ['-device', `ide-cd,${port()},drive=cd${index}${index === 0 ? `,bootindex=${first + own.length / 2}` : ''}`],
    ]),
    ...scsi.flatMap(({ path }, index) => [
      ['-drive', opticalDrive(path, index)],
      ['-device', `scsi-block,bus=scsi.0,drive=optical${index},id=optical${index}`],
    ]),
  ]
}

function opticalDrive(path: string, index: number): string {
  return `if=none,id=optical${index},file=${escapeCommas(path)},format=raw`
}

/** How an optical drive comes and goes while the guest runs. */
export function opticalComments({ scsi }: Guest): string {
  return scsi
    .flatMap(({ path }, index) => [
      `#   device_del optical${index}\n`,
      `#   drive_add 0 ${opticalDrive(path, index)}\n`,
      `#   device_add scsi-block,bus=scsi.0,drive=optical${index},id=optical${index}\n`,
    ])
    .join('')
}

/** One network card. */
export function nicArguments({ kind, source, model, mac }: Nic, index: number): string[][] {
  const backends: Readonly<Record<Nic['kind'], string | undefined>> = {
    user: 'user',
    bridge: `bridge,br=${escapeCommas(source)}`,
    tap: `tap,ifname=${escapeCommas(source)},script=no,downscript=no`,
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

/** The functions of a card, on one slot. */
export function cardArguments({ chipset }: Guest, { functions, xVga, boot }: GuestCard, index: number): string[][] {
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
        ...(rom === null ? [] : [`romfile=${escapeCommas(rom)}`]),
      ].join(','),
    ]
  })
  return chipset === 'q35' ? [port, ...devices] : devices
}

/** USB, and the host's keyboard and mouse. */
export function inputArguments({ usbController, usb, evdev }: Guest): string[][] {
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
      `input-linux,id=input${index},evdev=${escapeCommas(path)}${index === 0 ? ',grab_all=on,repeat=on' : ''}`,
    ]),
  ]
}

/** What an installation is seen by. */
export function displayArguments({ graphics }: Guest): string[][] {
  if (graphics === null) return [['-display', 'none']]
  const models = { qxl: 'qxl-vga', virtio: 'virtio-vga', bochs: 'bochs-display', vga: 'VGA' } as const
  return [
    ['-device', models[graphics.video]],
    ['-device', 'usb-tablet'],
    graphics.display === 'spice'
      ? ['-spice', `unix=on,addr=${STATE_DIR}/spice.sock,disable-ticketing=on`]
      : ['-vnc', `unix:${STATE_DIR}/vnc.sock`],
  ]
}

/** A sound card, and where its sound goes. */
export function soundArguments({ audio, chipset }: Guest): string[][] {
  if (audio === null) return []
  const { kind, runtimeDir } = audio
  const backend = {
    spice: 'spice,id=sound',
    pipewire: `pipewire,id=sound`,
    pulseaudio: `pa,id=sound,server=${escapeCommas(`${runtimeDir}/pulse/native`)}`,
  }[kind]
  return [
    ['-audiodev', backend],
    ['-device', chipset === 'q35' ? 'ich9-intel-hda' : 'intel-hda'],
    ['-device', 'hda-duplex,audiodev=sound'],
  ]
}

/** TPM, Looking Glass, shares, the window for large BARs. */
export function otherArguments({ tpm, frames, shares, mmio64Mib }: Guest): string[][] {
  return [
    ...(tpm
      ? [
          ['-chardev', `socket,id=tpm,path=${STATE_DIR}/tpm.sock`],
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
      ['-chardev', `socket,id=share${index},path=${STATE_DIR}/share${index}.sock`],
      ['-device', `vhost-user-fs-pci,chardev=share${index},tag=${escapeCommas(tag)}`],
    ]),
    ...(mmio64Mib === null ? [] : [windowArguments(mmio64Mib)]),
  ]
}
