import { checksFor } from '../checks/check.ts'
import { GUARDS, GUEST_CHECKS } from '../checks/registry.ts'
import { ATTACHED_DEVICES, BUILT_IN_DEVICES } from '../guest/devices/guest-devices.ts'
import { PRESETS } from '../guest/guest.ts'
import { choiceOption, flagOption, listOption, valueOption } from '../guest/guest-arguments.ts'
import type { Option } from '../terminal/options.ts'
import { forceOption } from './force.ts'

/** The options of gen-domain. */
export const DOMAIN_OPTIONS: readonly Option[] = [
  valueOption('name', 'NAME', "the new guest's name: letters, digits and . _ + -"),
  choiceOption('guest', PRESETS, 'what will run in it'),
  choiceOption(
    'format',
    ['libvirt', 'qemu', 'proxmox'],
    'what is printed: XML, a shell script that starts QEMU, or a command for Proxmox (default libvirt)',
  ),
  valueOption('vmid', 'ID', 'with --format proxmox: a new VM, or one that gets what it lacks'),
  valueOption('storage', 'NAME', 'with --format proxmox: where new disks lie, where several storages take them'),
  valueOption('patch', 'FILE', 'change this domain instead of making one; - is standard input'),
  listOption('remove', 'DEVICE', 'with --patch: take this device out again'),
  flagOption('diff', 'with --patch: show what changes instead of the whole domain'),

  ...ATTACHED_DEVICES.flatMap(({ options }) => options),

  valueOption('memory', 'SIZE', "16G, 8192M (default half of the host's, 16G at most)"),
  valueOption('hugepages', 'SIZE', 'memory in hugepages of this size: 2M, 1G'),
  valueOption('vcpus', 'N', 'this many vCPUs, pinned to whole cores near the card'),
  valueOption('cores', 'N', 'this many cores with all their threads, pinned'),
  choiceOption(
    'pin',
    ['all-cores', 'all-threads', 'none'],
    'all cores but what the host keeps; all-threads: nothing is kept; none: --vcpus without pinning',
  ),
  flagOption('one-thread', 'one thread of each core; its siblings are left idle'),
  choiceOption('prefer', ['cache', 'frequency'], 'of unequal L3 clusters (X3D), the one with'),
  valueOption('cpu', 'MODEL', 'a CPU model such as core2duo instead of the host CPU itself'),
  choiceOption('chipset', ['q35', 'i440fx'], 'the board (default q35)'),
  choiceOption('firmware', ['efi', 'bios'], 'the firmware (default efi; windows7: bios)'),
  valueOption('loader', 'FILE', "a UEFI image of this host, instead of libvirt's choice"),
  ...BUILT_IN_DEVICES.flatMap(({ options }) => options),

  flagOption('hide-kvm', 'hide the hypervisor; drivers of NVIDIA need it before 465'),
  valueOption('vendor-id', 'TEXT', "Hyper-V's name instead of Microsoft's: 1 to 12 characters"),
  valueOption('nvidia-driver', 'VERSION', "the guest's NVIDIA driver: what error 43 needs is done for old ones"),
  valueOption('libvirt', 'VERSION', "write for this libvirt (default the host's)"),
  valueOption('qemu', 'VERSION', "write for this QEMU (default the host's)"),

  flagOption('explain', 'say on standard error why each choice was made'),
  flagOption('msi-steps', 'print how a card is switched to MSI inside Windows, on standard error'),
  forceOption([checksFor(GUARDS, 'taking'), GUEST_CHECKS].flat()),
]
