import { readSecureBoot } from '../../lib/host/secure-boot.ts'
import type { BootloaderAdapter } from '../../lib/system/system.ts'
import { readOnce } from '../boot/boot-files.ts'
import { ESP_MOUNTS, observeLine, readEntries } from '../boot/loader-entries.ts'
import { readLoaderInfo, readStubInfo, SYSTEMD_BOOT_MENU, UNBIND_ARGUMENTS } from '../boot/loader-variables.ts'
import { systemdBootMenu } from '../boot/systemd-boot-menu.ts'
import { findUkiGenerator } from '../boot/uki-generator.ts'
import { readEmbeddedLine, unifiedImages } from '../boot/uki-image.ts'
import { limineMakesUki } from './limine.ts'

/** Unified kernel images: the command line is inside, and changes when their tool makes the image again. */
export const uki: BootloaderAdapter = {
  name: 'uki',
  documentation: 'https://wiki.archlinux.org/title/Unified_kernel_image',
  proven: "booted: Debian 13 in the lab, by kernel-install and ukify; mkinitcpio's and dracut's own code, by hand",

  detect(host) {
    if (limineMakesUki(host)) return undefined
    const stub = readStubInfo(host)
    if (stub !== undefined) return { kind: 'booted', why: `${stub} booted this` }
    // The loader's variable can be read, so the variable of a booted stub would be there too.
    if (readLoaderInfo(host) !== undefined) return undefined
    const generator = findUkiGenerator(host)
    const [image] = generator?.images ?? []
    return image === undefined ? undefined : { kind: 'configured', why: `${image.path}, made by ${generator?.tool}` }
  },

  open(host) {
    const { files, machine } = host
    const generator = readOnce(host, () => findUkiGenerator(host))
    const sources = readOnce(host, () => generator()?.cmdlineSources() ?? [])
    return {
      embedsInitramfs: true,
      isManual: () => generator() === undefined,
      configured: () => sources().flatMap(({ currentArguments }) => currentArguments),
      settings: (tokens) =>
        tokens.flatMap(({ token, reason }) => sources().map((source) => source.setting(token, reason))),
      commands: () => generator()?.commands ?? [],

      observe(tokens, absent) {
        const images = generator()?.images ?? []
        if (images.length === 0) return [{ ok: null, proof: 'no unified image that is made here could be seen' }]
        return images.map(({ path }) => {
          const line = readEmbeddedLine(files, path)
          if (line === undefined) return { ok: null, proof: `${path} could not be looked into` }
          return observeLine(path, line, tokens, absent)
        })
      },

      unsigned() {
        const making = generator()
        if (making === undefined || making.isSigned()) return []
        const made = making.images.map(({ path }) => path)
        const others = [...unifiedImages(files), ...readEntries(files).map(({ path }) => path)]
        if (others.some((path) => !made.includes(path))) return []
        return made.map((path) => `${path} would be made again without a signature`)
      },

      entries() {
        const images = generator()?.images.map(({ path }) => path)
        return systemdBootMenu(host, readEntries(files), images)
      },

      menu() {
        const secure = readSecureBoot(machine)
        const ignored = 'under Secure Boot the stub of a unified image ignores an edited line'
        if (secure === true)
          return `${ignored}: choose another image or kernel, or switch Secure Boot off in the firmware setup`
        const reach = ESP_MOUNTS.some((place) => files.exists(`${place}/loader/loader.conf`))
          ? SYSTEMD_BOOT_MENU
          : `in the UEFI shell, start the image with all of its command line and ${UNBIND_ARGUMENTS} behind it`
        return secure === null ? `${reach} (${ignored})` : reach
      },

      steps(tokens) {
        const args = tokens.join(' ')
        const make = generator()?.commands.map(({ argv }) => argv.join(' ')) ?? [
          'Make the images again with the tool that made them: mkinitcpio -P, dracut --force --regenerate-all, or kernel-install add-all.',
        ]
        if (tokens.length === 0) return make
        if (generator() !== undefined)
          return [...sources().map(({ path }) => `In ${path}, add to the kernel arguments: ${args}`), ...make]
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
