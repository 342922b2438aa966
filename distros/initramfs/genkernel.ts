import { modprobeFiles, parseModprobe } from '../../lib/edit/modprobe.ts'
import { wordsIn } from '../../lib/edit/word-lists.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { BootStage, BootStep, LoadStep } from '../../lib/system/boot.ts'
import {
  hasBusyboxModprobe,
  listedLoads,
  loadStep,
  modulesBelow,
  textFiles,
  withInstalls,
} from '../../lib/system/boot-steps.ts'
import type { Host, InitramfsAdapter, KernelImage } from '../../lib/system/system.ts'
import { findImages } from '../boot/boot-files.ts'
import { BY_HAND, keepOutStep } from '../boot/by-hand.ts'
import { otherImages } from '../boot/mkinitcpio-images.ts'
import { onRoot } from '../boot/root-script.ts'

const PROGRAM = '/usr/bin/genkernel'
const CONFIG = '/etc/genkernel.conf'
const SHARE = '/usr/share/genkernel'
/** The groups of modules that its init loads, in order, before it starts udev: MY_HWOPTS in initrd.defaults. */
const GROUPS = 'virtio hyperv nvme sata scsi pata usb firewire waitscan lvm dmraid mdadm fs crypto'.split(' ')

/**
 * genkernel, by choice on Gentoo. It takes all of /etc/modprobe.d along, but builds from kernel sources with options
 * that only the person knows, so it gives steps. Its init runs no scripts of ours: defaults/linuxrc.
 * Source: append_modprobed() and append_modules() in gen_initramfs.sh.
 */
export const genkernel: InitramfsAdapter = {
  name: 'genkernel',
  documentation: 'https://wiki.gentoo.org/wiki/Genkernel',
  proven: 'documentation: its own code, read; it writes nothing',

  detect(host) {
    const [image] = genkernelImages(host)
    return !host.files.exists(PROGRAM) || image === undefined ? undefined : `${PROGRAM}, and ${image.path}`
  },

  stageOf(image, release) {
    const [defaults] = textFiles(image, ['/etc/initrd.defaults'])
    if (defaults === undefined) return undefined
    const named = wordsIn(
      [defaults.text.replace(/\$\{?HWOPTS_BLK\}?/g, wordsIn([defaults.text], 'HWOPTS_BLK').join(' '))],
      'MY_HWOPTS',
    )
    const groups = named.length > 0 ? named : GROUPS
    const loads = textFiles(
      image,
      groups.map((group) => `/etc/modules/${group}`),
    ).flatMap((file) => listedLoads(file, false))
    const modules = modulesBelow(image, `/lib/modules/${release}`)
    return { ...udevStage(image, release, loads), busybox: hasBusyboxModprobe(image), modules }
  },

  open: (host) => ({
    ...BY_HAND,
    ...onRoot(host),
    nextStage: (release) => ({
      ...udevStage(host.files, release, configuredLoads(host.files)),
      busybox: false,
      modules: null,
    }),
    images: () => genkernelImages(host),
    // lsinitrd comes with genkernel's package.
    listCommand: (image) => ['lsinitrd', image],

    steps({ module, bootScript, drivers }) {
      if (bootScript !== null)
        return [keepOutStep(drivers, 'AMODULES_* in /etc/genkernel.conf, doload= on the kernel command line')]
      return [
        `In /etc/genkernel.conf: AMODULES_MISC="${module}" (with what is in it already).`,
        'genkernel --kernel-config=/proc/config.gz initramfs (with the options that you use otherwise).',
        `Add doload=${module} to the kernel command line: it is loaded before udev finds the drivers.`,
        `For ${host.kernels.map(({ release }) => release).join(', ') || 'each kernel'}; see that the image is newer than the change.`,
      ]
    },
  }),
}

function genkernelImages(host: Host): KernelImage[] {
  return [...otherImages(host), ...findImages(host, (release) => [`/boot/initramfs-genkernel-x86_64-${release}`])]
}

/** Returns what is loaded of the groups: those of its own lists, and of the person's. Source: append_modules(). */
function configuredLoads(files: Reader): LoadStep[] {
  const texts = textFiles(files, [`${SHARE}/defaults/modules_load`, `${SHARE}/arch/x86_64/modules_load`, CONFIG])
  const all = texts.map(({ text }) => text)
  return GROUPS.flatMap((group) =>
    ['MODULES', 'AMODULES'].flatMap((kind) => {
      const name = `${kind}_${group.toUpperCase()}`
      const place = [...texts].reverse().find(({ text }) => text.includes(`${name}=`))
      return wordsIn(all, name).flatMap((word) => loadStep(word, false, `${place?.path}: ${name}`))
    }),
  )
}

/** Returns the stage of an image whose init loads these modules and then has udev load the rest. */
function udevStage(files: Reader, release: string, loads: readonly LoadStep[]): Pick<BootStage, 'modprobe' | 'steps'> {
  const modprobe = parseModprobe(
    modprobeFiles(files, release, ['/etc/modprobe.d', '/usr/lib/modprobe.d', '/lib/modprobe.d']),
  )
  const coldplug: BootStep = { kind: 'coldplug', beside: [], cause: '/init: udevadm trigger' }
  return { modprobe, steps: withInstalls(files, modprobe, [...loads, coldplug]) }
}
