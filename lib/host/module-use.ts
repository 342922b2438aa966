import { readCrypttab, readFstab, readMounts } from './mounts.ts'
import type { Reader } from './reader.ts'
import type { Unreadable } from './readings.ts'
import { readLines } from './readings.ts'

/** The reasons why this host needs a module, a line each. */
export interface ModuleUsage {
  evidence: string[]
  unseen: Unreadable[]
}

const BUSES = '/sys/bus'
/** The modules that a guest with a device of its own runs on; they count no users while no guest runs. */
const GUESTS =
  /^(kvm|kvm_intel|kvm_amd|irqbypass|vfio|vfio_pci|vfio_pci_core|vfio_iommu_type1|vfio_virqfd|iommufd|tun|vhost|vhost_net|bridge)$/
/** The modules of file systems whose module has another name. */
const FILE_SYSTEMS: Readonly<Record<string, string>> = {
  ext2: 'ext4',
  ext3: 'ext4',
  msdos: 'vfat',
  iso9660: 'isofs',
  nfs4: 'nfsv4',
  smb3: 'cifs',
  ntfs: 'ntfs3',
  fuseblk: 'fuse',
  autofs: 'autofs4',
}

const underscoreName = (name: string): string => name.replaceAll('-', '_')

/**
 * Finds what speaks against leaving a module out: drivers of it that have devices, on whatever bus, by their link to
 * the module (driver and module may differ in name); modules that are loaded and hold it; users that it counts; file
 * systems that are mounted or in fstab; volumes in crypttab; and guests that run on it. `leaving` are the modules that
 * are left out with it. `requirements` gives the modules that one depends on, by the kernels' tables.
 * Source: Documentation/ABI/testing/sysfs-module, proc_modules(5), modules.dep(5).
 */
export function readModuleUsage(
  machine: Reader,
  files: Reader,
  module: string,
  leaving: readonly string[],
  requirements: (module: string) => readonly string[],
): ModuleUsage {
  const name = underscoreName(module)
  const unreadable: Unreadable[] = []
  const loaded = readLines(machine, '/proc/modules')
  if (loaded === undefined) unreadable.push({ what: 'what is loaded (/proc/modules)', root: false })
  const [, , users = '0', list = '-'] = loaded?.map((line) => line.split(' ')).find(([own]) => own === name) ?? []
  const all = list.split(',').filter((one) => /^\w+$/.test(one))
  const holders = all.filter((one) => !leaving.includes(one))
  const more = Number(users) - all.length
  const required = new Map<string, string>()
  for (const { point, type } of readMounts(machine) ?? []) add(type, `${point} is mounted as ${type}`)
  for (const { target, type, table } of readFstab(files)) add(type, `${target} in ${table} is ${type}`)
  for (const { target, table } of readCrypttab(files)) required.set('dm_crypt', `${target} in ${table} is encrypted`)
  function add(type: string, why: string): void {
    const kind = type.replace(/\..*/, '')
    const one = underscoreName(FILE_SYSTEMS[kind] ?? kind)
    if (!required.has(one)) required.set(one, why)
  }
  const indirect = [...required].flatMap(([one, why]) =>
    one === name
      ? [why]
      : requirements(one).map(underscoreName).includes(name)
        ? [`${why}, and ${one} depends on it`]
        : [],
  )
  return {
    evidence: [
      ...driversOf(machine, name),
      ...(holders.length > 0 ? [`/proc/modules: ${holders.join(', ')} needs it`] : []),
      ...(more > 0 ? [`/proc/modules: it is in use (${more})`] : []),
      ...new Set(indirect),
      ...(GUESTS.test(name) ? ['guests that own devices run on it'] : []),
    ],
    unseen: unreadable,
  }
}

/** Returns a line such as `usb 1-2:1.0 is on usbhid` for each device that a driver of the module has. */
function driversOf(machine: Reader, module: string): string[] {
  return (machine.list(BUSES) ?? []).flatMap((bus) =>
    (machine.list(`${BUSES}/${bus}/drivers`) ?? []).flatMap((driver) => {
      const folder = `${BUSES}/${bus}/drivers/${driver}`
      if (underscoreName(machine.linkName(`${folder}/module`) ?? driver) !== module) return []
      const devices = (machine.list(folder) ?? []).filter(
        (name) => name !== 'module' && machine.link(`${folder}/${name}`) !== undefined,
      )
      return devices.map((device) => `${bus === 'pci' ? '' : `${bus} `}${device} is on ${driver}`)
    }),
  )
}
