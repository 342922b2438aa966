import type { CommandChange } from '../../lib/change/plan.ts'
import type { Setting } from '../../lib/change/settings.ts'
import { argumentsInFile } from '../../lib/edit/command-line.ts'
import { findProgram } from '../../lib/host/find-program.ts'
import type { Bootloader, ExternalTokens, Host } from '../../lib/system/system.ts'
import { type BootEntry, entryArguments, hasBlscfgMenu, observeEntries, readEntries } from '../boot/loader-entries.ts'
import { readBootedLine, readLoaderInfo } from '../boot/loader-variables.ts'
import { changedLine, differenceOf, isUnchanged } from './difference.ts'
import { grub } from './grub.ts'
import { CMDLINE_FILE } from './kernel-cmdline.ts'

const ENVIRONMENT = '/boot/grub2/grubenv'

/**
 * Fedora, RHEL and their kin: GRUB whose menu is /boot/loader/entries (blscfg). Each kernel is named, so that the rescue
 * entry, which `ALL` takes in, stays as it is; what `ALL` would write to /etc/default/grub and /etc/kernel/cmdline, for
 * grub2-mkconfig and for kernels to come, are settings of ours. grubby replaces whole arguments, never members of a list.
 */
export const grubby: Bootloader = {
  name: 'grubby',
  documentation:
    'https://docs.redhat.com/en/documentation/red_hat_enterprise_linux/9/html/managing_monitoring_and_updating_the_kernel/configuring-kernel-command-line-parameters_managing-monitoring-and-updating-the-kernel',

  detect(host) {
    const program = findProgram(host.files, 'grubby')
    const [entry] = readEntries(host.files)
    if (program === undefined || entry === undefined || !hasBlscfgMenu(host) || host.files.exists('/ostree/deploy'))
      return undefined
    const loader = readLoaderInfo(host)
    if (loader !== undefined && !/grub/i.test(loader)) return undefined
    const why = `blscfg in GRUB's menu, ${entry.path} and ${program}`
    const booted = loader !== undefined || /(^|\s)BOOT_IMAGE=/.test(readBootedLine(host) ?? '')
    return { kind: booted ? 'booted' : 'configured', why }
  },

  configured: (host) => entryArguments(readGrubbyEntries(host)),

  settings(host, tokens) {
    const path = host.files.resolve(CMDLINE_FILE)
    return tokens.flatMap(({ token, reason }): Setting[] => [
      ...(path === undefined ? [] : [{ kind: 'command-line' as const, layout: 'file' as const, path, token, reason }]),
      ...(host.files.exists('/etc/default/grub') ? grub.settings(host, [{ token, reason }]) : []),
      { kind: 'external', tool: 'grubby', path: '', token, reason },
    ])
  },

  commands(host, external = { add: [], remove: [] }) {
    const all = readGrubbyEntries(host).filter(({ recovery }) => !recovery)
    const normal = all.filter(({ shared }) => !shared)
    const kernels = [...new Set(normal.map(({ linux }) => linux))]
    const common = all.length > normal.length ? environmentCommands(host, external) : []
    const own = kernels.flatMap((linux): CommandChange[] => {
      const entries = normal.filter((entry) => entry.linux === linux)
      const before = entries[0]?.line ?? ''
      const after = changedLine(before, external)
      if (isUnchanged(differenceOf(before, after))) return []
      const [argv, inverse] = [grubbyCommand(linux, before, after), grubbyCommand(linux, after, before)]
      const touches = entries.map(({ path }) => path)
      return [{ kind: 'command', argv, inverse, touches, reason: `the boot entry of ${linux.replace(/.*\//, '')}` }]
    })
    return [...common, ...own]
  },

  observe: (host, tokens, absent) => observeEntries(readGrubbyEntries(host), tokens, absent),

  menu: (host) => grub.menu(host),

  steps: (tokens) => [`grubby --update-kernel=ALL --args="${tokens.join(' ')}"`],
}

/** Older entries (RHEL 8) say `$kernelopts`, which stands in GRUB's environment, also for kernels to come. */
function readGrubbyEntries(host: Host): (BootEntry & { shared: boolean })[] {
  const name = /\$\{?kernelopts\}?/
  const options = kernelOptions(host)
  return readEntries(host.files).map((entry) => ({
    ...entry,
    line: entry.line.replace(name, () => options),
    text: entry.text.replace(name, () => options),
    shared: name.test(entry.line),
  }))
}

function kernelOptions({ files }: Host): string {
  const environment = files.optionalBytes(ENVIRONMENT)?.toString('latin1') ?? ''
  // A backslash stands there as two.
  return (/^kernelopts=(.*)$/m.exec(environment)?.[1] ?? '').replaceAll('\\\\', '\\')
}

/** grubby would write what it stands for into each entry, and that for good. */
function environmentCommands(host: Host, change: ExternalTokens): CommandChange[] {
  const before = kernelOptions(host)
  const after = changedLine(before, change)
  if (before === after) return []
  const set = (line: string): string[] => ['grub2-editenv', '-', 'set', `kernelopts=${line}`]
  const reason = 'the kernel arguments of entries that say $kernelopts'
  return [{ kind: 'command', argv: set(after), inverse: set(before), touches: [ENVIRONMENT], reason }]
}

function grubbyCommand(linux: string, from: string, to: string): string[] {
  const { added, removed, replaced } = differenceOf(from, to)
  const args = [...added, ...replaced.map((one) => one.to)]
  // grubby of old finds `iommu=` in `intel_iommu=on` too: said again, it comes right, or is seen to be wrong.
  const keys = args.map((token) => token.replace(/=.*/, '='))
  const near = argumentsInFile('', to, 'file').filter(
    ({ token }) => !args.includes(token) && keys.some((key) => token.replace(/=.*/, '=').endsWith(key)),
  )
  const again = near.map(({ token }) => token)
  return [
    'grubby',
    `--update-kernel=/boot/${linux.replace(/.*\//, '')}`,
    ...(removed.length > 0 ? [`--remove-args=${removed.join(' ')}`] : []),
    ...(args.length > 0 ? [`--args=${[...args, ...again].join(' ')}`] : []),
  ]
}
