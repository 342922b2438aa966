// The emulated machines. QEMU: docs/pcie.txt (topologies), qemu-system-x86_64 -device help.

/** What can be moved to another port. */
export type Card = 'radeon' | 'displayA' | 'displayB' | 'nicA' | 'nicB' | 'nvme' | 'usb' | 'bridge' | 'switch'

/** Root ports by their address on bus 0. Buses are numbered in this order from 01 on; the last one is free. */
const ports = ['02.0', '02.1', '02.2', '02.3', '02.4', '02.5', '02.6', '02.7', '03.0', '03.1'] as const
export type Port = (typeof ports)[number]

const home: Record<Card, Port> = {
  radeon: '02.0',
  displayA: '02.1',
  displayB: '02.2',
  nicA: '02.3',
  nicB: '02.4',
  nvme: '02.5',
  usb: '02.6',
  bridge: '02.7',
  switch: '03.0',
}

export interface Machine {
  iommu: 'intel' | 'amd' | 'none'
  /** `direct`: QEMU loads kernel and a tiny initramfs. Else: firmware, the disk's own loader and initramfs. */
  boot: 'direct' | 'bios' | 'uefi'
  /** Cards in other ports than usual; `{ nicA: '03.1' }` moves one to the free port. */
  moved?: Partial<Record<Card, Port>>
  /** A cable between both equal network cards. */
  cable?: boolean
  /**
   * A desktop instead of the crowd: one display with its sound on the root complex, and in a root port a second one
   * without VGA; `screendump` of QEMU's monitor shows what they show.
   */
  displays?: 1 | 2
  /** The NVMe drive, without a disk, can have four virtual functions. */
  virtualFunctions?: boolean
  /** Network card A is an Intel 82576, which can have seven virtual functions; a newer QEMU than Debian 12's has it. */
  networkFunctions?: boolean
  /** MiB; 1024 unless told. */
  memory?: number
  /** 1 unless told. */
  cpus?: number
}

export const intel: Machine = { iommu: 'intel', boot: 'direct' }
export const amd: Machine = { iommu: 'amd', boot: 'direct' }
export const none: Machine = { iommu: 'none', boot: 'direct' }

/** The same machine, started from its disk by GRUB. */
export function grub(machine: Machine, firmware: 'bios' | 'uefi'): Machine {
  return { ...machine, boot: firmware }
}

export function machineName(machine: Machine): string {
  const moved = Object.entries(machine.moved ?? {}).map(([card, port]) => `${card}@${port}`)
  const desktop = machine.displays === undefined ? '' : `displays${machine.displays}`
  const igb = machine.networkFunctions ? 'igb' : ''
  return [machine.iommu, machine.boot === 'direct' ? '' : machine.boot, desktop, igb, ...moved]
    .filter(Boolean)
    .join('-')
}

/** Cards on the port with the given id, as QEMU options; `.0` and `.1` of a card are its functions. */
const cards: Record<Card, (bus: string) => string[]> = {
  radeon: (bus) => withAudio('ati-vga,model=rv100', 'radeon', bus, 'intel-hda'),
  displayA: (bus) => withAudio('secondary-vga', 'displayA', bus),
  displayB: (bus) => withAudio('secondary-vga', 'displayB', bus),
  nicA: (bus) => [`-device e1000e,bus=${bus},romfile=`],
  nicB: (bus) => [`-device e1000e,bus=${bus},romfile=`],
  nvme: (bus) => [
    '-drive if=none,id=nvme,format=raw,file=nvme.img,snapshot=on',
    `-device nvme,drive=nvme,serial=LABNVME0,bus=${bus}`,
  ],
  usb: (bus) => [`-device qemu-xhci,id=usb,bus=${bus}`, '-device usb-tablet,bus=usb.0'],
  // conventional PCI: three devices that share one group
  bridge: (bus) => [
    `-device pcie-pci-bridge,id=bridge,bus=${bus}`,
    '-device e1000,bus=bridge,addr=0x01,romfile=',
    '-audiodev none,id=silent',
    '-device AC97,audiodev=silent,bus=bridge,addr=0x02',
    '-device edu,bus=bridge,addr=0x03',
  ],
  switch: (bus) => [
    `-device x3130-upstream,id=upstream,bus=${bus}`,
    '-device xio3130-downstream,id=downstream0,bus=upstream,chassis=21,slot=1',
    '-device xio3130-downstream,id=downstream1,bus=upstream,chassis=22,slot=2',
    '-device e1000e,bus=downstream0,romfile=',
    '-device bochs-display,bus=downstream1',
  ],
}

/** QEMU: docs/system/devices/nvme.rst (SR-IOV). A drive of a subsystem has no disk of its own. */
const sriovDrive = (bus: string): string[] => [
  '-device nvme-subsys,id=subsystem',
  `-device nvme,serial=LABNVME0,subsys=subsystem,sriov_max_vfs=4,sriov_vq_flexible=8,sriov_vi_flexible=4,bus=${bus}`,
]

/** QEMU: docs/system/devices/igb.rst. */
const sriovNic = (bus: string): string[] => [`-device igb,bus=${bus},romfile=,mac=52:54:00:12:34:01`]

function cardOf(machine: Machine, card: Card): (bus: string) => string[] {
  if (card === 'nvme' && machine.virtualFunctions) return sriovDrive
  return card === 'nicA' && machine.networkFunctions ? sriovNic : cards[card]
}

/** The two equal displays have equal audio functions, the radeon card has one with an ID of its own. */
function withAudio(device: string, id: string, bus: string, audio = 'ich9-intel-hda'): string[] {
  return [
    `-device ${device},id=${id},bus=${bus},addr=0x00.0,multifunction=on`,
    `-device ${audio},bus=${bus},addr=0x00.1`,
  ]
}

/** A display with a sound function that has a codec, as graphics cards have it for their HDMI ports. */
function screen(id: string, device: string, bus: string, slot: string): string[] {
  return [
    `-device ${device},id=${id},bus=${bus},addr=${slot}.0,multifunction=on`,
    `-device ich9-intel-hda,id=${id}-sound,bus=${bus},addr=${slot}.1`,
    `-device hda-output,bus=${id}-sound.0,audiodev=silent`,
  ]
}

function desktop(displays: 1 | 2): string[] {
  const second = [
    '-device pcie-root-port,id=port1,bus=pcie.0,chassis=1,addr=0x02.0',
    ...screen('second', 'bochs-display', 'port1', '0x00'),
  ]
  return [
    '-monitor unix:monitor,server=on,wait=off',
    '-audiodev none,id=silent',
    ...screen('first', 'VGA', 'pcie.0', '0x06'),
    ...(displays === 2 ? second : []),
    '-device e1000e,bus=pcie.0,addr=0x08,romfile=',
  ]
}

/** The PCI devices. Slot 01 of bus 0 stays empty: amd-iommu takes the first free one. */
function topology(machine: Machine): string[] {
  if (machine.displays !== undefined) return desktop(machine.displays)
  const place = { ...home, ...machine.moved }
  const options = ['-device VGA,bus=pcie.0,addr=0x06.0']
  ports.forEach((port, index) => {
    const id = `port${index + 1}`
    const first = port.endsWith('.0') ? ',multifunction=on' : ''
    options.push(`-device pcie-root-port,id=${id},bus=pcie.0,chassis=${index + 1},addr=0x${port}${first}`)
    for (const card of Object.keys(place) as Card[]) {
      if (place[card] !== port) continue
      const cable = machine.cable && /^nic/.test(card) ? [`-netdev hubport,id=${card},hubid=1`] : []
      const made = cardOf(machine, card)
      options.push(...cable, ...made(id).map((one) => (cable.length > 0 ? `${one},netdev=${card}` : one)))
    }
  })
  options.push(
    '-device edu,bus=pcie.0,addr=0x04',
    '-object memory-backend-ram,id=shared,size=4M,share=on',
    '-device ivshmem-plain,memdev=shared,master=on,bus=pcie.0,addr=0x05',
  )
  return options
}

/**
 * What every kernel of the lab is told. The emulated AMD-Vi hangs at the root disk without `iommu=pt`. On a busy machine
 * the kernel's test of its timer fails now and then, which it takes for a broken one; and a task that died while it
 * registered a framebuffer left all displays behind it without a driver, so there are none (the console is serial).
 * QEMU translates a program again wherever it is loaded: one place for all, and no tests of the ciphers.
 */
export const kernelArguments =
  'console=ttyS0 iommu=pt no_timer_check mitigations=off drm_kms_helper.fbdev_emulation=0 panic=-1 norandmaps cryptomgr.notests log_buf_len=4M dyndbg="func really_probe +p" init=/usr/local/sbin/lab-init'

/** The command line of QEMU. It runs in the guest's folder, where all its files are. */
export function qemuArguments(machine: Machine): string[] {
  const iommu = {
    intel: ['-device', 'intel-iommu,intremap=on,caching-mode=on'],
    amd: ['-device', 'amd-iommu,intremap=on'],
    none: [],
  }
  const start =
    machine.boot === 'direct'
      ? ['-kernel', 'vmlinux', '-initrd', 'initrd', '-append', `root=/dev/vda3 quiet ${kernelArguments}`]
      : machine.boot === 'uefi'
        ? words(
            '-drive if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd',
            '-drive if=pflash,format=raw,file=vars.fd',
          )
        : []
  return [
    'qemu-system-x86_64',
    ...words(
      `-nodefaults -no-user-config -M q35 -accel tcg -smp ${machine.cpus ?? 1} -display none -no-reboot`,
      `-cpu ${machine.iommu === 'amd' ? 'max' : 'Nehalem'} -m ${machine.memory ?? 1024}`,
      '-serial stdio',
    ),
    ...iommu[machine.iommu],
    ...start,
    ...words(
      // virtio disks are named in slot order: this one is vda
      '-drive if=none,id=root,format=raw,file=disk,cache=unsafe',
      '-device virtio-blk-pci,drive=root,bus=pcie.0,addr=0x10,bootindex=1',
      '-drive if=none,id=payload,format=raw,readonly=on,file=payload',
      '-device virtio-blk-pci,drive=payload,serial=lab-payload,bus=pcie.0,addr=0x1c',
      '-device virtio-serial-pci,bus=pcie.0,addr=0x1b',
      '-chardev file,id=results,path=results -device virtserialport,chardev=results,name=lab.results',
      '-device isa-debug-exit,iobase=0xf4,iosize=0x04',
      ...topology(machine),
    ),
  ]
}

function words(...options: string[]): string[] {
  return options.flatMap((option) => option.split(' '))
}
