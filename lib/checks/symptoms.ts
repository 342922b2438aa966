/** A message that people meet and search for, and what it means. */
export interface Symptom {
  /** The message, or what is seen, as people search for it. */
  title: string
  /** The texts that it is recognised by. */
  says: RegExp
  /** The meaning, in sentences for people who do not know it yet. */
  means: string
  /** The command that finds the cause. ADDRESS stands for the card. */
  find: string
  /** The commands or steps that mend it. */
  mend: string
  /** The checks of check-host that see the cause on this machine. */
  codes: readonly string[]
}

const CARD = 'check-host --device ADDRESS'
const POWER_OFF = 'shut the host down and switch it off; a reboot may not do'

/**
 * The messages that are explained. Sources: drivers/vfio/vfio_main.c, vfio_iommu_type1.c and pci/vfio_pci_core.c,
 * drivers/iommu/iommu.c and drivers/pci/{pci,rom}.c of Linux; hw/vfio/{container,pci}.c of QEMU; src/hypervisor/
 * virhostdev.c, src/qemu/qemu_firmware.c of libvirt.
 */
export const SYMPTOMS: readonly Symptom[] = [
  {
    title: 'vfio 0000:01:00.0: group 1 is not viable',
    says: /group \d+ is not viable|all devices (?:with)?in (?:the iommu_)?group .*bound to/i,
    means:
      'Another device of the same IOMMU group still has a driver of the host. A guest gets all of a group or none of it.',
    find: 'list-iommu ADDRESS --with-group',
    mend: 'bind-vfio ADDRESS --apply (it takes the whole group along); where the group holds what the host needs, put the card into another slot',
    codes: ['groups', 'half-group', 'next-boot', 'drivers'],
  },
  {
    title: 'Firmware has requested this device have a 1:1 IOMMU mapping',
    says: /1:1 IOMMU mapping|ineligible for IOMMU domain attach due to platform RMRR/i,
    means:
      'The firmware wants memory of the host mapped for this device for ever. Linux therefore gives it to no guest.',
    find: CARD,
    mend: 'the finding reserved-region says what helps on this board: a switch in the firmware setup, an update, or another slot',
    codes: ['reserved-region'],
  },
  {
    title: "BAR 1: can't reserve",
    says: /BAR \d+.*can't reserve|can't reserve \[mem/i,
    means:
      "Something of the host holds memory of the card. Mostly it is the firmware's picture of the boot (efifb, simpledrm).",
    find: CARD,
    mend: 'let the host show its console on another card (firmware setup); else add initcall_blacklist=sysfb_init to the kernel command line, and reboot',
    codes: ['framebuffer', 'device-log', 'boot-vga', 'console'],
  },
  {
    title: 'Failed to mmap 0000:01:00.0 BAR 1. Performance may be slow',
    says: /Failed to mmap .*BAR|Performance may be slow/i,
    means:
      'QEMU could not map memory of the card directly. Something of the host still holds it, so that the guest is slow or shows nothing.',
    find: CARD,
    mend: 'let the host show its console on another card (firmware setup); else add initcall_blacklist=sysfb_init to the kernel command line, and reboot',
    codes: ['framebuffer', 'device-log', 'boot-vga', 'console'],
  },
  {
    title: 'Unable to change power state from D3cold to D0, device inaccessible',
    says: /change power state from (?:D3cold|unknown|D3hot) to D0|Refused to change power state|stuck in D3/i,
    means:
      'The card did not wake up from its deepest sleep, or did not come back from a reset. It does not answer any more.',
    find: 'check-reset ADDRESS',
    mend: `${POWER_OFF}. Where it happens again: echo 0 > /sys/bus/pci/devices/ADDRESS/d3cold_allowed before the guest starts`,
    codes: ['device-log', 'no-answer', 'reset'],
  },
  {
    title: "Unknown PCI header type '127'",
    says: /header type '?(?:127|0x7f)/i,
    means:
      'The card does not answer any more: all that is read of it is ff. Most often a reset failed after its last guest.',
    find: 'check-reset ADDRESS',
    mend: POWER_OFF,
    codes: ['no-answer', 'reset', 'device-log'],
  },
  {
    title: 'Cannot reset device, no available reset mechanism',
    says: /no available reset mechanism|not ready \d+ms after .*giving up/i,
    means:
      'The kernel knows no way to reset this function alone, or its reset failed. The guest may start once, and then not again before the host was switched off.',
    find: 'check-reset ADDRESS',
    mend: 'give the guest all functions of the card (gen-domain --gpu ADDRESS does); for AMD Polaris, Vega and Navi 1x, the vendor-reset module',
    codes: ['reset', 'device-log', 'partial-card'],
  },
  {
    title: 'VFIO_MAP_DMA failed: Cannot allocate memory',
    says: /VFIO_MAP_DMA.*Cannot allocate memory|RLIMIT_MEMLOCK|vfio_dma_map.*-12/i,
    means: 'The guest with a device needs all of its memory locked, and the user who starts it may not lock that much.',
    find: 'check-host',
    mend: 'tune-host --vfio-group kvm --memory 16G --apply (with the memory of the guest), and log in again; under libvirt, give the guest less memory or set hard_limit in its memtune',
    codes: ['memory-lock', 'hugepages', 'hugepages-given'],
  },
  {
    title: 'VFIO_MAP_DMA failed: Invalid argument',
    says: /VFIO_MAP_DMA.*Invalid argument|vfio_dma_map.*-22/i,
    means:
      'The guest wants its memory at addresses that the IOMMU of this host does not reach. Newer firmware for guests places large BARs that high.',
    find: 'list-iommu --json',
    mend: 'gen-domain writes a limit for it by itself: make the guest anew, or gen-domain --patch vm.xml',
    codes: ['iommu'],
  },
  {
    title: 'failed to set iommu for container: Operation not permitted',
    says: /set iommu for container|No interrupt remapping|allow_unsafe_interrupts|interrupt remapping (?:is )?not/i,
    means:
      'Interrupts are not remapped on this host, so that a guest could raise any interrupt of the host. VFIO therefore refuses.',
    find: 'check-host',
    mend: 'switch VT-d (or AMD-Vi) and x2APIC on in the firmware setup, or update it; at your own risk: tune-host --unsafe-interrupts --force unsafe-interrupts --apply',
    codes: ['interrupt-remapping', 'iommu', 'dangerous-settings'],
  },
  {
    title: 'no iommu_group found, or: there are no IOMMU groups',
    says: /no iommu[_ ]group|iommu_group: No such file|host doesn't support passthrough of host PCI devices|device assignment is not supported by the host/i,
    means:
      'The IOMMU is off: in the firmware setup, on the kernel command line, or in the kernel. Or the kernel has no VFIO groups, without which libvirt gives no device to a guest.',
    find: 'check-host',
    mend: 'bind-vfio ADDRESS --apply adds the kernel argument; the firmware setup has VT-d, AMD-Vi or SVM and IOMMU',
    codes: ['iommu', 'cpu-virtualisation', 'kernel-arguments', 'kernel-config'],
  },
  {
    title: 'Device is already in use',
    says: /already in use|is in use by driver|Device or resource busy/i,
    means: 'Another guest or a program of the host has the device open.',
    find: CARD,
    mend: 'shut the other guest down (virsh list), or end the program that the finding in-use names',
    codes: ['in-use', 'storage', 'network', 'drivers'],
  },
  {
    title: 'nvidia still has the card',
    says: /\b(?:nvidia|nouveau|amdgpu|radeon|i915|xe)\b.*(?:still has|still bound|in use)|Kernel driver in use: (?!vfio)\w+/i,
    means: 'A driver of the host took the card at the boot before vfio-pci could, or it was bound again since.',
    find: 'bind-vfio --status, and before the reboot bind-vfio --predict',
    mend: 'bind-vfio ADDRESS --apply, and reboot; of two equal cards: override-same-id-gpu ADDRESS --apply',
    codes: ['drivers', 'next-boot', 'images', 'boot-entries', 'kernel-arguments', 'modprobe-ids'],
  },
  {
    title: '/dev/vfio/14: Permission denied',
    says: /\/dev\/(?:vfio\/\w+|iommu\b).*Permission denied/i,
    means:
      'The user who starts the guest may not open the device or its IOMMU group. libvirt does that for its own guests.',
    find: 'check-host',
    mend: 'tune-host --vfio-group kvm --memory 16G --apply, and log in again',
    codes: ['user-groups', 'memory-lock'],
  },
  {
    title: '/dev/vfio/14: No such file or directory',
    says: /\/dev\/vfio\/\w+.*No such file/i,
    means:
      'No device of this IOMMU group is on vfio-pci, or the kernel gives devices to guests by iommufd alone, without groups.',
    find: 'bind-vfio --status; list-iommu ADDRESS --with-group',
    mend: 'bind-vfio ADDRESS --apply, and reboot; with a kernel without CONFIG_VFIO_GROUP only QEMU alone starts such a guest, and gen-domain says so',
    codes: ['drivers', 'vfio-modules', 'kernel-config'],
  },
  {
    title: 'Could not access KVM kernel module',
    says: /access KVM kernel module|failed to initialize kvm|KVM is not available|\/dev\/kvm.*(?:denied|No such)/i,
    means: 'The CPU cannot run guests, it is switched off in the firmware setup, or this user may not use it.',
    find: 'check-host',
    mend: 'switch VT-x or SVM on in the firmware setup; else do what the findings kvm and user-groups say',
    codes: ['cpu-virtualisation', 'kvm', 'user-groups'],
  },
  {
    title: 'Code 43',
    says: /code 43|error 43/i,
    means:
      'The driver in Windows refused the card. NVIDIA did so in guests before version 465; else the ROM or a missing reset is the cause.',
    find: CARD,
    mend: 'update the driver in the guest; before 465: gen-domain --patch vm.xml --hide-kvm --vendor-id none43; then a ROM file: gen-domain --rom FILE',
    codes: ['rom', 'rom-file', 'reset', 'framebuffer'],
  },
  {
    title: 'Black screen: the monitor on the card shows nothing',
    says: /black screen|no (?:signal|display|output|picture)|blank screen|Invalid PCI ROM (?:header|data)|No more image in the PCI ROM/i,
    means:
      'The firmware of the guest cannot start the card. Its ROM is not readable or has no UEFI image, or the host still draws on it.',
    find: `${CARD} --rom FILE`,
    mend: 'gen-domain --rom FILE with a ROM that was read while another card showed the console; then the driver in the guest; check the input of the monitor',
    codes: ['rom', 'rom-file', 'framebuffer', 'boot-vga', 'reset', 'device-log'],
  },
  {
    title: "Unable to find any firmware to satisfy 'efi'",
    says: /Unable to find any firmware to satisfy|Unable to find 'efi' firmware/i,
    means: 'No UEFI firmware for guests (OVMF) is installed, or none has what the guest asks for.',
    find: 'check-host',
    mend: 'tune-host --packages --apply; else gen-domain without --loader, which chooses what is there',
    codes: ['ovmf', 'libvirt'],
  },
  {
    title: 'The guest does not stop, or hangs when it shuts down',
    says: /(?:guest|vm|domain|machine).*(?:does not|doesn't|will not|won't|not) (?:stop|shut ?down)|hangs? (?:at|on|when|during) .*shut ?down|Failed to terminate process/i,
    means: 'The card cannot be reset when the guest gives it back, and the kernel waits for it.',
    find: 'check-reset ADDRESS',
    mend: `${POWER_OFF}. For AMD Polaris, Vega and Navi 1x, the vendor-reset module; else shut the guest down only together with the host`,
    codes: ['reset', 'device-log'],
  },
  {
    title: 'Sound crackles, or stutters',
    says: /crackl|stutter|(?:sound|audio).*(?:distort|pops?\b)/i,
    means: 'The guest gets its interrupts late. It shares a line of interrupts, or the host takes its CPUs away.',
    find: CARD,
    mend: 'gen-domain --msi-steps says how Windows switches the card to MSI; tune-host --isolate 8 --near ADDRESS --apply; tune-host --governor performance --apply',
    codes: ['shared-interrupts', 'governor'],
  },
  {
    title: 'DMAR: fault status, or IO_PAGE_FAULT',
    says: /DMAR:.*(?:fault|Request device)|IO_PAGE_FAULT/i,
    means: 'The device reached for memory that it was not given, and the IOMMU stopped it.',
    find: CARD,
    mend: 'once, early in the boot, it is harmless; else update the driver in the guest, and look at check-reset ADDRESS',
    codes: ['device-log', 'reset', 'reserved-region'],
  },
  {
    title: "network 'default' is not active",
    says: /network '?[\w-]+'? is not active/i,
    means: 'The network of libvirt that the guest is in has not been started.',
    find: 'virsh net-list --all',
    mend: 'virsh net-start default && virsh net-autostart default',
    codes: ['libvirt-running'],
  },
]

/** A symptom that a text shows, with the line, and the address in it as `0000:01:00.0`, where it has one. */
export interface Recognised {
  symptom: Symptom
  line: string
  address: string | null
}

/** Returns the symptoms that a text shows, each once, by the last line that does. */
export function recognise(text: string): Recognised[] {
  const found = new Map<Symptom, Recognised>()
  for (const line of text.split(/\r?\n/)) {
    for (const symptom of SYMPTOMS.filter(({ says, title }) => says.test(line) || line.trim() === title)) {
      const [, domain = '0000', rest] =
        /(?<![\w:.])(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}:[01][0-9a-f]\.[0-7])(?!\w)/.exec(line) ?? []
      found.set(symptom, { symptom, line: line.trim(), address: rest === undefined ? null : `${domain}:${rest}` })
    }
  }
  return [...found.values()]
}
