import { type MemberSetting, ownHead } from '../../lib/plan/setting.ts'
import type { Initramfs } from '../../lib/plan/system.ts'
import { baseOf, findPath } from './find.ts'

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

  evidence(host) {
    const [image] = booster.images(host)
    return !host.files.exists(PROGRAM) || image === undefined ? undefined : `${PROGRAM}, and ${image.path}`
  },

  settings({ files }, { module }) {
    const path = files.resolve(CONFIG) ?? CONFIG
    const text = files.optionalBytes(path)?.toString('latin1')
    const own = text === undefined || text.startsWith(ownHead()) ? { head: ownHead() } : {}
    const reason = `${module} is in every initramfs and loaded there; it heeds no softdeps: keep drivers of the card out of it`
    const setting: MemberSetting = {
      kind: 'member',
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
      const names = [baseOf(files, release), release].map((name) => `/boot/booster-${name}.img`)
      const path = names.map((name) => findPath(files, name)).find((found) => found !== undefined)
      return path === undefined ? [] : [{ release, path }]
    }),

  lister: (image) => ['booster', 'ls', image],

  steps({ module }, host) {
    const [image] = booster.images(host)
    return [
      `In ${CONFIG}: ${module.replaceAll('-', '_')} first in modules_force_load (with commas), and no driver of the card in it or in modules.`,
      '/usr/lib/booster/regenerate_images',
      `booster ls ${image?.path ?? '/boot/booster-linux.img'} | grep -E '${module.replaceAll('-', '.')}'`,
    ]
  },
}
