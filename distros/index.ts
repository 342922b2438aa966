import { readOsRelease } from '../lib/host/os-release.ts'
import type { Reader } from '../lib/host/reader.ts'
import type {
  Adapters,
  Bootloader,
  BootloaderAdapter,
  Detected,
  Distro,
  Host,
  Initramfs,
  InitramfsAdapter,
} from '../lib/system/system.ts'
import { alpine } from './alpine.ts'
import { arch } from './arch.ts'
import { firmwareEntries } from './boot/firmware-entries.ts'
import { bootc } from './bootloaders/bootc.ts'
import { grub } from './bootloaders/grub.ts'
import { grubby } from './bootloaders/grubby.ts'
import { kernelstub } from './bootloaders/kernelstub.ts'
import { limine } from './bootloaders/limine.ts'
import { proxmox, proxmoxGrub } from './bootloaders/proxmox.ts'
import { refind } from './bootloaders/refind.ts'
import { rpmOstreeKargs } from './bootloaders/rpm-ostree-kargs.ts'
import { sdbootutil } from './bootloaders/sdbootutil.ts'
import { systemdBoot } from './bootloaders/systemd-boot.ts'
import { uki } from './bootloaders/uki.ts'
import { debian } from './debian.ts'
import { fedora } from './fedora.ts'
import { fedoraAtomic } from './fedora-atomic.ts'
import { gentoo } from './gentoo.ts'
import { booster } from './initramfs/booster.ts'
import { dracut } from './initramfs/dracut.ts'
import { genkernel } from './initramfs/genkernel.ts'
import { initramfsTools } from './initramfs/initramfs-tools.ts'
import { mkinitcpio } from './initramfs/mkinitcpio.ts'
import { mkinitfs } from './initramfs/mkinitfs.ts'
import { noInitramfs } from './initramfs/none.ts'
import { rpmOstree } from './initramfs/rpm-ostree.ts'
import { microos } from './microos.ts'
import { nixos } from './nixos.ts'
import { opensuse } from './opensuse.ts'
import { rhel } from './rhel.ts'
import { whyUnsupported } from './unsupported.ts'
import { voidLinux } from './void.ts'

/** The known distributions; a new one is one line here. */
export const DISTROS: readonly Distro[] = [
  debian,
  arch,
  fedora,
  fedoraAtomic,
  rhel,
  opensuse,
  microos,
  gentoo,
  nixos,
  alpine,
  voidLinux,
]
const BOOTLOADERS: readonly BootloaderAdapter[] = [
  grub,
  grubby,
  systemdBoot,
  uki,
  sdbootutil,
  kernelstub,
  rpmOstreeKargs,
  bootc,
  proxmox,
  proxmoxGrub,
  limine,
  refind,
]
const INITRAMFS: readonly InitramfsAdapter[] = [
  initramfsTools,
  dracut,
  mkinitcpio,
  booster,
  rpmOstree,
  genkernel,
  mkinitfs,
  noInitramfs,
]

/**
 * Finds the family that a system belongs to: by its own name, else by the nearest that it derives from. A variant that
 * works in another way (`fedora/silverblue`) is a family of its own.
 */
function findDistro(files: Reader): Detected<Distro> {
  const os = readOsRelease(files)
  const { id, like, name, variant } = os
  const unsupported = whyUnsupported(files, os)
  if (unsupported !== undefined) return { adapter: undefined, why: unsupported, lasts: false }
  for (const each of [id, ...like].map((word) => word.replace(/\s+/g, '-'))) {
    for (const key of [`${each}/${variant}`, each]) {
      const adapter = DISTROS.find(({ ids }) => ids.includes(key))
      if (adapter !== undefined) return { adapter, why: `os-release says ${name}` }
    }
  }
  const what = 'is no distribution that is known here; if it works like one, name --bootloader and --initramfs'
  return { adapter: undefined, why: `${name} (ID ${id || 'missing'}) ${what}` }
}

/** Finds this host's boot loader: the one named, else by evidence, of which that of this boot goes before files. */
function findBootloader(host: Host, name: string | undefined): Detected<Bootloader> {
  const evidence = () => {
    const all = BOOTLOADERS.map((adapter) => ({ name: adapter.name, ...adapter.detect(host) }))
    const booted = all.filter(({ kind }) => kind === 'booted')
    // A unified image holds its command line, whatever loader started it.
    const unified = booted.filter((one) => one.name === uki.name)
    return [unified, booted].find((some) => some.length > 0) ?? all
  }
  return openDetected(BOOTLOADERS, host, { option: 'bootloader', what: 'boot loader', name }, evidence)
}

/** Finds the initramfs generator: the one named, else by evidence. */
function findInitramfs(host: Host, name: string | undefined): Detected<Initramfs> {
  const evidence = () => INITRAMFS.map((adapter) => ({ name: adapter.name, why: adapter.detect(host) }))
  return openDetected(INITRAMFS, host, { option: 'initramfs', what: 'initramfs generator', name }, evidence)
}

interface Openable<T> {
  name: string
  open(host: Host): T
}

function openNamed<T>(known: readonly Openable<T>[], host: Host, name: unknown): (T & { name: string }) | undefined {
  const adapter = known.find((one) => one.name === name)
  return adapter && { ...adapter.open(host), name: adapter.name }
}

/** Opens the adapter that is named, or the only one with evidence; else returns why there is none. */
function openDetected<T>(
  known: readonly Openable<T>[],
  host: Host,
  { option, what, name }: { option: string; what: string; name: string | undefined },
  evidence: () => { name: string; why?: string | undefined }[],
): Detected<T & { name: string }> {
  const named = openNamed(known, host, name)
  if (named !== undefined) return { adapter: named, named: true, why: `--${option} ${name}` }
  const found = evidence().filter(({ why }) => why !== undefined)
  const [first, ...more] = found
  if (first !== undefined && more.length === 0)
    return { adapter: openNamed(known, host, first.name), why: `${first.why}` }
  const names = (found.length > 0 ? found : known).map((one) => one.name).join('|')
  const seen = found.map((one) => `${one.name} (${one.why})`).join(', ')
  const problem = seen === '' ? `no ${what} that is known here was found` : `more than one ${what} is here: ${seen}`
  return { adapter: undefined, why: `${problem}; name it: --${option} ${names}` }
}

/** The adapters of all distributions, as the scripts use them. */
export const adapters: Adapters = {
  bootloaders: BOOTLOADERS,
  initramfs: INITRAMFS,
  findDistro,
  findBootloader,
  findInitramfs,
  firmwareEntries,
  openBootloader: (host, name) => openNamed(BOOTLOADERS, host, name),
  openInitramfs: (host, name) => openNamed(INITRAMFS, host, name),
  stageOf: (image, release) => INITRAMFS.map((adapter) => adapter.stageOf(image, release)).find((stage) => stage),
}
