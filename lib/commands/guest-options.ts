import { PRESETS } from '../guest/guest.ts'
import type { Option } from '../terminal/options.ts'

const list = (name: string, value: string, help: string): Option => ({ name, kind: 'list', value, help })
const value = (name: string, placeholder: string, help: string): Option => ({
  name,
  kind: 'value',
  value: placeholder,
  help,
})
const flag = (name: string, help: string): Option => ({ name, kind: 'flag', help })
const choice = (name: string, choices: readonly string[], help: string): Option => ({
  name,
  kind: 'value',
  choices,
  help,
})

/** The options of gen-domain. */
export const DOMAIN_OPTIONS: readonly Option[] = [
  value('name', 'NAME', "the new guest's name: letters, digits and . _ + -"),
  choice('guest', PRESETS, 'what will run in it'),
  choice('format', ['libvirt', 'qemu'], 'what is printed: XML, or a shell script that starts QEMU (default libvirt)'),
  value('patch', 'FILE', 'change this domain instead of making one; - is standard input'),
  list('remove', 'DEVICE', 'with --patch: take this device out again'),
  flag('diff', 'with --patch: show what changes instead of the whole domain'),

  list('gpu', 'DEVICE', 'a graphics card: 01:00 is the slot with all its functions'),
  list('pci', 'DEVICE', 'any other PCI device: a NIC, an NVMe drive, a whole USB controller'),
  value('rom', 'FILE', "the card's ROM"),
  flag('x-vga', 'legacy VGA through the card, for BIOS guests'),
  list('usb', 'ID', 'a USB device by ID (046d:c52b) or port (1-2.4)'),
  list('optical', 'DEV', 'an optical drive, passed on whole: /dev/sr0'),
  list('disk', 'PATH', 'a disk: a block device or an image'),
  choice('disk-bus', ['virtio', 'scsi', 'sata'], 'how disks are attached'),
  value('iso', 'FILE', 'the installation medium'),
  value('virtio-iso', 'FILE', 'virtio-win, the drivers for Windows'),
  list(
    'network',
    'NET',
    'network:NAME, bridge:NAME, macvtap:INTERFACE, tap:NAME, user or none (default network:default)',
  ),
  value('nic-model', 'MODEL', 'virtio, e1000e …'),
  value('mac', 'MAC', 'the MAC address of the first network card'),
  list('evdev', 'DEV', "the host's keyboard and mouse: /dev/input/by-id/…-event-kbd"),
  value('looking-glass', 'WxH', 'shared memory for Looking Glass at this resolution'),
  list('share', 'DIR[:TAG]', 'a folder of the host, by virtiofs'),
  choice('audio', ['none', 'spice', 'pipewire', 'pulseaudio'], "the guest's sound"),
  value('audio-user', 'USER', 'whose PipeWire or PulseAudio plays it: a name or number (default 1000)'),

  value('memory', 'SIZE', "16G, 8192M (default half of the host's, 16G at most)"),
  value('hugepages', 'SIZE', 'memory in hugepages of this size: 2M, 1G'),
  value('vcpus', 'N', 'this many vCPUs, pinned to whole cores near the card'),
  value('cores', 'N', 'this many cores with all their threads, pinned'),
  choice('pin', ['all-cores', 'none'], 'all cores but what the host keeps; none: --vcpus without pinning'),
  flag('one-thread', 'one thread of each core; its siblings are left idle'),
  choice('prefer', ['cache', 'frequency'], 'of unequal L3 clusters (X3D), the one with'),
  value('cpu', 'MODEL', 'a CPU model such as core2duo instead of the host CPU itself'),
  choice('chipset', ['q35', 'i440fx'], 'the board (default q35)'),
  choice('firmware', ['efi', 'bios'], 'the firmware (default efi; windows7: bios)'),
  value('loader', 'FILE', "a UEFI image of this host, instead of libvirt's choice"),
  flag('tpm', 'a TPM 2.0 (windows11 has one)'),
  flag('headless', 'after the installation: no SPICE, video, tablet, USB redirection or CD-ROMs'),

  flag('hide-kvm', 'hide the hypervisor; drivers of NVIDIA need it before 465'),
  value('vendor-id', 'TEXT', "Hyper-V's name instead of Microsoft's: 1 to 12 characters"),
  value('nvidia-driver', 'VERSION', "the guest's NVIDIA driver: what error 43 needs is done for old ones"),
  value('libvirt', 'VERSION', "write for this libvirt (default the host's)"),
  value('qemu', 'VERSION', "write for this QEMU (default the host's)"),

  flag('explain', 'say on standard error why each choice was made'),
  flag('msi-steps', 'print how a card is switched to MSI inside Windows, on standard error'),
  list('force', 'GUARD', 'override a guard that refused, by its name'),
]
