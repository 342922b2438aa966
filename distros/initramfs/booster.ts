import { headComment } from '../../lib/change/settings.ts'
import { UserError } from '../../lib/core/error.ts'
import { hasYamlMember } from '../../lib/edit/yaml.ts'
import type { Host, InitramfsAdapter, KernelImage } from '../../lib/system/system.ts'
import { boosterStage, nextBoosterStage } from '../boot/booster-stage.ts'
import { findImages, imageCommand, packageBaseOf, rawText, realPath } from '../boot/boot-files.ts'
import { rootLocation, rootSettings } from '../boot/root-script.ts'

const PROGRAM = '/usr/bin/booster'
const CONFIG = '/etc/booster.yaml'

/**
 * booster, by choice on Arch Linux and others. It takes only options from modprobe.d, into a file of its own: softdeps
 * have no effect in its image, which loads modules in parallel. The image holds GPU drivers only if they are named. Its
 * init runs no scripts. Source: readModprobeOptions() in generator/kmod.go, boot() in init/main.go.
 */
export const booster: InitramfsAdapter = {
  name: 'booster',
  documentation: 'https://github.com/anatol/booster/blob/master/docs/manpage.md',
  proven: 'documentation: its manual and code; its unit on the root file system booted by hand',

  detect(host) {
    const [image] = boosterImages(host)
    return !host.files.exists(PROGRAM) || image === undefined ? undefined : `${PROGRAM}, and ${image.path}`
  },

  stageOf: boosterStage,

  open: (host) => ({
    nextStage: () => nextBoosterStage(host.files),
    optionsOnly: true,
    bootScriptLocation: () => rootLocation(host),

    settings({ module, bootScript, drivers }) {
      if (bootScript !== null) {
        const early = drivers.find((name) => isInBoosterImage(host, name))
        if (early === undefined) return rootSettings(host, bootScript)
        throw new UserError(
          'contradiction',
          `${CONFIG}: has ${early} in the image, which takes the display before the script can run; take it out of modules and modules_force_load first`,
        )
      }
      const path = realPath(host.files, CONFIG)
      const isOurs = rawText(host.files, path)?.startsWith(headComment()) ?? true
      const own = { path, ...(isOurs ? { head: headComment() } : {}) }
      const word = module.replaceAll('-', '_')
      const reason = `${module} is in every initramfs and loaded there; it heeds no softdeps: keep drivers of the card out of it`
      return [{ kind: 'yaml-member', ...own, variable: 'modules_force_load', word, reason }]
    },

    /** One command for each image, since booster's regenerate_images makes only those of Arch's kernel packages. */
    commands: () =>
      boosterImages(host).map((image) => {
        const argv = ['booster', 'build', '--force', '--kernel-version', image.release, image.path]
        return imageCommand(image, argv)
      }),

    images: () => boosterImages(host),
    listCommand: (image) => ['booster', 'ls', image],

    steps: ({ module }) => [
      `In ${CONFIG}: ${module.replaceAll('-', '_')} first in modules_force_load (with commas), and no driver of the card in it or in modules.`,
      '/usr/lib/booster/regenerate_images',
      `booster ls ${boosterImages(host)[0]?.path ?? '/boot/booster-linux.img'} | grep -E '${module.replaceAll('-', '.')}'`,
    ],
  }),
}

function boosterImages(host: Host): KernelImage[] {
  return findImages(host, (release) =>
    [packageBaseOf(host.files, release), release].map((name) => `/boot/booster-${name}.img`),
  )
}

/**
 * Does the configuration bring this module into the image: by name, by its path or a folder's, or with all modules? By
 * default it takes only modules for disks, keyboards and USB. Source: defaultModulesList in generator/generator.go.
 */
function isInBoosterImage({ files, kernels }: Host, name: string): boolean {
  const text = rawText(files, CONFIG) ?? ''
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
