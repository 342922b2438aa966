import { ANY_TEXT } from '../../lib/edit/shell.ts'
import { argumentsInVariable } from '../../lib/edit/shell-variables.ts'
import { findProgram } from '../../lib/host/find-program.ts'
import type { BootloaderAdapter } from '../../lib/system/system.ts'
import { generatorCommand, rawText, readOnce } from '../boot/boot-files.ts'
import { listSteps } from '../boot/by-hand.ts'
import { GRUB_DEFAULTS, grubArguments, grubSetting, NORMAL_VARIABLE, readGrubDefaults } from '../boot/grub-defaults.ts'
import { grubEntries } from '../boot/grub-entries.ts'
import { findGrubMenu, observeGrubMenu } from '../boot/grub-menu.ts'
import { readBootedLine, readLoaderInfo, UNBIND_ARGUMENTS } from '../boot/loader-variables.ts'
import { isTransactional } from '../boot/transactional.ts'

/** GRUB 2 with a menu made by grub-mkconfig; other adapters take entries of the Boot Loader Specification. */
export const grub: BootloaderAdapter = {
  name: 'grub',
  documentation: 'https://www.gnu.org/software/grub/manual/grub/html_node/Simple-configuration.html',
  proven: 'booted: Debian 12, 13 and sid in the lab, by BIOS and UEFI; grub-script-check and bash on real settings',

  detect(host) {
    const { files } = host
    const menu = findGrubMenu(files)
    if (menu === undefined || !files.exists(GRUB_DEFAULTS)) return undefined
    // grub-mkconfig does not make grubby's entries, nor the menus on ESPs that are not mounted.
    if (/^\s*blscfg\b/m.test(rawText(files, menu) ?? '') || files.exists('/etc/kernel/proxmox-boot-uuids'))
      return undefined
    const snapshot = isTransactional(files) ? ', in a snapshot of transactional-update' : ''
    const configured = { kind: 'configured', why: `${GRUB_DEFAULTS} and ${menu}${snapshot}` } as const
    if (!host.running) return configured
    const loader = readLoaderInfo(host)
    const image = /(?:^|\s)(BOOT_IMAGE=\S+)/.exec(readBootedLine(host) ?? '')?.[1]
    if (loader !== undefined && /grub/i.test(loader)) return { kind: 'booted', why: `${loader} booted this` }
    if (image === undefined) return loader === undefined ? configured : undefined
    // Another loader may start GRUB, and command lines are copied from one to the other.
    if (loader !== undefined) return { kind: 'configured', why: `${image} in /proc/cmdline, but ${loader} ran too` }
    return { kind: 'booted', why: `${image} in /proc/cmdline, and ${menu}` }
  },

  open(host) {
    const { files, machine } = host
    const defaults = readOnce(host, () => readGrubDefaults(files))
    return {
      configured: () => grubArguments(defaults()).filter(({ token }) => !token.includes(ANY_TEXT)),
      settings: (tokens) => tokens.map((one) => grubSetting(files, defaults(), one)),

      commands() {
        const menu = findGrubMenu(files) ?? '/boot/grub/grub.cfg'
        const isThere = (name: string): boolean => findProgram(files, name) !== undefined
        const maker = isThere('grub2-mkconfig') ? 'grub2-mkconfig' : 'grub-mkconfig'
        return [
          generatorCommand(isThere('update-grub') ? ['update-grub'] : [maker, '-o', menu], [menu], 'the boot menu'),
        ]
      },

      isManual: () => isTransactional(files),
      observe: (tokens, absent) => observeGrubMenu(host, tokens, absent),
      entries() {
        const menu = findGrubMenu(files)
        return menu === undefined ? [] : grubEntries(host, menu)
      },

      menu() {
        const key = machine.exists('/sys/firmware/efi') ? 'press Esc once' : 'hold Shift'
        const value = (name: string): string | undefined => argumentsInVariable(defaults(), name)[0]?.token
        const hidden =
          value('GRUB_TIMEOUT_STYLE') === 'hidden' ||
          value('GRUB_TIMEOUT') === '0' ||
          value('GRUB_HIDDEN_TIMEOUT') !== undefined
        const reach = hidden ? `${key} while the machine starts, for GRUB's menu` : `in GRUB's menu`
        return `${reach}: press e, append ${UNBIND_ARGUMENTS} to the line that starts with linux, press Ctrl-x`
      },

      steps(tokens) {
        const { steps, rest } = listSteps(grubArguments(defaults()), tokens)
        return [
          ...steps,
          ...(rest.length > 0 ? [`Add to ${NORMAL_VARIABLE} in ${GRUB_DEFAULTS}: ${rest.join(' ')}`] : []),
          isTransactional(files)
            ? 'transactional-update --continue grub.cfg (the same new snapshot, if one was made)'
            : 'Run update-grub (or grub-mkconfig -o /boot/grub/grub.cfg, or grub2-mkconfig -o /boot/grub2/grub.cfg).',
        ]
      },
    }
  },
}
