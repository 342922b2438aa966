import {
  assignedValue,
  type DropIn,
  dropInFolders,
  dropInPaths,
  readConfigFiles,
  readDropIns,
} from '../../lib/host/drop-ins.ts'
import { findProgram } from '../../lib/host/find-program.ts'
import type { Reader } from '../../lib/host/reader.ts'
import { readShellFiles } from './boot-files.ts'

// How kernel-install(8) is set up: its configuration, its plugins, and that of ukify, which one of them runs.

/**
 * Reads the configuration of kernel-install: `layout=`, `initrd_generator=`, `uki_generator=`. Until systemd 254 it was a
 * shell script, which reads one file without drop-ins.
 */
export function readInstallConfig(files: Reader): Record<'layout' | 'initrd' | 'uki', string | undefined> {
  const program = findProgram(files, 'kernel-install')
  const isShell = program !== undefined && files.optionalBytes(program, 2)?.toString('latin1') === '#!'
  const shell = ['/etc/kernel/install.conf', '/usr/lib/kernel/install.conf'].filter((path) => files.exists(path))
  const all = isShell ? readShellFiles(files, shell.slice(0, 1)) : readConfigFiles(files, 'kernel/install.conf')
  const value = (key: string): string | undefined => {
    const text = assignedValue(all, key)
    return isShell ? text?.replace(/^(["'])(.*)\1$/, '$2') : text
  }
  return { layout: value('layout'), initrd: value('initrd_generator'), uki: value('uki_generator') }
}

/**
 * Returns the plugins that it runs, by name: one in /etc stands for that of a package, an empty one for none.
 * Source: kernel-install(8).
 */
export function kernelInstallPlugins(files: Reader): DropIn[] {
  const all = readDropIns(files, ['/etc/kernel/install.d', '/usr/lib/kernel/install.d'], /\.install$/)
  return all.filter(({ text }) => text !== '')
}

/** Finds its plugin that runs this generator, whatever number a distribution gave it; `undefined`: there is none. */
export function findInstallPlugin(files: Reader, generator: 'dracut' | 'mkinitcpio'): string | undefined {
  const isOf = new RegExp(`/\\d+-${generator}\\.install$`)
  return kernelInstallPlugins(files).find(({ path }) => isOf.test(path))?.path
}

/**
 * Returns the text of the configuration by which kernel-install has ukify make images: the first file of its own, else
 * the first of ukify's. Neither has drop-ins. Source: uki_conf_location() in 60-ukify.install, apply_config() in ukify.
 */
export function ukifyConfig(files: Reader): string {
  const own = [dropInFolders('kernel'), /^uki\.conf$/] as const
  const rest = [dropInFolders('systemd'), /^ukify\.conf$/] as const
  return readDropIns(files, ...(dropInPaths(files, ...own).length > 0 ? own : rest))[0]?.text ?? ''
}
