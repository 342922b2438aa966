import { headComment, type Setting } from '../change/settings.ts'
import { dropInFolders, readDropIns } from '../host/drop-ins.ts'
import { systemdVersion } from '../host/find-program.ts'
import type { PciDevice } from '../host/pci.ts'
import { vfLinkFile, type WantedFunctions } from '../host/wanted-functions.ts'
import { vfRecord } from '../system/vf-script.ts'
import type { TuneFacts } from './feature.ts'
import { linkLines } from './vf-maker-steps.ts'

/** The .link file that is in force for a card's interface, as udev has noted it. */
interface LinkInForce {
  interface: string
  path: string
  /** What udev matches by `Path=`. */
  idPath: string
  /** What it sets, its drop-ins included, without what it matches. */
  sections: string
}

/**
 * The drivers by which a function has its address although its own driver was there before: they reset it, and iavf looks
 * for its address again. Others (igb, ixgbe: "Reload the VF driver"; mlx5) leave it with the one that it came with.
 * Source: i40e_ndo_set_vf_mac(), ice_set_vf_mac(), igb_ndo_set_vf_mac() in drivers/net/ethernet/intel.
 */
const RESETTING = ['i40e', 'ice']

/**
 * Finds the .link file in force for the card, or says why systemd-udevd cannot make virtual functions by one. Only the
 * first file that matches applies, so another file for this card has to say what that one says.
 * Source: systemd.link(5) (SR-IOVVirtualFunctions= since 251), src/udev/udev-builtin-net_setup_link.c (ID_NET_LINK_FILE).
 */
export function findLinkInForce({ host: { machine, files } }: TuneFacts, device: PciDevice): LinkInForce | string {
  const [name, ...more] = machine.list(`${device.path}/net`) ?? []
  if (name === undefined) return 'the card has no interface'
  if (more.length > 0) return `the card has several interfaces (${[name, ...more].join(', ')})`
  if (!RESETTING.includes(device.driver ?? ''))
    return `systemd-udevd gives a function its address when the function's driver is there already, and with ${device.driver} that is too late`
  const version = systemdVersion(files)
  if (version === undefined || version < 251)
    return version === undefined ? 'the version of systemd is not known' : `systemd ${version} is older than 251`
  const index = machine.optionalText(`${device.path}/net/${name}/ifindex`)?.trim() ?? ''
  const noted = machine.optionalText(`/run/udev/data/n${index}`) ?? ''
  const path = /^E:ID_NET_LINK_FILE=(.+)$/m.exec(noted)?.[1]
  const idPath = /^E:ID_PATH=([\w:.+-]+)$/m.exec(noted)?.[1]
  if (path === undefined || idPath === undefined) return `udev has not noted which .link file is in force for ${name}`
  const own = path.slice(path.lastIndexOf('/') + 1)
  const main = files.optionalBytes(path)?.toString('latin1')
  if (main === undefined) return `${path}, which is in force for ${name}, cannot be read`
  const ours = vfLinkFile(device.address)
  if (path !== ours && own <= ours.slice(ours.lastIndexOf('/') + 1)) return `${path} comes before any file of ours`
  const dropIns = path === ours ? [] : readDropIns(files, dropInFolders(`systemd/network/${own}.d`))
  const sections = [main, ...dropIns.map(({ text }) => text)].map(withoutMatch).join('\n\n')
  return { interface: name, path, idPath, sections: sections.trim() }
}

/** Returns the lines of all sections but [Match], without comments. */
function withoutMatch(text: string): string {
  return text
    .replace(/^[ \t]*[#;].*\n?/gm, '')
    .split(/^(?=[ \t]*\[)/m)
    .filter((section) => /^[ \t]*\[(?!Match\])/.test(section))
    .map((section) => section.trim())
    .join('\n\n')
}

/**
 * Returns the files by which systemd-udevd makes the functions. What makes them is in a drop-in: generators copy .link
 * files (initramfs-tools' hook udev; dracut's systemd-networkd) but no folders of drop-ins, and in an initramfs the
 * functions would be made before the host's own settings are there.
 */
export function linkSettings(
  device: PciDevice,
  inForce: LinkInForce,
  wanted: WantedFunctions,
  reason: string,
): Setting[] {
  const path = vfLinkFile(device.address)
  const base = `[Match]\nPath=${inForce.idPath}\n\n${inForce.sections}\n`
  return [
    {
      kind: 'file',
      path,
      content: `${headComment('tune-host')}${base}`,
      reason: `for this card what ${inForce.path} says`,
    },
    {
      kind: 'file',
      path: `${path}.d/virtual-functions.conf`,
      content: `${headComment('tune-host')}${[vfRecord(device, wanted), ...linkLines(wanted)].join('\n')}\n`,
      reason,
    },
  ]
}
