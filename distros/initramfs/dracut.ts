import type { CommandChange } from '../../lib/change/plan.ts'
import type { SettingOf } from '../../lib/change/settings.ts'
import { headComment } from '../../lib/change/settings.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { Host, Initramfs } from '../../lib/system/system.ts'
import { entryFolders, findPath } from '../boot/boot-files.ts'
import { dracutUnifiedImages, kernelInstallCommands, kernelInstallImagesOf } from '../boot/unified-images.ts'
import { updateCommands, updateInitramfs } from './initramfs-tools.ts'

const PROGRAMS = ['/usr/bin/dracut', '/usr/sbin/dracut', '/sbin/dracut']
const HOOKS = ['/etc/kernel/postinst.d/dracut', '/usr/lib/kernel/install.d/50-dracut.install']
const FOLDER = '/etc/dracut.conf.d'

const MODULES = '/usr/lib/dracut/modules.d'
const MODULE_SETUP = `#!/bin/bash
${headComment()}check() { return 255; }
depends() { :; }
`

/** Fedora, RHEL, openSUSE, Void, EndeavourOS, Ubuntu from 25.10, and wherever else it was chosen. */
export const dracut: Initramfs = {
  name: 'dracut',
  documentation: 'https://man7.org/linux/man-pages/man5/dracut.conf.5.html',

  detect({ files }) {
    // There it is rpm-ostree that runs it.
    if (files.exists('/ostree/deploy')) return undefined
    const program = PROGRAMS.find((path) => files.exists(path))
    if (program === undefined || !files.exists('/usr/lib/dracut')) return undefined
    const update = updateInitramfs(files)
    if (update === 'dracut') return `${program}, which update-initramfs runs`
    const [debian, install] = HOOKS.map((path) => files.exists(path))
    // Debian's dracut-core alone is a tool for other images: initramfs-tools makes those of this machine.
    if (update === 'initramfs-tools' && !debian) return undefined
    return debian || install ? `${program}, and ${HOOKS[debian ? 0 : 1]} runs it for new kernels` : program
  },

  bootScriptLocation: () => 'image',

  settings({ files }, { module, modprobe, bootScript }) {
    // Only what ends in .conf is read, by name: behind one that assigns where it should append.
    const path = `${files.resolve(FOLDER) ?? FOLDER}/zz-vfio-scripts.conf`
    const line = (text: string, reason: string): SettingOf<'line'> => ({
      kind: 'line',
      path,
      head: headComment(),
      line: text,
      reason,
    })
    return [
      // dracut itself turns the first hyphen of the whole list into an underscore, and no other.
      line(`force_drivers+=" ${module.replaceAll('-', '_')} "`, `${module} is in every initramfs, loaded before udev`),
      // /etc/modprobe.d goes into host-only images alone.
      ...modprobe.map((file) => line(`install_items+=" ${file} "`, `${file} is in every initramfs`)),
      ...(bootScript === null ? [] : dracutOverride(files, bootScript, line)),
    ]
  },

  /**
   * An image each, by its path: `--regenerate-all` writes to where dracut itself would, also for kernels that have no
   * image. Both work in a chroot, where `uname -r` is another's. As the inverse it is right: other kernels may be
   * installed by then. Source: dracut(8).
   */
  commands(host) {
    const installed = kernelInstallImagesOf(host, 'dracut')
    if (installed.length > 0) return kernelInstallCommands(host, installed)
    const wrapped = updateInitramfs(host.files) === 'dracut'
    return dracut.images(host).flatMap((image): CommandChange[] => {
      const { release, path } = image
      // It runs /etc/initramfs/post-update.d too, which takes images on to boot loaders.
      if (wrapped && path === `/boot/initrd.img-${release}`) return updateCommands(host, [image])
      const argv = ['dracut', '--force', path, release]
      const own =
        imagePaths(host.files, release).slice(0, -1).includes(path) || path.includes(`/EFI/Linux/linux-${release}`)
      const inverse = own ? ['dracut', '--force', '--regenerate-all'] : argv
      return [{ kind: 'command', argv, inverse, touches: [path], reason: `the initramfs of ${release}` }]
    })
  },

  images(host: Host) {
    const { files, kernels } = host
    const unified = [...kernelInstallImagesOf(host, 'dracut'), ...dracutUnifiedImages(host)]
    if (unified.length > 0) return unified
    return kernels.flatMap(({ release }) => {
      const path = imagePaths(files, release)
        .map((place) => findPath(files, place))
        .find((found) => found !== undefined)
      return path === undefined ? [] : [{ release, path }]
    })
  },

  listCommand: (image) => ['lsinitrd', image],

  steps: ({ module, modprobe }) => [
    `echo 'force_drivers+=" ${module.replaceAll('-', '_')} "' >> ${FOLDER}/vfio.conf`,
    ...modprobe.map((file) => `echo 'install_items+=" ${file} "' >> ${FOLDER}/vfio.conf`),
    'dracut --force --regenerate-all',
    `lsinitrd | grep -E '${module}|modprobe.d'`,
  ],
}

/** A dracut module of our own, the only way to a hook; hooks are sourced, so the script gets a shell of its own. */
function dracutOverride(
  files: Reader,
  override: string,
  line: (text: string, reason: string) => SettingOf<'line'>,
): SettingOf<'line'>[] {
  const folder = `${files.resolve(MODULES) ?? MODULES}/90vfio-scripts`
  const own = (name: string, head: string, text: string, reason: string): SettingOf<'line'> => ({
    kind: 'line',
    path: `${folder}/${name}`,
    head,
    mode: 0o755,
    line: text,
    reason,
  })
  const reason = 'runs the script before udev'
  return [
    line('add_dracutmodules+=" vfio-scripts "', reason),
    own(
      'module-setup.sh',
      MODULE_SETUP,
      `install() { inst_hook pre-udev 00 "$moddir/override.sh"; inst_simple ${override}; }`,
      reason,
    ),
    own('override.sh', `#!/bin/sh\n${headComment()}`, `(${override})`, reason),
  ]
}

/** Where a kernel's image may be, in dracut's own order, and last as Arch's hooks call it. Source: dracut(8), FILES. */
function imagePaths(files: Reader, release: string): string[] {
  const base = files.optionalText(`/usr/lib/modules/${release}/pkgbase`)?.trim()
  return [
    ...entryFolders(files, release).map((folder) => `${folder}/initrd`),
    `/lib/modules/${release}/initrd`,
    `/boot/initrd.img-${release}`,
    `/boot/initramfs-${release}.img`,
    `/boot/initrd-${release}`,
    `/boot/initramfs-${base ?? release}.img`,
  ]
}
