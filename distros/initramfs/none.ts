import type { InitramfsAdapter } from '../../lib/system/system.ts'
import { entryFolders, filesEndingIn, listFolder, ownFileLine, rawText, realPath } from '../boot/boot-files.ts'
import { readGrubMenus } from '../boot/grub-menu.ts'
import { ESP_MOUNTS, readEntries } from '../boot/loader-entries.ts'
import { findMkinitcpio } from '../boot/mkinitcpio-config.ts'
import { rootLocation, rootSettings } from '../boot/root-script.ts'

const FOLDER = '/etc/modules-load.d'
const OPENRC = '/etc/conf.d/modules'

/**
 * No initramfs, common on Gentoo: the kernel mounts the root file system itself, where modprobe obeys modprobe.d, and
 * nothing is built. Softdeps decide the order; the list of modules is for devices that no host driver would claim.
 */
export const noInitramfs: InitramfsAdapter = {
  name: 'none',
  documentation: 'https://man7.org/linux/man-pages/man5/modules-load.d.5.html',
  proven: 'real files: modules-load.d of real machines; its unit booted by hand with systemd 252 and OpenRC 0.45',

  detect({ files, kernels }) {
    // Their packages make an image for each kernel: one that is not seen is gone, or in what is not mounted.
    const presets = filesEndingIn(files, '/etc/mkinitcpio.d', '.preset')
    if (files.exists('/usr/bin/booster') || (presets.length > 0 && findMkinitcpio(files) !== undefined))
      return undefined
    const own = kernels.find(({ config }) => !/^(n|"")$/.test(config('CONFIG_INITRAMFS_SOURCE') ?? 'n'))
    const paths = ESP_MOUNTS.flatMap((folder) => listFolder(files, folder).map((name) => `${folder}/${name}`))
    const entries = kernels.flatMap(({ release }) =>
      entryFolders(files, release).flatMap((folder) => listFolder(files, folder).map((name) => `${folder}/${name}`)),
    )
    const unified = ESP_MOUNTS.flatMap((folder) => listFolder(files, `${folder}/EFI/Linux`))
    // A kernel must be seen, as an unmounted /boot has no image either. What may not be looked at could hold one.
    const kernel = [...paths, ...entries].find((path) => /\/(vmlinu[xz]|kernel|bzImage|linux)([-.][^/]*)?$/.test(path))
    if (kernel === undefined || own !== undefined || unified.length > 0 || files.exists('/ostree')) return undefined
    if ([...paths, ...entries].some((path) => /\/(initr|booster)[^/]*$/.test(path))) return undefined
    if (
      [...readGrubMenus(files), ...readEntries(files).map(({ text }) => text)].some((text) =>
        /^\s*initrd\w*\s.*(initr|booster)/m.test(text),
      )
    )
      return undefined
    if ([...files.denied.keys()].some((path) => ESP_MOUNTS.some((folder) => path.startsWith(folder)))) return undefined
    return `${kernel}, and no image beside it`
  },

  stageOf: () => undefined,

  open(host) {
    const { files } = host
    return {
      bootScriptLocation: () => rootLocation(host),

      settings({ module, bootScript }) {
        // The script loads the module itself.
        if (bootScript !== null) return rootSettings(host, bootScript)
        const reason = `${module} is loaded while the system starts`
        // Newer versions of OpenRC read modules-load.d too, as their own text tells.
        const script = rawText(files, '/etc/init.d/modules')
        if (script !== undefined && !script.includes('modules-load.d') && files.exists(OPENRC)) {
          const path = realPath(files, OPENRC)
          return [{ kind: 'shell-word', path, variable: 'modules', word: module, posix: true, reason }]
        }
        const isThere = listFolder(files, FOLDER)
          .filter((name) => name.endsWith('.conf') && name !== 'vfio-scripts.conf')
          .flatMap((name) => (files.optionalText(`${FOLDER}/${name}`) ?? '').split('\n'))
          .some((row) => row.trim().replaceAll('-', '_') === module.replaceAll('-', '_'))
        return isThere ? [] : [ownFileLine(files, `${FOLDER}/vfio-scripts.conf`, { line: module, reason })]
      },

      withoutImages: true,
      commands: () => [],
      images: () => [],
      nextStage: () => ({ modprobe: [], busybox: false, modules: null, steps: [] }),
      listCommand: (image) => ['ls', image],

      steps: ({ module }) => [
        `echo ${module} > ${FOLDER}/vfio.conf`,
        `(With an OpenRC that does not read that folder: add ${module} to modules="..." in ${OPENRC}.)`,
      ],
    }
  },
}
