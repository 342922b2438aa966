import { type JournalRecord, readJournal } from '../change/journal.ts'
import { JOURNAL } from '../change/journal-entry.ts'
import { modprobeFiles, parseModprobe } from '../edit/modprobe.ts'
import { onDemand } from '../host/denied.ts'
import { type Kernel, readKernels } from '../host/installed-kernels.ts'
import type { Machine } from '../host/machine.ts'
import type { Reader } from '../host/reader.ts'
import type { SystemFacts } from './plan-settings.ts'
import type { Adapters, Host } from './system.ts'

/** Returns the system as it is now, with a new reader, since a reader remembers where paths lead. */
export function readHost({ files, reader, running }: Machine): Host {
  const now = files.reopen()
  return { files: now, machine: reader === files ? now : reader, running, kernels: readKernels(now) }
}

/** Returns the system as it is set up, each fact read on demand. `requested`: the adapters that the person named. */
export function readSystemFacts(
  host: Host,
  adapters: Adapters,
  requested: { bootloader: string | undefined; initramfs: string | undefined },
): SystemFacts {
  const { files, machine } = host
  const facts: SystemFacts = onDemand([files, machine], {
    host: () => host,
    modprobe: () => parseModprobe(modprobeFiles(files, newestKernel(host)?.release)),
    distro: () => readDistro(host, adapters),
    bootloader: () => adapters.findBootloader(host, requested.bootloader),
    configured: () =>
      facts.distro.adapter?.declarative?.arguments(files) ?? facts.bootloader.adapter?.configured() ?? [],
    initramfs: () => adapters.findInitramfs(host, requested.initramfs),
    entries: () => {
      const menu = facts.bootloader.adapter?.entries() ?? []
      return menu.length > 0 ? menu : adapters.firmwareEntries(host)
    },
    journal: () => readableJournal(files),
  })
  return facts
}

/** Finds the distribution by os-release. */
export function readDistro({ files }: Host, adapters: Adapters): SystemFacts['distro'] {
  return adapters.findDistro(files)
}

/** Returns the newest kernel: each has its own modules.softdep, and the next boot most likely reads the newest one. */
function newestKernel({ kernels }: Host): Kernel | undefined {
  return kernels.at(-1)
}

/** Reads the journal. Without root it counts as empty, as if nothing had been changed yet, and the denial is noted. */
function readableJournal(files: Reader): JournalRecord[] {
  const { length } = files.denials
  try {
    return readJournal(files)
  } catch (error) {
    if (files.denials.length === length) throw error
    files.denied.set(JOURNAL, files.denials.at(-1) ?? '')
    return []
  }
}
