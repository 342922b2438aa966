import { wordsIn } from '../../lib/edit/word-lists.ts'
import type { Kernel } from '../../lib/host/installed-kernels.ts'
import type { Reader } from '../../lib/host/reader.ts'
import { entryFolders, findPath, packageBaseOf } from '../boot/boot-files.ts'

const FOLDER = '/etc/mkinitcpio.d'

/** One image, or unified image, that a preset of mkinitcpio makes and that is there. */
export interface PresetImage {
  /** The preset file's, as `mkinitcpio -p` takes it. */
  preset: string
  /** Without symbolic links. */
  path: string
  release: string
  /** The configuration that it names; with one, mkinitcpio reads no drop-ins. */
  config: string | undefined
  /** Has it the kernel in it, too? */
  unified: boolean
  /** Of a unified image: the file or folder of its command line that the preset names. */
  cmdline: string | undefined
}

/** Source: mkinitcpio(8), PRESETS; process_preset() in mkinitcpio. */
export function presetImages(files: Reader, kernels: readonly Kernel[]): PresetImage[] {
  const names = (files.list(FOLDER) ?? []).filter((name) => /^[^.].*\.preset$/.test(name))
  return names.flatMap((file) => {
    const text = files.optionalBytes(`${FOLDER}/${file}`)?.toString('latin1') ?? ''
    const preset = file.replace(/\.preset$/, '')
    return wordsIn([text], 'PRESETS').flatMap((one) => {
      const value = (name: string): string | undefined => wordsIn([text], `${one}_${name}`)[0]
      const all = (name: string): string | undefined => value(name) ?? wordsIn([text], `ALL_${name}`)[0]
      const kernel = all('kver')
      const uki = value('uki') ?? value('efi_image')
      const options = wordsIn([text], `${one}_options`)
      const option = options.indexOf('--cmdline')
      const cmdline = option < 0 ? all('cmdline') : options[option + 1]
      return [value('image'), uki].flatMap((path): PresetImage[] => {
        const found = path === undefined ? undefined : findPath(files, path)
        if (kernel === undefined || found === undefined) return []
        const release = releaseOf(files, kernels, preset, kernel)
        return [{ preset, path: found, release, config: all('config'), unified: path === uki, cmdline }]
      })
    })
  })
}

/** Images that no preset makes: as kernel-install(8) has them, or by hand as the documentation does. */
export function otherImages(files: Reader, kernels: readonly Kernel[]): { release: string; path: string }[] {
  return kernels.flatMap(({ release }) => {
    const places = [
      ...entryFolders(files, release).map((folder) => `${folder}/initrd`),
      ...[release, packageBaseOf(files, release)].map((name) => `/boot/initramfs-${name}.img`),
    ]
    const path = places.map((place) => findPath(files, place)).find((found) => found !== undefined)
    return path === undefined ? [] : [{ release, path }]
  })
}

/** `kernel` is a release, or the path of a kernel's file: by its package's name, or as the file itself says. */
function releaseOf(files: Reader, kernels: readonly Kernel[], preset: string, kernel: string): string {
  const parts = [kernel, ...kernel.split('/')]
  const bases = [preset, kernel.replace(/^.*\/vmlinuz-/, '')]
  const known =
    kernels.find(({ release }) => parts.includes(release)) ??
    kernels.find(({ release }) => bases.includes(packageBaseOf(files, release) ?? release))
  if (known !== undefined) return known.release
  // The version string that the boot protocol points to: Documentation/arch/x86/boot.rst, kernel_version.
  const bytes = files.optionalBytes(kernel, 1 << 16)
  if (bytes === undefined || bytes.length < 0x210) return preset
  const at = bytes.readUInt16LE(0x20e) + 0x200
  return /^[\w.+~-]+/.exec(bytes.toString('latin1', at, at + 127))?.[0] ?? preset
}
