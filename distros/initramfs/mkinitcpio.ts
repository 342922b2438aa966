import { headComment, type Setting, type SettingOf } from '../../lib/change/settings.ts'
import { wordsIn } from '../../lib/edit/word-lists.ts'
import type { Reader } from '../../lib/host/reader.ts'
import { BOOT_SCRIPT_UNIT } from '../../lib/system/boot-script.ts'
import type { Initramfs } from '../../lib/system/system.ts'
import { kernelInstallCommands, kernelInstallImagesOf } from '../boot/unified-images.ts'
import { otherImages, type PresetImage, presetImages } from './presets.ts'

const PROGRAMS = ['/usr/bin/mkinitcpio', '/usr/local/bin/mkinitcpio', '/sbin/mkinitcpio']
const MAIN = '/etc/mkinitcpio.conf'
const DROP_INS = `${MAIN}.d`
// Behind all others: they are read by name, joined into one text.
const OURS = 'zz-vfio-scripts.conf'
// Begins with an empty line: what is joined before it may have no end.
const HEAD = `\n${headComment()}`

const NAME = 'vfio-scripts'
const EARLY = 'runs the script first thing in the initramfs, before udev'
// Not where the system itself would read it.
const UNIT = '/etc/vfio-scripts/initramfs.service'
// Shell and programs as the hook `base` has them, which comes later, or not at all beside `systemd`.
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

/** Arch Linux, Manjaro, CachyOS and others of their kin. */
export const mkinitcpio: Initramfs = {
  name: 'mkinitcpio',
  documentation: 'https://man.archlinux.org/man/mkinitcpio.8',

  detect(host) {
    const program = PROGRAMS.find((path) => host.files.exists(path))
    const [image] = mkinitcpio.images(host)
    return program === undefined || image === undefined ? undefined : `${program}, and ${image.path}`
  },

  bootScriptLocation: () => 'image',

  settings({ files, kernels }, { module, bootScript }) {
    const word = underscored(module)
    const script = bootScript === null ? [] : mkinitcpioOverride(files, bootScript)
    const configs = mkinitcpioConfigs(files, presetImages(files, kernels)).flatMap(({ place, others }): Setting[] => {
      // add_module() takes in what it depends on. Modules are loaded in this order; for the GPU drivers that the hook
      // `kms` brings, and for udev, the softdeps say it once more.
      const reason = `${module} is in every initramfs, loaded before other modules`
      const modules: Setting = { kind: 'shell-word', ...place, variable: 'MODULES', word, reason }
      // Its place among the hooks does not matter: it copies files. The documentation has it there.
      const why = 'this hook has /etc/modprobe.d in every initramfs'
      const hook: Setting = {
        kind: 'shell-word',
        ...place,
        variable: 'HOOKS',
        word: 'modconf',
        after: 'autodetect',
        reason: why,
      }
      // In front of all, so that no hook can load drivers earlier.
      const early: Setting = { kind: 'shell-word', ...place, variable: 'HOOKS', word: NAME, reason: EARLY }
      return [modules, hook, ...(bootScript === null ? [] : [early])].filter(
        (one) =>
          one.kind === 'shell-word' &&
          !wordsIn(others, one.variable).some((has) => underscored(has) === underscored(one.word)),
      )
    })
    return [...script, ...configs]
  },

  commands(host) {
    const { files, kernels } = host
    const made = presetImages(files, kernels)
    const presets = [...new Set(made.map(({ preset }) => preset))]
    if (presets.length > 0)
      return presets.map((name) => ({
        kind: 'command',
        argv: ['mkinitcpio', '-p', name],
        // By then other kernels may be installed.
        inverse: ['mkinitcpio', '-P'],
        touches: made.filter(({ preset }) => preset === name).map(({ path }) => path),
        reason: `the initramfs of ${name}`,
      }))
    const installed = kernelInstallImagesOf(host, 'mkinitcpio')
    if (installed.length > 0) return kernelInstallCommands(host, installed)
    return otherImages(files, kernels).map(({ release, path }) => {
      const argv = ['mkinitcpio', '-k', release, '-g', path]
      return { kind: 'command', argv, inverse: argv, touches: [path], reason: `the initramfs of ${release}` }
    })
  },

  images(host) {
    const { files, kernels } = host
    const made = presetImages(files, kernels).map(({ release, path }) => ({ release, path }))
    const installed = made.length > 0 ? [] : kernelInstallImagesOf(host, 'mkinitcpio')
    return [made, installed].find((some) => some.length > 0) ?? otherImages(files, kernels)
  },

  listCommand: (image) => ['lsinitcpio', image],

  steps({ module }, host) {
    const [image] = mkinitcpio.images(host)
    const word = underscored(module)
    return [
      `In ${MAIN} (or what your presets name): ${word} first in MODULES=(...), and modconf in HOOKS=(...).`,
      'mkinitcpio -P',
      `lsinitcpio ${image?.path ?? '/boot/initramfs-linux.img'} | grep -E '${module}|modprobe.d'`,
    ]
  },
}

const underscored = (name: string): string => name.replaceAll('-', '_')

/**
 * A hook of our own, and what it runs when the machine boots: before any hook of the busybox init, which loads MODULES
 * after those; or as a unit of the systemd one. What is of no use in an image is two small files.
 * Source: mkinitcpio(8), BUILD HOOKS and RUNTIME HOOKS; init, install/base and install/systemd in its source.
 */
function mkinitcpioOverride(files: Reader, override: string): SettingOf<'line'>[] {
  const own = (path: string, head: string, line: string): SettingOf<'line'> => {
    const folder = path.slice(0, path.lastIndexOf('/'))
    const place = `${files.resolve(folder) ?? folder}${path.slice(folder.length)}`
    return { kind: 'line', path: place, head, line, reason: EARLY }
  }
  return [
    own(`/etc/initcpio/install/${NAME}`, INSTALL, `vfio_script=${override}`),
    own(`/etc/initcpio/hooks/${NAME}`, headComment(), `run_earlyhook() { ${override}; }`),
    own(UNIT, BOOT_SCRIPT_UNIT, `ExecStart=/bin/sh ${override}`),
  ]
}

interface MkinitcpioConfig {
  place: { path: string; head?: string }
  /** What is read together with a file of our own. */
  others: string[]
}

/**
 * The configurations that images are made from: a drop-in of our own where mkinitcpio (from version 36 on) reads them,
 * else the main file; and what presets name, which is read alone.
 */
function mkinitcpioConfigs(files: Reader, images: readonly PresetImage[]): MkinitcpioConfig[] {
  const text = (path: string): string => files.optionalBytes(path)?.toString('latin1') ?? ''
  const named = [...new Set(images.flatMap(({ config }) => config ?? []))]
  const configs = named.map((path): MkinitcpioConfig => ({ place: { path: files.resolve(path) ?? path }, others: [] }))
  if (images.length > 0 && images.every(({ config }) => config !== undefined)) return configs
  const program = text(PROGRAMS.find((path) => files.exists(path)) ?? '')
  if (!/\b_d_config\b|mkinitcpio\.conf\.d\b/.test(program)) {
    const path = files.resolve(MAIN) ?? MAIN
    return [...configs.filter(({ place }) => place.path !== path), { place: { path }, others: [] }]
  }
  const names = (files.list(DROP_INS) ?? []).filter((name) => /^[^.].*\.conf$/.test(name) && name !== OURS)
  const others = [MAIN, ...names.map((name) => `${DROP_INS}/${name}`)].map(text)
  const path = `${files.resolve(DROP_INS) ?? DROP_INS}/${OURS}`
  return [...configs, { place: { path, head: HEAD }, others }]
}
