import { headComment, type SettingOf } from '../../lib/change/settings.ts'
import { wordsIn } from '../../lib/edit/word-lists.ts'
import type { Reader } from '../../lib/host/reader.ts'
import { BOOT_SCRIPT_UNIT } from '../../lib/system/boot-script.ts'
import type { InitramfsAdapter } from '../../lib/system/system.ts'
import { ownFileLine, readOnce } from '../boot/boot-files.ts'
import { findMkinitcpio, MKINITCPIO_CONFIG, mkinitcpioConfigs } from '../boot/mkinitcpio-config.ts'
import { mkinitcpioImages } from '../boot/mkinitcpio-images.ts'
import { mkinitcpioStage, nextMkinitcpioStage } from '../boot/mkinitcpio-stage.ts'

const NAME = 'vfio-scripts'
// Outside the folders that the system itself reads.
const UNIT = '/etc/vfio-scripts/initramfs.service'
// Brings the shell and programs of the hook `base`, which comes later or, beside `systemd`, not at all.
const INSTALL = `#!/usr/bin/env bash
${headComment()}build() {
  add_file "$vfio_script"
  add_runscript
  add_binary /usr/lib/initcpio/busybox /usr/bin/busybox
  add_symlink /usr/bin/sh busybox
  add_symlink /usr/bin/readlink busybox
  add_binary kmod
  add_symlink /usr/bin/modprobe kmod
  add_file ${UNIT} /etc/systemd/system/vfio-scripts.service
  add_symlink /etc/systemd/system/sysinit.target.wants/vfio-scripts.service /etc/systemd/system/vfio-scripts.service
}

help() {
  echo 'Gives PCI functions to vfio-pci before udev, by address.'
}

`

/** mkinitcpio, of Arch Linux, Manjaro, CachyOS and others of their kin. */
export const mkinitcpio: InitramfsAdapter = {
  name: 'mkinitcpio',
  documentation: 'https://man.archlinux.org/man/mkinitcpio.8',
  proven: 'booted: mkinitcpio 41 over Debian 13 by hand, with busybox and with systemd; settings of real machines',

  detect(host) {
    const program = findMkinitcpio(host.files)
    const [image] = mkinitcpioImages(host).images
    return program === undefined || image === undefined ? undefined : `${program}, and ${image.path}`
  },

  stageOf: mkinitcpioStage,

  open(host) {
    const { files } = host
    const made = readOnce(host, () => mkinitcpioImages(host))
    return {
      bootScriptLocation: () => 'image',

      settings({ module, bootScript }) {
        const early = 'runs the script first thing in the initramfs, before udev'
        const first = `${module} is in every initramfs, loaded before other modules`
        const conf = 'this hook has /etc/modprobe.d in every initramfs'
        const words: Pick<SettingOf<'shell-word'>, 'variable' | 'word' | 'after' | 'reason'>[] = [
          // add_module() adds dependencies. Modules are loaded in this order, which the softdeps set once more for udev
          // and for the GPU drivers of the hook `kms`.
          { variable: 'MODULES', word: underscored(module), reason: first },
          // Its place among the hooks does not matter, since it copies files; this one is the documentation's.
          { variable: 'HOOKS', word: 'modconf', after: 'autodetect', reason: conf },
          // It comes first, so that no hook can load drivers earlier.
          ...(bootScript === null ? [] : [{ variable: 'HOOKS', word: NAME, reason: early }]),
        ]
        const isSet = (texts: string[], variable: string, word: string): boolean =>
          wordsIn(texts, variable).some((one) => underscored(one) === underscored(word))
        const configs = mkinitcpioConfigs(files, made().presets).flatMap(({ place, others }) =>
          words
            .filter(({ variable, word }) => !isSet(others, variable, word))
            .map((one): SettingOf<'shell-word'> => ({ kind: 'shell-word', ...place, ...one })),
        )
        return [...(bootScript === null ? [] : hookLines(files, bootScript, early)), ...configs]
      },

      commands: () => made().commands,
      images: () => made().images,
      nextStage(release) {
        const preset = made().presets.find((one) => one.release === release)
        return nextMkinitcpioStage(files, release, preset?.config)
      },
      listCommand: (image) => ['lsinitcpio', image],

      steps: ({ module }) => [
        `In ${MKINITCPIO_CONFIG} (or what your presets name): ${underscored(module)} first in MODULES=(...), and modconf in HOOKS=(...).`,
        'mkinitcpio -P',
        `lsinitcpio ${made().images[0]?.path ?? '/boot/initramfs-linux.img'} | grep -E '${module}|modprobe.d'`,
      ],
    }
  },
}

const underscored = (name: string): string => name.replaceAll('-', '_')

/**
 * Returns the lines of our hook and of the files that it runs at boot: before any hook of the busybox init, which loads
 * MODULES after those, or as a unit of the systemd init. What an image does not use is two small files.
 * Source: mkinitcpio(8), BUILD HOOKS and RUNTIME HOOKS; init, install/base and install/systemd in its source.
 */
function hookLines(files: Reader, bootScript: string, reason: string): SettingOf<'line'>[] {
  const own = (path: string, line: string, head = headComment()): SettingOf<'line'> =>
    ownFileLine(files, path, { line, reason, head })
  return [
    own(`/etc/initcpio/install/${NAME}`, `vfio_script=${bootScript}`, INSTALL),
    own(`/etc/initcpio/hooks/${NAME}`, `run_earlyhook() { ${bootScript}; }`),
    own(UNIT, `ExecStart=/bin/sh ${bootScript}`, BOOT_SCRIPT_UNIT),
  ]
}
