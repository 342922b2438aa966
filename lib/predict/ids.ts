import type { PciDevice } from '../host/pci.ts'

/** An entry of `ids=` as the kernel reads it; `null` matches everything. Numbers are 32 bits, the class 24. */
export interface DynamicId {
  vendor: number | null
  device: number | null
  subvendor: number | null
  subdevice: number | null
  class: number
  mask: number
}

/** A list is cut off by nothing: a longer one is refused, and the module with it. */
const LONGEST_LIST = 1023
const ANY = 0xffffffff

/** Is the list too long, so that a module is not loaded with it? Source: param_set_copystring() in params.c. */
export function isTooLong(list: string): boolean {
  return list.length > LONGEST_LIST
}

/**
 * Returns the IDs that vfio-pci or pci-stub takes from a list; entries that it refuses are left out.
 * Source: vfio_pci_fill_ids() in the kernel's vfio_pci.c, and pci_stub_init().
 */
export function parseDynamicIds(list: string): DynamicId[] {
  return list.split(',').flatMap((entry) => {
    const fields = readNumbers(entry)
    const [vendor, device, subvendor = ANY, subdevice = ANY, type = 0, mask = 0] = fields
    if (vendor === undefined || device === undefined) return []
    const orAny = (value: number): number | null => (value === ANY ? null : value)
    return [
      {
        vendor: orAny(vendor),
        device: orAny(device),
        subvendor: orAny(subvendor),
        subdevice: orAny(subdevice),
        class: type,
        mask,
      },
    ]
  })
}

/** Reads `%x:%x:…` as sscanf() of the kernel does: it ends at the first field that is no number. */
function readNumbers(entry: string): number[] {
  const numbers: number[] = []
  let rest = entry
  while (numbers.length < 6) {
    const found = /^\s*(?:0x)?([0-9a-f]{1,8})/i.exec(rest)
    if (found === null) break
    numbers.push(Number.parseInt(found[1] ?? '', 16))
    rest = rest.slice(found[0].length)
    if (!rest.startsWith(':')) break
    rest = rest.slice(1)
  }
  return numbers
}

/** Does the ID match the function? Source: pci_match_one_device() in the kernel's drivers/pci/pci.h. */
export function matchesDynamicId(id: DynamicId, { vendor, device, subsystem, class: type }: PciDevice): boolean {
  const same = (wanted: number | null, value: string | undefined): boolean =>
    wanted === null || wanted === Number.parseInt(value ?? '0', 16)
  return (
    same(id.vendor, vendor.id) &&
    same(id.device, device.id) &&
    same(id.subvendor, subsystem?.vendor) &&
    same(id.subdevice, subsystem?.device) &&
    ((id.class ^ Number.parseInt(type.id + type.progIf, 16)) & id.mask) === 0
  )
}
