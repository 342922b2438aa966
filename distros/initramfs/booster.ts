import { headComment, type Setting, type SettingOf } from '../../lib/change/settings.ts'
import { UserError } from '../../lib/core/error.ts'
import { hasYamlMember } from '../../lib/edit/yaml.ts'
import type { Kernel } from '../../lib/host/installed-kernels.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { Initramfs } from '../../lib/system/system.ts'
import { findPath, packageBaseOf } from '../boot/boot-files.ts'
import { rootPlace, rootSettings } from '../boot/root-script.ts'

const PROGRAM = '/usr/bin/booster'
const CONFIG = '/etc/booster.yaml'

/**
 * Arch Linux and others, by choice. Of modprobe.d it takes the options alone, into a file of its own: softdeps have no
 * effect in its image, where modules are loaded side by side. GPU drivers are in there only when they are named.
 * Source: readModprobeOptions() in generator/kmod.go, boot() in init/main.go.
 */
export const booster: Initramfs = {
  name: 'booster',
  documentation: 'https://github.com/anatol/booster/blob/master/docs/manpage.md',
  optionsOnly: true,

  detect(host) {
    const [image] = booster.images(host)
    return !host.files.exists(PROGRAM) || image === undefined ? undefined : `${PROGRAM}, and ${image.path}`
  },

  /** Its init runs no scripts: init/main.go. */
  bootScriptLocation: rootPlace,

  settings({ files, kernels }, { module, bootScript, drivers }): Setting[] {
    if (bootScript !== null) {
      const early = drivers.find((name) => isInBoosterImage(files, kernels, name))
      if (early === undefined) return rootSettings(files, bootScript)
      throw new UserError(
        'contradiction',
        `${CONFIG}: has ${early} in the image, which takes the display before the script can run; take it out of modules and modules_force_load first`,
      )
    }
    const path = files.resolve(CONFIG) ?? CONFIG
    const text = files.optionalBytes(path)?.toString('latin1')
    const own = text === undefined || text.startsWith(headComment()) ? { head: headComment() } : {}
    const reason = `${module} is in every initramfs and loaded there; it heeds no softdeps: keep drivers of the card out of it`
    const setting: SettingOf<'yaml-member'> = {
      kind: 'yaml-member',
      path,
      ...own,
      variable: 'modules_force_load',
      word: module.replaceAll('-', '_'),
      reason,
    }
    return [setting]
  },

  /** An image each: its own regenerate_images makes those of Arch's kernel packages alone. */
  commands: (host) =>
    booster.images(host).map(({ release, path }) => {
      const argv = ['booster', 'build', '--force', '--kernel-version', release, path]
      return { kind: 'command', argv, inverse: argv, touches: [path], reason: `the initramfs of ${release}` }
    }),

  images: ({ files, kernels }) =>
    kernels.flatMap(({ release }) => {
      const names = [packageBaseOf(files, release), release].map((name) => `/boot/booster-${name}.img`)
      const path = names.map((name) => findPath(files, name)).find((found) => found !== undefined)
      return path === undefined ? [] : [{ release, path }]
    }),

  listCommand: (image) => ['booster', 'ls', image],

  steps({ module }, host) {
    const [image] = booster.images(host)
    return [
      `In ${CONFIG}: ${module.replaceAll('-', '_')} first in modules_force_load (with commas), and no driver of the card in it or in modules.`,
      '/usr/lib/booster/regenerate_images',
      `booster ls ${image?.path ?? '/boot/booster-linux.img'} | grep -E '${module.replaceAll('-', '.')}'`,
    ]
  },
}

/**
 * Does its configuration bring this module into the image: by name, by its path or a folder's, or with all of them? By
 * itself it takes modules for disks, keyboards and USB alone. Source: defaultModulesList in generator/generator.go.
 */
function isInBoosterImage(files: Reader, kernels: readonly Kernel[], name: string): boolean {
  const text = files.optionalBytes(CONFIG)?.toString('latin1') ?? ''
  const pattern = new RegExp(`^(kernel/\\S*/)${name.replace(/[-_]/g, '[-_]')}\\.ko`, 'm')
  const paths = kernels.flatMap(({ release }) => {
    const [path, folder] = pattern.exec(files.optionalText(`/lib/modules/${release}/modules.dep`) ?? '') ?? []
    if (path === undefined || folder === undefined) return []
    const folders = [...folder.matchAll(/\//g)].map(({ index }) => folder.slice(0, index + 1))
    return [...folders, ...['', '.zst', '.xz', '.gz'].map((suffix) => path + suffix)]
  })
  const words = ['*', name, ...paths]
  return ['modules', 'modules_force_load'].some((key) => words.some((word) => hasYamlMember(text, key, word)))
}
