import { findProgram } from '../../lib/host/find-program.ts'
import { parseCommandLine } from '../../lib/host/kernel.ts'
import type { Bootloader, Host } from '../../lib/system/system.ts'
import { observeEntries, readEntries } from '../boot/loader-entries.ts'
import { readLoaderInfo, UNBIND_ARGUMENTS } from '../boot/loader-variables.ts'
import { changedLine, differenceOf, isUnchanged } from './difference.ts'

const CONFIGURATION = '/etc/kernelstub/configuration'

/**
 * Pop!_OS: systemd-boot whose entries kernelstub makes; the recovery system has one of its own. `--delete-options` would
 * put all others into any order: what loses arguments is given whole. Source: kernelstub's application.py.
 */
export const kernelstub: Bootloader = {
  name: 'kernelstub',
  documentation: 'https://github.com/pop-os/kernelstub',

  detect(host) {
    const program = findProgram(host.files, 'kernelstub')
    if (program === undefined || !host.files.exists(CONFIGURATION)) return undefined
    const loader = readLoaderInfo(host)
    if (loader === undefined) return { kind: 'configured', why: `${program} and ${CONFIGURATION}` }
    if (!/^systemd-boot/.test(loader)) return undefined
    return { kind: 'booted', why: `${loader} booted this, and ${CONFIGURATION}` }
  },

  configured(host) {
    const text = host.files.optionalBytes(CONFIGURATION)?.toString('latin1') ?? ''
    const line = text.slice(0, Math.max(0, text.search(/"user"[\s\S]*"kernel_options"/))).split('\n').length
    return parseCommandLine(readKernelstubLine(host)).map((one) => ({
      ...one,
      file: CONFIGURATION,
      line,
      variable: '',
      sure: true,
    }))
  },

  settings: (_, tokens) =>
    tokens.map(({ token, reason }) => ({ kind: 'external', tool: kernelstub.name, path: '', token, reason })),

  commands(host, external = { add: [], remove: [] }) {
    const before = readKernelstubLine(host)
    const after = changedLine(before, external)
    if (isUnchanged(differenceOf(before, after))) return []
    const touches = [
      CONFIGURATION,
      ...readEntries(host.files)
        .filter(({ recovery }) => !recovery)
        .map(({ path }) => path),
    ]
    const [argv, inverse] = [kernelstubCommand(before, after), kernelstubCommand(after, before)]
    return [{ kind: 'command', argv, inverse, touches, reason: 'the boot entries' }]
  },

  observe(host, tokens, absent) {
    const entries = readEntries(host.files).filter(({ path }) => /\/Pop_OS-[^/]*\.conf$/.test(path))
    return observeEntries(entries, tokens, absent)
  },

  menu: () =>
    `hold the space bar while the machine starts, for systemd-boot's menu: press e, append ${UNBIND_ARGUMENTS}, press Enter`,

  steps: (tokens) => [`kernelstub --add-options "${tokens.join(' ')}"`],
}

function kernelstubCommand(from: string, to: string): string[] {
  const { added, removed, replaced } = differenceOf(from, to)
  if (removed.length + replaced.length === 0) return ['kernelstub', '--add-options', added.join(' ')]
  // Without any it would not listen.
  return to === '' ? ['kernelstub', '--delete-options', from] : ['kernelstub', '--options', to]
}

/** The options that a person may change: a list, or (an older configuration) one string. */
function readKernelstubLine({ files }: Host): string {
  try {
    const { user } = JSON.parse(files.optionalBytes(CONFIGURATION)?.toString('utf8') ?? '{}')
    const options: unknown = user?.kernel_options
    return Array.isArray(options) ? options.filter((one) => one !== '').join(' ') : `${options ?? ''}`
  } catch {
    return ''
  }
}
