import { type IommuState, iommuKind } from './iommu.ts'
import { kernelRelease } from './kernel.ts'
import type { PciDevice } from './pci.ts'
import type { Reader } from './reader.ts'
import type { Unreadable } from './readings.ts'

/** A range of bus addresses that the firmware wants mapped to itself. */
export interface Region {
  group: number
  /** The bounds as the kernel writes them: `0x00000000bdf6f000`. */
  start: string
  end: string
}

/** The memory that the firmware insists on for devices, and facts about the machine. */
export interface ReservedRegions {
  /** The regions of type `direct`; `direct-relaxable`, `msi` and `reserved` keep no device from a guest. */
  direct: Region[]
  unseen: Unreadable[]
  kind: IommuState['kind']
  /** The kernel's release (`uname -r`); `null` when the tree does not say. */
  kernel: string | null
  /** The maker of the machine, by its firmware. */
  maker: string | null
}

/**
 * Reads the reserved regions of the selected devices' groups.
 * Source: Documentation/ABI/testing/sysfs-kernel-iommu_groups; the file is there since Linux 4.11.
 */
export function readReservedRegions(reader: Reader, selected: readonly PciDevice[]): ReservedRegions {
  const groups = [...new Set(selected.map(({ group }) => group))]
  const texts = groups.map((group) => ({
    group,
    text: group === null ? undefined : reader.optionalText(`/sys/kernel/iommu_groups/${group}/reserved_regions`),
  }))
  return {
    direct: texts.flatMap(({ group, text = '' }) =>
      [...text.matchAll(/^(0x[0-9a-f]+) (0x[0-9a-f]+) direct$/gm)].map(([, start = '', end = '']) => ({
        group: group ?? 0,
        start,
        end,
      })),
    ),
    unseen: texts
      .filter(({ text }) => text === undefined)
      .map(({ group }) => ({
        what: group === null ? 'reserved regions: there are no IOMMU groups' : `reserved_regions of group ${group}`,
        root: false,
      })),
    kind: iommuKind(reader),
    kernel: kernelRelease(reader) ?? null,
    maker: reader.optionalText('/sys/class/dmi/id/sys_vendor')?.trim() ?? null,
  }
}
