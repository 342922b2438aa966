import { isDisplay, type PciDevice } from '../host/pci.ts'

/** A family of cards that is known not to come back from a guest, with the source. */
export interface KnownQuirk {
  vendor: string
  family: string
  /** The text on what happens. */
  what: string
  /** The text on what is reported to help; `null` where the vendor-reset module knows the family. */
  way: string | null
  /** The address of the page that reports it. */
  source: string
  /** The month of the first report that was read, or of the release that knows the family. */
  since: string
  /** `driver`: a driver was written for it. `reports`: several people say so. `report`: one does. */
  sure: 'driver' | 'reports' | 'report'
  /** Does any reset lose the card until the host reboots? Then none may be advised. */
  harmful: boolean
}

type QuirkDetails = Omit<KnownQuirk, 'vendor' | 'family'>

/** The first and last device ID of a family, its name, and its quirk. */
type QuirkRow = readonly [first: number, last: number, family: string, trouble: QuirkDetails]

const GITHUB = 'https://github.com/'

const VENDOR_RESET: QuirkDetails = {
  what: 'known not to come back from a reset',
  way: null,
  source: `${GITHUB}gnif/vendor-reset`,
  since: '2020-11',
  sure: 'driver',
  harmful: false,
}

/** The quirk of Radeons that the vendor-reset module as released does not know. */
const radeonQuirk = (source: string, since: string, sure: QuirkDetails['sure']): QuirkDetails => ({
  what: 'reported not to come back once its guest has stopped, and vendor-reset as released does not know it',
  way: 'reported to help: end the guest from inside, never by force; suspend the host for a moment before the next start',
  source: GITHUB + source,
  since,
  sure,
  harmful: false,
})

const integratedQuirk = (issue: number, since: string): QuirkDetails => ({
  what: 'reported not to come back once its guest was restarted, or stopped by force',
  way: 'reported to help: RadeonResetBugFix in a Windows guest; else the host has to reboot',
  source: `${GITHUB}isc30/ryzen-gpu-passthrough-proxmox/issues/${issue}`,
  since,
  sure: 'reports',
  harmful: false,
})

const INSTINCT: QuirkDetails = {
  what: 'reported to be lost after any reset of the physical function, and VFIO resets it: its configuration space reads ff until the host reboots',
  way: 'give guests its virtual functions (GIM driver), which are reported to be fine',
  source: `${GITHUB}amd/MxGPU-Virtualization/issues/25`,
  since: '2026-07',
  sure: 'report',
  harmful: true,
}

const BLACKWELL: QuirkDetails = {
  what: 'reported not to answer any more after its guest has shut down, until the host reboots',
  way: 'reported to help: bound from the boot on, and kept out of D3cold (echo 0 > d3cold_allowed of the function)',
  source: 'https://www.guiahardware.es/rtx-5090-y-rtx-6000-pro-el-bug-de-reset-en-virtualizacion-que-congela-las-vms',
  since: '2025-09',
  sure: 'reports',
  harmful: false,
}

// IDs from pci.ids, as ranges where a family owns them whole; those of the vendor-reset module, and Vega 12.
const AMD_QUIRKS: readonly QuirkRow[] = [
  [0x67c0, 0x67df, 'Polaris 10', VENDOR_RESET],
  [0x6fdf, 0x6fdf, 'Polaris 10', VENDOR_RESET],
  [0x67e0, 0x67ff, 'Polaris 11', VENDOR_RESET],
  [0x6980, 0x699f, 'Polaris 12', VENDOR_RESET],
  [0x6860, 0x687f, 'Vega 10', VENDOR_RESET],
  [0x69a0, 0x69af, 'Vega 12', VENDOR_RESET],
  [0x66a0, 0x66af, 'Vega 20', VENDOR_RESET],
  [0x7310, 0x731f, 'Navi 10', VENDOR_RESET],
  [0x7360, 0x7362, 'Navi 12', VENDOR_RESET],
  [0x7340, 0x734f, 'Navi 14', VENDOR_RESET],
  [0x7440, 0x745f, 'Navi 31', radeonQuirk('gnif/vendor-reset/issues/65', '2023-03', 'report')],
  [0x7460, 0x747f, 'Navi 32', radeonQuirk('gnif/vendor-reset/issues/97', '2025-03', 'reports')],
  [
    0x7550,
    0x7551,
    'Navi 48',
    radeonQuirk('urbanyl/GPU-Passthrough-for-KVM-QEMU-on-Linux/issues/4', '2026-09', 'report'),
  ],
  [0x7590, 0x7590, 'Navi 44', radeonQuirk('gnif/vendor-reset/issues/107', '2026-01', 'report')],
  [0x15bf, 0x15bf, 'Phoenix', integratedQuirk(33, '2024-04')],
  [0x15c8, 0x15c8, 'Phoenix', integratedQuirk(33, '2024-04')],
  // Hawk Point, a later edition of Phoenix.
  [0x1900, 0x1901, 'Phoenix', integratedQuirk(33, '2024-04')],
  [0x164e, 0x164e, 'Raphael', integratedQuirk(135, '2025-08')],
  // Granite Ridge has the same GPU.
  [0x13c0, 0x13c0, 'Raphael', integratedQuirk(135, '2025-08')],
  [0x74a1, 0x74a1, 'Instinct MI300X', INSTINCT],
  // The report calls it an MI300X, pci.ids an MI210.
  [0x740f, 0x740f, 'Instinct MI300X', INSTINCT],
  [0x75a3, 0x75a3, 'Instinct MI355X', INSTINCT],
]

const NVIDIA_QUIRKS: readonly QuirkRow[] = [
  // The RTX 5090 D is among them.
  [0x2b85, 0x2b8c, 'GeForce RTX 5090', BLACKWELL],
  [0x2bb1, 0x2bb1, 'RTX PRO 6000 Blackwell', BLACKWELL],
  [0x2bb4, 0x2bb5, 'RTX PRO 6000 Blackwell', BLACKWELL],
]

/** Finds the known quirk of a function by its ID, if it is a GPU or accelerator and no virtual function. */
export function findKnownQuirk(device: PciDevice): KnownQuirk | undefined {
  const vendor = { '1002': 'AMD', '10de': 'NVIDIA' }[device.vendor.id]
  if (vendor === undefined || device.physicalFunction !== null) return undefined
  if (!isDisplay(device) && !device.class.id.startsWith('12')) return undefined
  const id = Number.parseInt(device.device.id, 16)
  const row = (vendor === 'AMD' ? AMD_QUIRKS : NVIDIA_QUIRKS).find(([first, last]) => id >= first && id <= last)
  return row && { vendor, family: row[2], ...row[3] }
}
