import { isDisplay, type PciDevice } from './pci.ts'
import type { Reader } from './reader.ts'

/** The flag IORESOURCE_ROM_SHADOW in include/linux/ioport.h. */
const ROM_SHADOW = 2n

/** Is the ROM of this function the copy in memory that the firmware has changed, as that of the boot VGA may be? */
export function hasShadowRom(reader: Reader, { path, bootVga }: Pick<PciDevice, 'path' | 'bootVga'>): boolean {
  const flags = reader.optionalText(`${path}/resource`)?.split('\n')[6]?.split(' ')[2]
  return bootVga === true && flags !== undefined && (BigInt(flags) & ROM_SHADOW) !== 0n
}

/** What the makers of boards call the choice of the GPU that shows the firmware's screen, as people report it. */
const SETTINGS: readonly [maker: RegExp, name: string][] = [
  [/ASUS/i, 'Primary Display or Primary Video Device'],
  [/Gigabyte/i, 'Initial Display Output'],
  [/Micro-Star|MSI/i, 'Initiate Graphic Adapter'],
  [/ASRock/i, 'Primary Graphics Adapter'],
]

/** Returns how another GPU than these functions becomes the one that boots, on this board. */
export function otherBootGpu(reader: Reader, all: readonly PciDevice[], these: readonly PciDevice[]): string {
  const others = all.filter((one) => isDisplay(one) && one.physicalFunction === null && !these.includes(one))
  if (others.length === 0)
    return 'there is no other GPU: put another card into the first slot for it, or read the ROM in another machine'
  const [vendor, name] = ['board_vendor', 'board_name'].map((file) =>
    reader.optionalText(`/sys/class/dmi/id/${file}`)?.trim(),
  )
  const maker = vendor || reader.optionalText('/sys/class/dmi/id/sys_vendor')?.trim() || ''
  const setting = SETTINGS.find(([pattern]) => pattern.test(maker))?.[1]
  const board = [maker, name].filter(Boolean).join(' ') || 'this board'
  const where =
    setting === undefined
      ? `the firmware setup of ${board} may have a choice of the primary display`
      : `the firmware setup of ${board} has a choice like it (${setting})`
  return `make ${others.map(({ address }) => address).join(' or ')} the boot GPU (${where}), reboot, and read the ROM with check-host --dump-rom FILE`
}
