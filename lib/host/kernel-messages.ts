/** A kind of line in the kernel log that is about a device. */
interface MessageKind {
  says: RegExp
  /** Did the device fail to come back from a reset or from sleep? */
  lost: boolean
  next: string
}

/** The step that brings back a device that does not answer. */
export const POWER_OFF = 'power the host off, a reboot may not do'

// Source: pci_dev_wait() and pci_power_up() in drivers/pci/pci.c, drivers/pci/rom.c, pci_request_region() (newer
// kernels write the region before `can't reserve`), drivers/iommu/intel/dmar.c, drivers/iommu/amd/iommu.c.
const MESSAGE_KINDS: readonly MessageKind[] = [
  { says: /not ready \d+ms after .*; giving up/, lost: true, next: POWER_OFF },
  {
    says: /(?:Unable to|can't) change power state from (?:D3cold|unknown) to D0|Refused to change power state, currently in D3/,
    lost: true,
    next: POWER_OFF,
  },
  {
    says: /No more image in the PCI ROM|Invalid PCI ROM (?:header|data) signature/,
    lost: false,
    next: 'its ROM cannot be read: give the guest a ROM file (gen-domain --rom FILE)',
  },
  {
    says: /can't reserve/,
    lost: false,
    next: 'somebody else holds its memory: look at the finding framebuffer and at /proc/iomem',
  },
  {
    says: /DMAR: .*Request device|IO_PAGE_FAULT/,
    lost: false,
    next: 'it reached for memory that it was not given: unless that was once, early in the boot, look at its driver or at the reset after its last guest',
  },
]

/** The last line of one kind that the kernel wrote about a device. */
export interface KernelMessage {
  address: string
  line: string
  lost: boolean
  next: string
}

/**
 * The address in a line. IOMMU faults of Intel's, and of older kernels on AMD, leave the domain out: it is 0000
 * wherever there is only one.
 */
const ADDRESS = /(?<![0-9a-f:.])(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}:[01][0-9a-f]\.[0-7])(?![0-9a-f])/

/** Returns the lines of the kernel log that speak against devices, in the log's order. */
export function findKernelMessages(log: string): KernelMessage[] {
  const last = new Map<string, KernelMessage>()
  for (const text of log.split('\n')) {
    const kind = MESSAGE_KINDS.find(({ says }) => says.test(text))
    const [, domain = '0000', rest] = (kind && ADDRESS.exec(text)) ?? []
    if (kind === undefined || rest === undefined) continue
    const address = `${domain}:${rest}`
    const key = `${address} ${kind.says.source}`
    last.delete(key)
    last.set(key, { address, line: text.trim(), lost: kind.lost, next: kind.next })
  }
  return [...last.values()]
}
