// Kconfig symbols without CONFIG_, as in Linux 6.x, and their places in its menus.

const DRIVERS = 'Device Drivers'
const IOMMU = `${DRIVERS} → IOMMU Hardware Support`
const VFIO = `${DRIVERS} → VFIO Non-Privileged userspace driver framework`
const VFIO_PCI = `${VFIO} → VFIO support for PCI devices`
const KVM = 'Virtualization → Kernel-based Virtual Machine (KVM) support'
const NET = `${DRIVERS} → Network device support → Ethernet driver support`
const USB = `${DRIVERS} → USB support`

export interface KernelSymbol {
  symbol: string
  /** The least value: `y`: built in, for a symbol that can be no module; `m`: module or built in. */
  want: 'y' | 'm'
  /** `required`: nothing works without the symbol; `useful`: some feature is missing without it. */
  need: 'required' | 'useful'
  why: string
  menu: string
  /** Another symbol that serves as well when it is `y`. */
  orSymbol?: string
  /** The symbol for which Kconfig sets this one, without a prompt of its own. */
  setBy?: string
  /** The vendor of the CPUs that need it; without it, all do. */
  cpu?: 'intel' | 'amd'
  /** The first version that has the symbol; `before`: the first version that no longer has it. */
  from?: string
  before?: string
  /** Set where only graphics cards need it. */
  graphics?: true
  /** Set where it is not needed if IOMMUFD takes its place. */
  legacy?: true
}

/**
 * The symbols that guests with devices need. Sources: Kconfig in drivers/iommu, drivers/vfio and arch/x86/kvm;
 * VFIO_CONTAINER and IOMMUFD exist since 6.2, VFIO_GROUP since 6.6.
 */
export const KERNEL_SYMBOLS: readonly KernelSymbol[] = [
  { symbol: 'IOMMU_SUPPORT', want: 'y', need: 'required', why: 'drivers for IOMMUs', menu: IOMMU },
  {
    symbol: 'INTEL_IOMMU',
    want: 'y',
    need: 'required',
    cpu: 'intel',
    why: 'VT-d: there are no IOMMU groups without it',
    menu: `${IOMMU} → Support for Intel IOMMU using DMA Remapping Devices`,
  },
  {
    symbol: 'INTEL_IOMMU_DEFAULT_ON',
    want: 'y',
    need: 'useful',
    cpu: 'intel',
    orSymbol: 'INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF',
    why: 'the IOMMU is on without intel_iommu=on on the kernel command line',
    menu: `${IOMMU} → Enable Intel DMA Remapping Devices by default`,
  },
  {
    symbol: 'AMD_IOMMU',
    want: 'y',
    need: 'required',
    cpu: 'amd',
    why: 'AMD-Vi: there are no IOMMU groups without it',
    menu: `${IOMMU} → AMD IOMMU support`,
  },
  {
    symbol: 'IRQ_REMAP',
    want: 'y',
    need: 'required',
    why: 'without interrupt remapping VFIO refuses devices (allow_unsafe_interrupts would let guests forge interrupts)',
    menu: `${IOMMU} → Support for Interrupt Remapping`,
  },
  { symbol: 'VFIO', want: 'm', need: 'required', why: 'VFIO, by which QEMU gets devices', menu: VFIO },
  {
    symbol: 'VFIO_GROUP',
    want: 'y',
    need: 'required',
    from: '6.6.0',
    legacy: true,
    why: '/dev/vfio/GROUP, which QEMU and libvirt open',
    menu: `${VFIO} → Support for the VFIO group /dev/vfio/$group_id`,
  },
  {
    symbol: 'VFIO_CONTAINER',
    want: 'y',
    need: 'required',
    from: '6.2.0',
    legacy: true,
    why: '/dev/vfio/vfio, which QEMU and libvirt open',
    menu: `${VFIO} → Support for the VFIO container /dev/vfio/vfio`,
  },
  {
    symbol: 'VFIO_IOMMU_TYPE1',
    want: 'm',
    need: 'required',
    from: '6.2.0',
    legacy: true,
    setBy: 'VFIO_CONTAINER',
    why: "maps a guest's memory for its devices",
    menu: 'set by VFIO_CONTAINER',
  },
  {
    symbol: 'VFIO_IOMMU_TYPE1',
    want: 'm',
    need: 'required',
    before: '6.2.0',
    setBy: 'VFIO',
    why: "maps a guest's memory for its devices",
    menu: 'set by VFIO',
  },
  {
    symbol: 'VFIO_PCI',
    want: 'm',
    need: 'required',
    why: 'vfio-pci, the driver that holds devices for guests',
    menu: `${VFIO_PCI} → Generic VFIO support for any PCI device`,
  },
  {
    symbol: 'VFIO_VIRQFD',
    want: 'm',
    need: 'required',
    before: '6.2.0',
    setBy: 'VFIO_PCI',
    why: "interrupts of a guest's devices; a part of VFIO since 6.2",
    menu: 'set by VFIO_PCI',
  },
  {
    symbol: 'VFIO_PCI_VGA',
    want: 'y',
    need: 'useful',
    graphics: true,
    why: 'legacy VGA of a graphics card, for guests that boot by BIOS (x-vga=on); UEFI guests need none',
    menu: `${VFIO_PCI} → Generic VFIO PCI support for VGA devices`,
  },
  {
    symbol: 'IOMMUFD',
    want: 'm',
    need: 'useful',
    from: '6.2.0',
    why: 'what is to replace /dev/vfio/vfio (QEMU 9.0; libvirt 12.1)',
    menu: `${IOMMU} → IOMMU Userspace API`,
  },
  {
    symbol: 'PCI_QUIRKS',
    want: 'y',
    need: 'useful',
    why: 'knows which devices isolate though they do not say so, and which resets work',
    menu: `${DRIVERS} → PCI support → Enable PCI quirk workarounds (on, and asked with CONFIG_EXPERT only)`,
  },
  { symbol: 'KVM', want: 'm', need: 'required', why: 'virtual machines at full speed', menu: KVM },
  {
    symbol: 'KVM_INTEL',
    want: 'm',
    need: 'required',
    cpu: 'intel',
    why: 'KVM on this CPU (VT-x)',
    menu: `${KVM} → KVM for Intel (and compatible) processors support`,
  },
  {
    symbol: 'KVM_AMD',
    want: 'm',
    need: 'required',
    cpu: 'amd',
    why: 'KVM on this CPU (AMD-V)',
    menu: `${KVM} → KVM for AMD processors support`,
  },
  {
    symbol: 'TUN',
    want: 'm',
    need: 'useful',
    why: "a network interface for each guest's network card",
    menu: `${DRIVERS} → Network device support → Network core driver support → Universal TUN/TAP device driver support`,
  },
  {
    symbol: 'BRIDGE',
    want: 'm',
    need: 'useful',
    why: 'guests on the network of the host, and the network that libvirt sets up',
    menu: 'Networking support → Networking options → 802.1d Ethernet Bridging',
  },
  {
    symbol: 'VHOST_NET',
    want: 'm',
    need: 'useful',
    why: 'network cards of guests without a detour through QEMU',
    menu: `${DRIVERS} → VHOST drivers → Host kernel accelerator for virtio net`,
  },
  {
    symbol: 'HUGETLBFS',
    want: 'y',
    need: 'useful',
    why: 'memory of guests in huge pages',
    menu: 'File systems → Pseudo filesystems → HugeTLB file system support',
  },
]

export interface DriverSymbol {
  symbol: string
  menu: string
  /** The symbol that a person sets, which this one follows. */
  setBy?: string
}

const graphicsMenu = (prompt: string): string => `${DRIVERS} → Graphics support → ${prompt}`

/** The symbols that build modules, by module name, for the usual drivers of devices for guests. */
export const DRIVER_SYMBOLS: Readonly<Record<string, DriverSymbol>> = {
  nouveau: { symbol: 'DRM_NOUVEAU', menu: graphicsMenu('Nouveau (NVIDIA) cards') },
  nova_core: { symbol: 'NOVA_CORE', menu: graphicsMenu('Nova Core GPU driver') },
  nvidiafb: { symbol: 'FB_NVIDIA', menu: graphicsMenu('Frame buffer Devices → nVidia Framebuffer Support') },
  amdgpu: { symbol: 'DRM_AMDGPU', menu: graphicsMenu('AMD GPU') },
  radeon: { symbol: 'DRM_RADEON', menu: graphicsMenu('ATI Radeon') },
  i915: { symbol: 'DRM_I915', menu: graphicsMenu('Intel 8xx/9xx/G3x/G4x/HD Graphics') },
  xe: { symbol: 'DRM_XE', menu: graphicsMenu('Intel Xe2 Graphics') },
  ast: { symbol: 'DRM_AST', menu: graphicsMenu('AST server chips') },
  snd_hda_intel: {
    symbol: 'SND_HDA_INTEL',
    menu: `${DRIVERS} → Sound card support → Advanced Linux Sound Architecture → HD-Audio → HD Audio PCI`,
  },
  xhci_pci: { symbol: 'USB_XHCI_PCI', setBy: 'USB_XHCI_HCD', menu: `${USB} → xHCI HCD (USB 3.0) support` },
  ehci_pci: { symbol: 'USB_EHCI_PCI', setBy: 'USB_EHCI_HCD', menu: `${USB} → EHCI HCD (USB 2.0) support` },
  ohci_pci: { symbol: 'USB_OHCI_HCD_PCI', menu: `${USB} → OHCI support for PCI-bus USB controllers` },
  uhci_hcd: { symbol: 'USB_UHCI_HCD', menu: `${USB} → UHCI HCD (most Intel and VIA) support` },
  i2c_nvidia_gpu: {
    symbol: 'I2C_NVIDIA_GPU',
    menu: `${DRIVERS} → I2C support → I2C Hardware Bus support → NVIDIA GPU I2C controller`,
  },
  e1000e: { symbol: 'E1000E', menu: `${NET} → Intel devices` },
  igb: { symbol: 'IGB', menu: `${NET} → Intel devices` },
  igc: { symbol: 'IGC', menu: `${NET} → Intel devices` },
  ixgbe: { symbol: 'IXGBE', menu: `${NET} → Intel devices` },
  i40e: { symbol: 'I40E', menu: `${NET} → Intel devices` },
  ice: { symbol: 'ICE', menu: `${NET} → Intel devices` },
  r8169: { symbol: 'R8169', menu: `${NET} → Realtek devices` },
  tg3: { symbol: 'TIGON3', menu: `${NET} → Broadcom devices` },
  mlx5_core: { symbol: 'MLX5_CORE', menu: `${NET} → Mellanox devices` },
  atlantic: { symbol: 'AQTION', menu: `${NET} → aQuantia devices` },
  nvme: { symbol: 'BLK_DEV_NVME', menu: `${DRIVERS} → NVME Support → NVM Express block device` },
  ahci: {
    symbol: 'SATA_AHCI',
    menu: `${DRIVERS} → Serial ATA and Parallel ATA drivers (libata) → AHCI SATA support`,
  },
}
