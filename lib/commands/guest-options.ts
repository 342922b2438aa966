import { checksFor } from '../checks/check.ts'
import { GUARDS, GUEST_CHECKS } from '../checks/registry.ts'
import { PRESETS } from '../guest/guest.ts'
import type { Option } from '../terminal/options.ts'
import { forceOption } from './force.ts'

const listOption = (name: string, value: string, help: string): Option => ({ name, kind: 'list', value, help })
const valueOption = (name: string, placeholder: string, help: string): Option => ({
  name,
  kind: 'value',
  value: placeholder,
  help,
})
const flagOption = (name: string, help: string): Option => ({ name, kind: 'flag', help })
const choiceOption = (name: string, choices: readonly string[], help: string): Option => ({
  name,
  kind: 'value',
  choices,
  help,
})

/** The options of gen-domain. */
export const DOMAIN_OPTIONS: readonly Option[] = [
  valueOption('name', 'NAME', "the new guest's name: letters, digits and . _ + -"),
  choiceOption('guest', PRESETS, 'what will run in it'),
  choiceOption(
    'format',
    ['libvirt', 'qemu'],
    'what is printed: XML, or a shell script that starts QEMU (default libvirt)',
  ),
  valueOption('patch', 'FILE', 'change this domain instead of making one; - is standard input'),
  listOption('remove', 'DEVICE', 'with --patch: take this device out again'),
  flagOption('diff', 'with --patch: show what changes instead of the whole domain'),

  listOption('gpu', 'DEVICE', 'a graphics card: 01:00 is the slot with all its functions'),
  listOption('pci', 'DEVICE', 'any other PCI device: a NIC, an NVMe drive, a whole USB controller'),
  valueOption('rom', 'FILE', "the card's ROM"),
  flagOption('x-vga', 'legacy VGA through the card, for BIOS guests'),
  listOption('usb', 'ID', 'a USB device by ID (046d:c52b) or port (1-2.4)'),
  listOption('optical', 'DEV', 'an optical drive, passed on whole: /dev/sr0'),
  listOption('disk', 'PATH', 'a disk: a block device or an image'),
  choiceOption('disk-bus', ['virtio', 'scsi', 'sata'], 'how disks are attached'),
  valueOption('iso', 'FILE', 'the installation medium'),
  valueOption('virtio-iso', 'FILE', 'virtio-win, the drivers for Windows'),
  listOption(
    'network',
    'NET',
    'network:NAME, bridge:NAME, macvtap:INTERFACE, tap:NAME, user or none (default network:default)',
  ),
  valueOption('nic-model', 'MODEL', 'virtio, e1000e …'),
  valueOption('mac', 'MAC', 'the MAC address of the first network card'),
  listOption('evdev', 'DEV', "the host's keyboard and mouse: /dev/input/by-id/…-event-kbd"),
  valueOption('looking-glass', 'WxH', 'shared memory for Looking Glass at this resolution'),
  listOption('share', 'DIR[:TAG]', 'a folder of the host, by virtiofs'),
  choiceOption('audio', ['none', 'spice', 'pipewire', 'pulseaudio'], "the guest's sound"),
  valueOption('audio-user', 'USER', 'whose PipeWire or PulseAudio plays it: a name or number (default 1000)'),

  valueOption('memory', 'SIZE', "16G, 8192M (default half of the host's, 16G at most)"),
  valueOption('hugepages', 'SIZE', 'memory in hugepages of this size: 2M, 1G'),
  valueOption('vcpus', 'N', 'this many vCPUs, pinned to whole cores near the card'),
  valueOption('cores', 'N', 'this many cores with all their threads, pinned'),
  choiceOption('pin', ['all-cores', 'none'], 'all cores but what the host keeps; none: --vcpus without pinning'),
  flagOption('one-thread', 'one thread of each core; its siblings are left idle'),
  choiceOption('prefer', ['cache', 'frequency'], 'of unequal L3 clusters (X3D), the one with'),
  valueOption('cpu', 'MODEL', 'a CPU model such as core2duo instead of the host CPU itself'),
  choiceOption('chipset', ['q35', 'i440fx'], 'the board (default q35)'),
  choiceOption('firmware', ['efi', 'bios'], 'the firmware (default efi; windows7: bios)'),
  valueOption('loader', 'FILE', "a UEFI image of this host, instead of libvirt's choice"),
  flagOption('tpm', 'a TPM 2.0 (windows11 has one)'),
  flagOption('headless', 'after the installation: no SPICE, video, tablet, USB redirection or CD-ROMs'),

  flagOption('hide-kvm', 'hide the hypervisor; drivers of NVIDIA need it before 465'),
  valueOption('vendor-id', 'TEXT', "Hyper-V's name instead of Microsoft's: 1 to 12 characters"),
  valueOption('nvidia-driver', 'VERSION', "the guest's NVIDIA driver: what error 43 needs is done for old ones"),
  valueOption('libvirt', 'VERSION', "write for this libvirt (default the host's)"),
  valueOption('qemu', 'VERSION', "write for this QEMU (default the host's)"),

  flagOption('explain', 'say on standard error why each choice was made'),
  flagOption('msi-steps', 'print how a card is switched to MSI inside Windows, on standard error'),
  forceOption([checksFor(GUARDS, 'taking'), GUEST_CHECKS].flat()),
]
