import { type CheckResult, evidenceResult } from '../core/finding.ts'
import { cardOf, isDisplay, isPciBridge, isVfio, onRootBus, type PciDevice } from '../host/pci.ts'
import type { Check } from './check.ts'
import type { Guard } from './check-facts.ts'

export const bridgeGuard: Guard<'requested'> = {
  code: 'bridge',
  askedBy: ['taking', 'bound', 'hand-over'],
  run({ requested }) {
    const bridges = requested.filter((device) => device.bridge)
    return evidenceResult({
      problem: 'A bridge cannot be given to a guest',
      ok: 'No bridge was named',
      next: 'name the devices below it; bridges of a group stay with the host',
      evidence: bridges.map(
        (device) => `${device.address} is a bridge (class ${device.class.id}): ${deviceTitle(device)}`,
      ),
    })
  },
}

/**
 * Would an IOMMU group be bound in part? A device of it that stays must not have a driver: the kernel refuses the group
 * while one does DMA for the host (drivers/iommu/iommu.c, iommu_group_claim_dma_owner; PCI bridges' portdrv is exempt).
 */
export const halfGroupGuard: Guard<'pci' | 'selected' | 'usage'> = {
  code: 'half-group',
  askedBy: ['taking', 'bound', 'hand-over'],
  run({ pci: { groups }, selected, usage }) {
    const bound = new Set(selected)
    const own = new Set(usage.mdevs.map(({ name }) => name))
    const evidence = groups
      .filter((group) => group.devices.some((device) => bound.has(device)))
      .flatMap((group) => [
        ...group.others
          .filter(({ name }) => !own.has(name))
          .map(({ name, bus }) => `group ${group.id}: ${name} (${bus ?? 'no PCI device'}) cannot go along`),
        ...group.devices
          .filter((device) => !device.bridge && !bound.has(device))
          .map((device) => `group ${group.id}: ${device.address} is not among the chosen devices`),
        ...group.devices
          .filter((device) => device.bridge && !isPciBridge(device) && blocksGroup(device))
          .map((device) => `group ${group.id}: ${device.address} is a bridge and stays with ${device.driver}`),
      ])
    return evidenceResult({
      problem: 'The IOMMU group would be left half bound, which VFIO refuses',
      ok: 'The guest gets each IOMMU group as a whole',
      next: 'put the card into another slot, or choose a device that shares its IOMMU group with no other (list-iommu)',
      evidence,
    })
  },
}

function blocksGroup({ driver }: PciDevice): boolean {
  return driver !== null && driver !== 'pcieport' && !isVfio(driver)
}

/** Does the host keep a display controller? One that is set aside for guests already does not count. */
export const onlyGpuGuard: Guard<'pci' | 'selected'> = {
  code: 'only-gpu',
  forceable: true,
  askedBy: ['taking', 'also-taken'],
  run({ pci: { devices: all }, selected }) {
    const bound = new Set(selected)
    const displays = selected.filter((device) => isDisplay(device) && device.physicalFunction === null)
    const staying = all.filter(
      (device) => isDisplay(device) && !bound.has(device) && device.physicalFunction === null && !isVfio(device.driver),
    )
    return evidenceResult({
      problem: 'No GPU would be left for the host',
      unknown: 'It is not known whether the host would keep a GPU',
      ok: displays.length === 0 ? 'No GPU is chosen' : 'The host keeps a GPU',
      next: 'add a second GPU or switch the integrated one on in the firmware setup; hand-over gives the only one to a guest while it runs; --force only-gpu if the host is used over the network',
      evidence:
        staying.length > 0
          ? []
          : displays.map(
              (device) =>
                `${device.address} ${deviceTitle(device)} is ${displays.length > 1 ? 'chosen' : 'the only one'}`,
            ),
      okEvidence:
        displays.length === 0 ? [] : staying.map((device) => `${device.address} ${deviceTitle(device)} stays`),
    })
  },
}

export const bootVgaGuard: Guard<'selected'> = {
  code: 'boot-vga',
  forceable: true,
  askedBy: ['taking', 'also-taken'],
  run({ selected }) {
    return evidenceResult({
      problem: 'The firmware shows its display on this GPU',
      ok: 'The boot display stays with the host',
      next: 'make the other GPU the primary display in the firmware setup, or --force boot-vga if the host needs no display',
      evidence: selected
        .filter((device) => device.bootVga === true)
        .map((device) => `${device.address} ${deviceTitle(device)} is the boot VGA`),
      unreadable: selected
        .filter((device) => device.bootVga === null)
        .map((device) => ({ what: `whether ${device.address} is the boot VGA (no boot_vga)`, root: false })),
    })
  },
}

/**
 * Are only some functions of a card given? They work together. On a root bus, those of a slot are unrelated parts of
 * the chipset, unless they are a GPU's.
 */
export const partialCardGuard: Guard<'pci' | 'given'> = {
  code: 'partial-card',
  forceable: true,
  askedBy: ['taking', 'bound', 'hand-over'],
  run({ pci: { devices: all }, given }) {
    const bound = new Set(given)
    const cards = new Map<string, PciDevice[]>()
    for (const device of all) {
      const card = cardOf(device)
      if (!device.bridge) cards.set(card, [...(cards.get(card) ?? []), device])
    }
    const partial = [...new Set(given.map(cardOf))]
      .map((card) => cards.get(card) ?? [])
      .filter((card) => card.some(isDisplay) || !card.some((device) => onRootBus(device) === true))
    const missing = partial.flatMap((card) => card.filter((device) => !bound.has(device)))
    return evidenceResult({
      problem: 'Only some functions of the card are chosen',
      ok: 'Cards are chosen whole',
      next: `name the slot to take all functions: ${[...new Set(missing.map(cardOf))].join(' ')}`,
      evidence: missing.map((device) => `${device.address} ${deviceTitle(device)} is not chosen`),
    })
  },
}

/** Do virtual functions or mediated devices end with the host's driver? Source: Documentation/PCI/pci-iov-howto.rst. */
export const virtualFunctionsGuard: Guard<'pci' | 'selected' | 'usage'> = {
  code: 'virtual-functions',
  forceable: true,
  askedBy: ['taking', 'hand-over'],
  run({ pci: { devices: all }, selected, usage }) {
    const bound = new Set(selected.map((device) => device.address))
    const virtual = all.filter((device) => device.physicalFunction !== null && bound.has(device.physicalFunction))
    return evidenceResult({
      problem: 'Virtual functions or mediated devices depend on it and would go',
      ok: 'No virtual function or mediated device depends on it',
      next: 'switch them off first (sriov_numvfs, remove), or give the guest one of them',
      evidence: [
        ...virtual.map(
          (device) => `${device.physicalFunction} → virtual function ${device.address}${driverSuffix(device)}`,
        ),
        ...usage.mdevs.map(({ name, address }) => `${address} → mediated device ${name}`),
      ],
    })
  },
}

/**
 * A virtual function is there only after `sriov_numvfs` was written, which is after all that binds devices at boot; the
 * boot script would let go of every other function with it. Source: Documentation/PCI/pci-iov-howto.rst.
 */
export const lateFunctionGuard: Guard<'selected'> = {
  code: 'virtual-function',
  forceable: false,
  askedBy: ['at-boot'],
  run: ({ selected }) =>
    evidenceResult({
      problem: 'A virtual function is not there yet when devices are bound at boot',
      ok: 'No virtual function is to be bound at boot',
      next: `tune-host --vfs ${[...new Set(selected.flatMap(({ physicalFunction }) => physicalFunction ?? []))][0] ?? 'CARD'}=N has them made for guests at every boot; or bind it with --now once it is there`,
      evidence: selected.flatMap(({ address, physicalFunction }) =>
        physicalFunction === null ? [] : [`${address} is made by ${physicalFunction}`],
      ),
    }),
}

/** Would a binding by ID catch devices that are not selected? Bridges count. */
export const sharedIdGuard: Guard<'pci' | 'selected'> = {
  code: 'shared-id',
  forceable: true,
  askedBy: ['binding'],
  run({ pci: { devices: all }, selected }) {
    const bound = new Set(selected)
    const idOf = (device: PciDevice): string => `${device.vendor.id}:${device.device.id}`
    const ids = new Map(selected.map((device) => [idOf(device), device.address]))
    return evidenceResult({
      problem: 'A device that stays with the host has the same ID and would be taken too',
      ok: 'No other device has these IDs',
      next: 'override-same-id-gpu binds by address',
      evidence: all
        .filter((device) => !bound.has(device) && ids.has(idOf(device)))
        .map((device) => `${device.address}${driverSuffix(device)} is ${idOf(device)}, as is ${ids.get(idOf(device))}`),
    })
  },
}

function driverSuffix(device: PciDevice): string {
  return device.driver === null ? '' : ` (${device.driver})`
}

function deviceTitle(device: PciDevice): string {
  return device.device.name ?? device.class.name ?? `${device.vendor.id}:${device.device.id}`
}

/** Would images be made unsigned though Secure Boot starts only signed ones? `unsigned` is the evidence for that. */
export const secureBootGuard: Check<{ secureBoot: boolean | null; unsigned: readonly string[] }, CheckResult> = {
  code: 'uki-secure-boot',
  forceable: true,
  askedBy: ['binding'],
  run({ secureBoot, unsigned }) {
    return evidenceResult({
      problem: 'Under Secure Boot no image would be left that starts',
      unknown: 'It is not known whether Secure Boot would let an image start',
      ok: secureBoot === false ? 'Secure Boot is off' : 'An image that Secure Boot lets start is left',
      next: 'have the images signed when they are made (sbctl with mkinitcpio or kernel-install, SecureBootPrivateKey= in /etc/kernel/uki.conf, uefi_secureboot_key= of dracut); or --force uki-secure-boot, sign them by hand, and verify that before the reboot',
      evidence: secureBoot === true ? [...unsigned] : [],
      unreadable:
        secureBoot === null && unsigned.length > 0 ? [{ what: 'whether Secure Boot is on', root: false }] : [],
    })
  },
}
