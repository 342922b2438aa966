import type { CommandChange } from '../../lib/change/plan.ts'
import { wordsIn } from '../../lib/edit/word-lists.ts'
import type { Kernel } from '../../lib/host/installed-kernels.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { Host, KernelImage } from '../../lib/system/system.ts'
import {
  entryFolders,
  filesEndingIn,
  findImages,
  findPath,
  imageCommand,
  kernelFileRelease,
  packageBaseOf,
  rawText,
} from './boot-files.ts'
import { kernelInstallCommands, kernelInstallImagesOf } from './kernel-install.ts'

/** An image, unified or not, that a preset of mkinitcpio makes and that exists. */
export interface PresetImage {
  /** The name of the preset, as `mkinitcpio -p` takes it. */
  preset: string
  /** The path without symbolic links. */
  path: string
  release: string
  /** The configuration that the preset names; with one, mkinitcpio reads no drop-ins. */
  config: string | undefined
  /** Does it also hold the kernel? */
  unified: boolean
  /** The file or folder that the preset names for the command line of a unified image. */
  cmdline: string | undefined
}

/** Reads the presets. Source: mkinitcpio(8), PRESETS; process_preset() in mkinitcpio. */
function presetImages({ files, kernels }: Host): PresetImage[] {
  return filesEndingIn(files, '/etc/mkinitcpio.d', '.preset').flatMap((file) => {
    const text = rawText(files, file) ?? ''
    const preset = file.replace(/.*\/|\.preset$/g, '')
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

/** Finds images that no preset makes: those of kernel-install(8), or made by hand as the documentation does. */
export function otherImages(host: Host): KernelImage[] {
  const { files } = host
  return findImages(host, (release) => [
    ...entryFolders(files, release).map((folder) => `${folder}/initrd`),
    ...[release, packageBaseOf(files, release)].map((name) => `/boot/initramfs-${name}.img`),
  ])
}

/** Returns the images that mkinitcpio makes, and the commands that make them again. */
export function mkinitcpioImages(host: Host): {
  presets: PresetImage[]
  images: KernelImage[]
  commands: CommandChange[]
} {
  const presets = presetImages(host)
  const names = [...new Set(presets.map(({ preset }) => preset))]
  const commands = names.map((name): CommandChange => {
    const touches = presets.filter(({ preset }) => preset === name).map(({ path }) => path)
    // The inverse makes all: other kernels may be installed by then.
    const [argv, inverse] = [
      ['mkinitcpio', '-p', name],
      ['mkinitcpio', '-P'],
    ]
    return { kind: 'command', argv, inverse, touches, reason: `the initramfs of ${name}` }
  })
  if (presets.length > 0) return { presets, images: presets.map(({ release, path }) => ({ release, path })), commands }
  const installed = kernelInstallImagesOf(host, 'mkinitcpio')
  if (installed.length > 0) return { presets, images: installed, commands: kernelInstallCommands(host, installed) }
  const images = otherImages(host)
  const argvFor = ({ release, path }: KernelImage): string[] => ['mkinitcpio', '-k', release, '-g', path]
  return { presets, images, commands: images.map((image) => imageCommand(image, argvFor(image))) }
}

/** Returns the release of `kernel`, a release or a kernel's path: by its package's name, or from the file itself. */
function releaseOf(files: Reader, kernels: readonly Kernel[], preset: string, kernel: string): string {
  const parts = [kernel, ...kernel.split('/')]
  const bases = [preset, kernel.replace(/^.*\/vmlinuz-/, '')]
  const known =
    kernels.find(({ release }) => parts.includes(release)) ??
    kernels.find(({ release }) => bases.includes(packageBaseOf(files, release) ?? release))
  if (known !== undefined) return known.release
  return kernelFileRelease(files, kernel) ?? preset
}
