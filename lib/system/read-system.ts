import { type JournalRecord, readJournal } from '../change/journal.ts'
import { JOURNAL } from '../change/journal-entry.ts'
import { modprobeFiles, parseModprobe } from '../edit/modprobe.ts'
import { onDemand } from '../host/denied.ts'
import { type Kernel, readKernels } from '../host/installed-kernels.ts'
import type { Machine } from '../host/machine.ts'
import type { Reader } from '../host/reader.ts'
import type { SystemFacts } from './plan-settings.ts'
import type { Adapters, Host } from './system.ts'

/** The system as it is now: a reader remembers where paths lead, so each look takes a new one. */
export function readHost({ files, reader, running }: Machine): Host {
  const now = files.reopen()
  return { files: now, machine: reader === files ? now : reader, running, kernels: readKernels(now) }
}

/** The system as it is set up; `named`: the adapters that the person named. */
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
    journal: () => readableJournal(files),
  })
  return facts
}

export function readDistro({ files }: Host, adapters: Adapters): SystemFacts['distro'] {
  return adapters.findDistro(files)
}

/** Every kernel brings its own modules.softdep; what the newest says is what the next boot most likely reads. */
function newestKernel({ kernels }: Host): Kernel | undefined {
  return kernels.at(-1)
}

/** Without root a plan is made as if this toolkit had changed nothing yet, and says so. */
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
