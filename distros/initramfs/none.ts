import { headComment, type Setting } from '../../lib/change/settings.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { Initramfs } from '../../lib/system/system.ts'
import { entryFolders, listFolder } from '../boot/boot-files.ts'
import { rootPlace, rootSettings } from '../boot/root-script.ts'

const FOLDER = '/etc/modules-load.d'
const OPENRC = '/etc/conf.d/modules'
const BOOT = ['/boot', '/efi', '/boot/efi']

/**
 * No initramfs, common on Gentoo: the kernel mounts the root file system itself, and modprobe there goes by modprobe.d.
 * Nothing is built. Softdeps decide the order; the list of modules is for devices that no host driver would claim.
 */
export const noInitramfs: Initramfs = {
  name: 'none',
  documentation: 'https://man7.org/linux/man-pages/man5/modules-load.d.5.html',

  detect({ files, kernels }) {
    const own = kernels.find(({ config }) => !/^(n|"")$/.test(config('CONFIG_INITRAMFS_SOURCE') ?? 'n'))
    const paths = BOOT.flatMap((folder) => listFolder(files, folder).map((name) => `${folder}/${name}`))
    const entries = kernels.flatMap(({ release }) =>
      entryFolders(files, release).flatMap((folder) => listFolder(files, folder).map((name) => `${folder}/${name}`)),
    )
    const unified = BOOT.flatMap((folder) => listFolder(files, `${folder}/EFI/Linux`))
    // An unmounted /boot has no image either: a kernel must be there. What may not be looked at could hold one.
    const kernel = [...paths, ...entries].find((path) => /\/(vmlinu[xz]|kernel|bzImage|linux)([-.][^/]*)?$/.test(path))
    if (kernel === undefined || own !== undefined || unified.length > 0 || files.exists('/ostree')) return undefined
    if ([...paths, ...entries].some((path) => /\/(initr|booster)[^/]*$/.test(path))) return undefined
    if (readBootConfigs(files).some((text) => /^\s*initrd\w*\s.*(initr|booster)/m.test(text))) return undefined
    if ([...files.denied.keys()].some((path) => BOOT.some((folder) => path.startsWith(folder)))) return undefined
    return `${kernel}, and no image beside it`
  },

  bootScriptLocation: rootPlace,

  settings({ files }, { module, bootScript }): Setting[] {
    // The script loads the module itself.
    if (bootScript !== null) return rootSettings(files, bootScript)
    const reason = `${module} is loaded while the system starts`
    // OpenRC of today reads modules-load.d too; its own text says.
    const script = files.optionalBytes('/etc/init.d/modules')?.toString('latin1')
    if (script !== undefined && !script.includes('modules-load.d') && files.exists(OPENRC)) {
      const path = files.resolve(OPENRC) ?? OPENRC
      return [{ kind: 'shell-word', path, variable: 'modules', word: module, posix: true, reason }]
    }
    const path = `${files.resolve(FOLDER) ?? FOLDER}/vfio-scripts.conf`
    const word = module.replaceAll('-', '_')
    const isThere = listFolder(files, FOLDER)
      .filter((name) => name.endsWith('.conf') && name !== 'vfio-scripts.conf')
      .flatMap((name) => (files.optionalText(`${FOLDER}/${name}`) ?? '').split('\n'))
      .some((row) => row.trim().replaceAll('-', '_') === word)
    if (isThere) return []
    return [{ kind: 'line', path, head: headComment(), line: module, reason }]
  },

  commands: () => [],
  images: () => [],
  listCommand: (image) => ['ls', image],

  steps: ({ module }) => [
    `echo ${module} > ${FOLDER}/vfio.conf`,
    `(With an OpenRC that does not read that folder: add ${module} to modules="..." in ${OPENRC}.)`,
  ],
}

/** What boot loaders load: GRUB's menu, and entries of the Boot Loader Specification. */
function readBootConfigs(files: Reader): string[] {
  const entries = BOOT.flatMap((folder) =>
    listFolder(files, `${folder}/loader/entries`).map((name) => `${folder}/loader/entries/${name}`),
  )
  const paths = ['/boot/grub/grub.cfg', '/boot/grub2/grub.cfg', ...entries.filter((path) => path.endsWith('.conf'))]
  return paths.flatMap((path) => files.optionalBytes(path)?.toString('latin1') ?? [])
}
