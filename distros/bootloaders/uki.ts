import type { CommandChange } from '../../lib/change/plan.ts'
import type { Setting } from '../../lib/change/settings.ts'
import { hasArgument } from '../../lib/edit/kernel-arguments.ts'
import { readSecureBoot } from '../../lib/host/secure-boot.ts'
import type { BootloaderAdapter, Host } from '../../lib/system/system.ts'
import { ESP_MOUNTS, readEntries } from '../boot/loader-entries.ts'
import { readLoaderInfo, readStubInfo, UNBIND_ARGUMENTS } from '../boot/loader-variables.ts'
import { isSigned, readEmbeddedLine } from '../boot/uki-image.ts'
import {
  dracutUnifiedImages,
  kernelInstallCommands,
  kernelInstallImages,
  readInstallConfig,
  type UnifiedImage,
  unifiedImages,
} from '../boot/unified-images.ts'
import { dracut } from '../initramfs/dracut.ts'
import { mkinitcpio } from '../initramfs/mkinitcpio.ts'
import { presetImages } from '../initramfs/presets.ts'
import { limineMakesUki } from './limine.ts'
import { systemdBoot } from './systemd-boot.ts'
import { type CmdlineSource, dracutSource, fileSource } from './uki-line.ts'

/** Unified kernel images: the command line is inside, and is made anew with the image, by who makes it. */
export const uki: BootloaderAdapter = {
  name: 'uki',
  documentation: 'https://wiki.archlinux.org/title/Unified_kernel_image',

  detect(host) {
    if (limineMakesUki(host)) return undefined
    const stub = readStubInfo(host)
    if (stub !== undefined) return { kind: 'booted', why: `${stub} booted this` }
    // It would have said so.
    if (readLoaderInfo(host) !== undefined) return undefined
    const making = findUkiGenerator(host)
    const [image] = making?.images ?? []
    return image === undefined ? undefined : { kind: 'configured', why: `${image.path}, made by ${making?.tool}` }
  },

  open(host) {
    return {
      embedsInitramfs: true,
      isManual: () => findUkiGenerator(host) === undefined,
      configured: () => readCmdlineSources(host).flatMap(({ currentArguments }) => currentArguments),

      settings: (tokens) =>
        tokens.flatMap(({ token, reason }): Setting[] =>
          readCmdlineSources(host).map((line) => line.setting(token, reason)),
        ),

      commands: () => findUkiGenerator(host)?.commands ?? [],

      observe(tokens, absent) {
        const images = findUkiGenerator(host)?.images ?? []
        if (images.length === 0) return [{ ok: null, proof: 'no unified image that is made here could be seen' }]
        return images.map(({ path }) => {
          const line = readEmbeddedLine(host.files, path)
          if (line === undefined) return { ok: null, proof: `${path} could not be looked into` }
          const has = tokens.filter((token) => hasArgument(line, token))
          const ok = absent ? has.length === 0 : has.length === tokens.length
          return { ok, proof: `${path} has ${has.length} of ${tokens.join(' ')}` }
        })
      },

      unsigned() {
        const making = findUkiGenerator(host)
        if (making === undefined || isSigned(host, making.tool)) return []
        const made = making.images.map(({ path }) => path)
        const others = [...unifiedImages(host.files), ...readEntries(host.files).map(({ path }) => path)]
        if (others.some((path) => !made.includes(path))) return []
        return made.map((path) => `${path} would be made again without a signature`)
      },

      menu() {
        const secure = readSecureBoot(host.machine)
        const ignored = 'under Secure Boot the stub of a unified image ignores an edited line'
        if (secure === true)
          return `${ignored}: choose another image or kernel, or switch Secure Boot off in the firmware setup`
        const menu = ESP_MOUNTS.some((place) => host.files.exists(`${place}/loader/loader.conf`))
        const reach = menu
          ? systemdBoot.open(host).menu()
          : `in the UEFI shell, start the image with all of its command line and ${UNBIND_ARGUMENTS} behind it`
        return secure === null ? `${reach} (${ignored})` : reach
      },

      steps(tokens) {
        const making = findUkiGenerator(host)
        const args = tokens.join(' ')
        const make = making?.commands.map(({ argv }) => argv.join(' ')) ?? [
          'Make the images again with the tool that made them: mkinitcpio -P, dracut --force --regenerate-all, or kernel-install add-all.',
        ]
        if (tokens.length === 0) return make
        if (making !== undefined)
          return [
            ...readCmdlineSources(host).map((line) => `In ${line.path}, add to the kernel arguments: ${args}`),
            ...make,
          ]
        return [
          `Add to the line that your unified images are made with: ${args}`,
          '    mkinitcpio: /etc/cmdline.d/*.conf, else /etc/kernel/cmdline; kernel-install: /etc/kernel/cmdline; dracut: kernel_cmdline+=" … " in /etc/dracut.conf.d',
          '    (a file that is not there yet has to hold all of /proc/cmdline, root= included)',
          ...make,
          'Under Secure Boot, have them signed.',
        ]
      },
    }
  },
}

interface UkiGenerator {
  tool: 'mkinitcpio' | 'dracut' | 'kernel-install'
  images: UnifiedImage[]
  commands: CommandChange[]
  cmdlineSources: () => CmdlineSource[]
}

/** The tool that makes the images; `undefined` where there is none, or more than one. */
function findUkiGenerator(host: Host): UkiGenerator | undefined {
  const { files, kernels } = host
  const lines = (images: readonly UnifiedImage[]): string[] =>
    images.flatMap(({ path }) => readEmbeddedLine(files, path) ?? [])
  const of = (commands: readonly CommandChange[], images: readonly UnifiedImage[]): CommandChange[] =>
    commands.filter(({ touches }) => images.some(({ path }) => touches.includes(path)))
  const presets = presetImages(files, kernels).filter(({ unified }) => unified)
  const [made, installed] = [dracutUnifiedImages(host), kernelInstallImages(host)]
  const presetLines = (): CmdlineSource[] =>
    [...new Set(presets.map(({ cmdline }) => cmdline))].map((named) =>
      fileSource(host, { tool: 'mkinitcpio', named }, lines(presets.filter(({ cmdline }) => cmdline === named))),
    )
  const installLines = (): CmdlineSource[] => {
    const { uki: generator } = readInstallConfig(files)
    if (generator === 'dracut') return [dracutSource(host, lines(installed))]
    const tool = generator === 'mkinitcpio' ? 'mkinitcpio' : 'kernel-install'
    return [fileSource(host, { tool, named: undefined }, lines(installed))]
  }
  // A line in this file stands for those of all others.
  const config = files.optionalBytes('/etc/kernel/uki.conf')?.toString('latin1') ?? ''
  const own = /^[ \t]*Cmdline[ \t]*=/m.test(config)
  const all: UkiGenerator[] = [
    {
      tool: 'mkinitcpio',
      images: presets,
      commands: of(mkinitcpio.open(host).commands(), presets),
      cmdlineSources: presetLines,
    },
    {
      tool: 'dracut',
      images: made,
      commands: of(dracut.open(host).commands(), made),
      cmdlineSources: () => [dracutSource(host, lines(made))],
    },
    {
      tool: 'kernel-install',
      images: own ? [] : installed,
      commands: kernelInstallCommands(host, installed),
      cmdlineSources: installLines,
    },
  ]
  const found = all.filter(({ images, commands }) => images.length > 0 && commands.length > 0)
  return found.length === 1 ? found[0] : undefined
}

function readCmdlineSources(host: Host): CmdlineSource[] {
  return findUkiGenerator(host)?.cmdlineSources() ?? []
}
