import { argumentsInFile } from '../../lib/edit/command-line.ts'
import { findProgram } from '../../lib/host/find-program.ts'
import type { BootloaderAdapter } from '../../lib/system/system.ts'
import { keptBy } from '../boot/argument-settings.ts'
import { readOnce } from '../boot/boot-files.ts'
import { type LineDifference, lineCommands } from '../boot/line-difference.ts'
import { observeEntries, readEntries } from '../boot/loader-entries.ts'
import { loaderEvidence, SYSTEMD_BOOT_MENU } from '../boot/loader-variables.ts'
import { systemdBootMenu } from '../boot/systemd-boot-menu.ts'

const CONFIGURATION = '/etc/kernelstub/configuration'

/**
 * kernelstub of Pop!_OS: it makes the entries of systemd-boot, except that of the recovery system. `--delete-options`
 * would reorder the other options, so a line that loses arguments is given whole. Source: kernelstub's application.py.
 */
export const kernelstub: BootloaderAdapter = {
  name: 'kernelstub',
  documentation: 'https://github.com/pop-os/kernelstub',
  proven: "real tool: kernelstub's own code, by hand",

  detect(host) {
    const program = findProgram(host.files, 'kernelstub')
    if (program === undefined || !host.files.exists(CONFIGURATION)) return undefined
    const why = `${program} and ${CONFIGURATION}`
    return loaderEvidence(host, /^systemd-boot/, () => why, `, and ${CONFIGURATION}`)
  },

  open(host) {
    const { files } = host
    const text = readOnce(host, () => files.optionalBytes(CONFIGURATION)?.toString('utf8') ?? '')
    return {
      configured() {
        const before = text().slice(0, Math.max(0, text().search(/"user"[\s\S]*"kernel_options"/)))
        const line = before.split('\n').length
        return argumentsInFile(CONFIGURATION, userOptions(text()), 'file').map((one) => ({ ...one, line }))
      },

      settings: (tokens) => tokens.map((one) => keptBy('kernelstub', one)),

      commands(external) {
        const entries = readEntries(files).filter(({ recovery }) => !recovery)
        const touches = [CONFIGURATION, ...entries.map(({ path }) => path)]
        return lineCommands(userOptions(text()), external, kernelstubCommand, { touches, reason: 'the boot entries' })
      },

      observe(tokens, absent) {
        const entries = readEntries(files).filter(({ path }) => /\/Pop_OS-[^/]*\.conf$/.test(path))
        return observeEntries(entries, tokens, absent)
      },

      entries: () => systemdBootMenu(host, readEntries(files)),
      menu: () => SYSTEMD_BOOT_MENU,
      steps: (tokens) => [`kernelstub --add-options "${tokens.join(' ')}"`],
    }
  },
}

function kernelstubCommand({ from, to, added, removed, replaced }: LineDifference): string[] {
  if (removed.length + replaced.length === 0) return ['kernelstub', '--add-options', added.join(' ')]
  // An empty --options would be ignored.
  return to === '' ? ['kernelstub', '--delete-options', from] : ['kernelstub', '--options', to]
}

/** Returns the options that a person may change: a list or, in an older configuration, one string. */
function userOptions(configuration: string): string {
  try {
    const options: unknown = JSON.parse(configuration).user?.kernel_options
    return Array.isArray(options) ? options.filter((one) => one !== '').join(' ') : `${options ?? ''}`
  } catch {
    return ''
  }
}
