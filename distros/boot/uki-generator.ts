import type { CommandChange } from '../../lib/change/plan.ts'
import { wordsIn } from '../../lib/edit/word-lists.ts'
import type { Host, KernelImage } from '../../lib/system/system.ts'
import { dracutConfig, dracutImages, dracutUnifiedImages } from './dracut-images.ts'
import { readInstallConfig, ukifyConfig } from './install-config.ts'
import { kernelInstallCommands, kernelInstallImages } from './kernel-install.ts'
import { mkinitcpioImages } from './mkinitcpio-images.ts'
import { isSignedBy, readEmbeddedLine } from './uki-image.ts'
import { type CmdlineSource, dracutSource, fileSource } from './uki-line.ts'

/** The tool that makes the unified images of a host. */
interface UkiGenerator {
  tool: 'mkinitcpio' | 'dracut' | 'kernel-install'
  images: KernelImage[]
  commands: CommandChange[]
  /** The files that the images' command lines come from. */
  cmdlineSources(): CmdlineSource[]
  /** Does it sign its images, with keys that are here? */
  isSigned(): boolean
}

/** Finds the tool that makes the images; `undefined` where there is none, or more than one. */
export function findUkiGenerator(host: Host): UkiGenerator | undefined {
  const all = [mkinitcpioGenerator(host), dracutGenerator(host), kernelInstallGenerator(host)]
  const found = all.filter(({ images, commands }) => images.length > 0 && commands.length > 0)
  return found.length === 1 ? found[0] : undefined
}

function mkinitcpioGenerator(host: Host): UkiGenerator {
  const { presets, commands } = mkinitcpioImages(host)
  const images = presets.filter(({ unified }) => unified)
  return {
    tool: 'mkinitcpio',
    images,
    commands: commands.filter(({ touches }) => images.some(({ path }) => touches.includes(path))),
    cmdlineSources: () =>
      [...new Set(images.map(({ cmdline }) => cmdline))].map((named) => {
        const same = images.filter(({ cmdline }) => cmdline === named)
        return fileSource(host, { tool: 'mkinitcpio', named }, embeddedLines(host, same))
      }),
    isSigned: () => isSignedBy(host.files, 'mkinitcpio'),
  }
}

function dracutGenerator(host: Host): UkiGenerator {
  const images = dracutUnifiedImages(host)
  const config = (): string[] => dracutConfig(host.files).map(({ text }) => text)
  return {
    tool: 'dracut',
    images,
    commands: images.length > 0 ? dracutImages(host).commands : [],
    cmdlineSources: () => [dracutSource(host, embeddedLines(host, images))],
    isSigned: () => ['uefi_secureboot_key', 'uefi_secureboot_cert'].every((name) => wordsIn(config(), name).length > 0),
  }
}

function kernelInstallGenerator(host: Host): UkiGenerator {
  // A line in this file replaces those of all others.
  const hasOwnLine = /^[ \t]*Cmdline[ \t]*=/m.test(ukifyConfig(host.files))
  const images = hasOwnLine ? [] : kernelInstallImages(host)
  return {
    tool: 'kernel-install',
    images,
    commands: kernelInstallCommands(host, images),
    cmdlineSources() {
      const { uki } = readInstallConfig(host.files)
      const lines = embeddedLines(host, images)
      if (uki === 'dracut') return [dracutSource(host, lines)]
      return [fileSource(host, { tool: uki === 'mkinitcpio' ? uki : 'kernel-install', named: undefined }, lines)]
    },
    isSigned: () => isSignedBy(host.files, 'kernel-install'),
  }
}

function embeddedLines({ files }: Host, images: readonly KernelImage[]): string[] {
  return images.flatMap(({ path }) => readEmbeddedLine(files, path) ?? [])
}
