import type { OsRelease } from '../lib/host/os-release.ts'
import type { Adapters, Bootloader, Choice, Distro, Host, Initramfs } from '../lib/plan/system.ts'
import { grub } from './bootloaders/grub.ts'
import { debian } from './debian.ts'
import { booster } from './initramfs/booster.ts'
import { dracut } from './initramfs/dracut.ts'
import { genkernel } from './initramfs/genkernel.ts'
import { initramfsTools } from './initramfs/initramfs-tools.ts'
import { mkinitcpio } from './initramfs/mkinitcpio.ts'
import { mkinitfs } from './initramfs/mkinitfs.ts'
import { none } from './initramfs/none.ts'
import { rpmOstree } from './initramfs/rpm-ostree.ts'

const DISTROS: readonly Distro[] = [debian]
const BOOTLOADERS: readonly Bootloader[] = [grub]
const INITRAMFS: readonly Initramfs[] = [
  initramfsTools,
  dracut,
  mkinitcpio,
  booster,
  rpmOstree,
  genkernel,
  mkinitfs,
  none,
]

/** The family that a system belongs to: by its own name, else by the nearest that it derives from. */
function findDistro({ id, like, name }: OsRelease): Choice<Distro> {
  for (const own of [id, ...like]) {
    const adapter = DISTROS.find(({ ids }) => ids.includes(own))
    if (adapter !== undefined) return { adapter, why: `os-release says ${name}` }
  }
  const what = `${name} (ID ${id || 'missing'}) is no distribution that is known here`
  return { adapter: undefined, why: `${what}; if it works like one, name --bootloader and --initramfs` }
}

/** The boot loader that brings this host up: the one named, else by evidence, of this boot before that of files. */
function findBootloader(host: Host, name: string | undefined): Choice<Bootloader> {
  const evidence = BOOTLOADERS.flatMap((adapter) => {
    const found = adapter.evidence(host)
    return found === undefined ? [] : [{ adapter, ...found }]
  })
  const booted = evidence.filter(({ kind }) => kind === 'booted')
  return choose('bootloader', BOOTLOADERS, booted.length > 0 ? booted : evidence, name)
}

/** The initramfs generator: the one named, else by evidence. */
function findInitramfs(host: Host, name: string | undefined): Choice<Initramfs> {
  const evidence = INITRAMFS.flatMap((adapter) => {
    const why = adapter.evidence(host)
    return why === undefined ? [] : [{ adapter, why }]
  })
  return choose('initramfs', INITRAMFS, evidence, name)
}

function choose<T extends { name: string }>(
  option: string,
  known: readonly T[],
  evidence: readonly { adapter: T; why: string }[],
  name: string | undefined,
): Choice<T> {
  const named = known.find((adapter) => adapter.name === name)
  if (named !== undefined) return { adapter: named, why: `--${option} ${name}` }
  const [first, ...more] = evidence
  if (first !== undefined && more.length === 0) return first
  const names = (evidence.length > 0 ? evidence.map(({ adapter }) => adapter) : known).map((one) => one.name).join('|')
  const seen = evidence.map(({ adapter, why }) => `${adapter.name} (${why})`).join(', ')
  const what = option === 'bootloader' ? 'boot loader' : 'initramfs generator'
  const problem = seen === '' ? `no ${what} that is known here was found` : `more than one ${what} is here: ${seen}`
  return { adapter: undefined, why: `${problem}; name it: --${option} ${names}` }
}

/** All that the scripts need to know of distributions. */
export const adapters: Adapters = {
  bootloaders: BOOTLOADERS,
  initramfs: INITRAMFS,
  findDistro,
  findBootloader,
  findInitramfs,
}
