import type { CommandChange } from '../../lib/change/plan.ts'
import { argumentsInFile } from '../../lib/edit/command-line.ts'
import { findProgram } from '../../lib/host/find-program.ts'
import type { BootloaderAdapter, Host } from '../../lib/system/system.ts'
import { inCommandLine, keptBy } from '../boot/argument-settings.ts'
import { readOnce } from '../boot/boot-files.ts'
import { GRUB_DEFAULTS } from '../boot/grub-defaults.ts'
import { readGrubEnvironment } from '../boot/grub-entries.ts'
import { hasBlscfgMenu } from '../boot/grub-menu.ts'
import { CMDLINE_FILE } from '../boot/kernel-cmdline.ts'
import { type LineDifference, lineCommands } from '../boot/line-difference.ts'
import { type BootEntry, entryArguments, normalEntries, observeEntries, readEntries } from '../boot/loader-entries.ts'
import { grubEvidence } from '../boot/loader-variables.ts'
import { blscfgMenu } from '../boot/systemd-boot-menu.ts'
import { grub } from './grub.ts'

const ENVIRONMENT = '/boot/grub2/grubenv'

/**
 * grubby of Fedora, RHEL and their kin: GRUB whose menu is /boot/loader/entries (blscfg). Commands name each kernel, so
 * that the rescue entry, which `ALL` includes, stays unchanged. Settings replace what `ALL` would write for
 * grub2-mkconfig to /etc/default/grub, and for new kernels to /etc/kernel/cmdline. grubby replaces whole arguments,
 * never members of a list.
 */
export const grubby: BootloaderAdapter = {
  name: 'grubby',
  documentation:
    'https://docs.redhat.com/en/documentation/red_hat_enterprise_linux/9/html/managing_monitoring_and_updating_the_kernel/configuring-kernel-command-line-parameters_managing-monitoring-and-updating-the-kernel',
  proven: "real tool: grubby's own script, by hand",

  detect(host) {
    const { files } = host
    const program = findProgram(files, 'grubby')
    const [entry] = readEntries(files)
    if (program === undefined || entry === undefined || !hasBlscfgMenu(files) || files.exists('/ostree/deploy'))
      return undefined
    const loader = grubEvidence(host)
    if (loader === null) return undefined
    const why = `blscfg in GRUB's menu, ${entry.path} and ${program}`
    return { kind: loader === undefined ? 'configured' : 'booted', why }
  },

  open(host) {
    const { files } = host
    const { settings, menu } = grub.open(host)
    const options = readOnce(host, () => readKernelOptions(host))
    const entries = readOnce(host, () => readGrubbyEntries(host, options()))
    return {
      configured: () => entryArguments(entries()),

      settings(tokens) {
        normalEntries(entries())
        const path = files.resolve(CMDLINE_FILE)
        return tokens.flatMap((one) => [
          ...(path === undefined ? [] : [inCommandLine('file', { path }, one)]),
          ...(files.exists(GRUB_DEFAULTS) ? settings([one]) : []),
          keptBy('grubby', one),
        ])
      },

      commands(external) {
        const all = entries().filter(({ recovery }) => !recovery)
        const normal = all.filter(({ shared }) => !shared)
        const common = all.length === normal.length ? [] : lineCommands(options(), external, environmentCommand, SHARED)
        const kernels = [...new Set(normal.map(({ linux }) => linux))]
        const own = kernels.flatMap((linux): CommandChange[] => {
          const same = normal.filter((entry) => entry.linux === linux)
          const name = linux.replace(/.*\//, '')
          return lineCommands(same[0]?.line ?? '', external, (change) => grubbyCommand(name, change), {
            touches: same.map(({ path }) => path),
            reason: `the boot entry of ${name}`,
          })
        })
        return [...common, ...own]
      },

      observe: (tokens, absent) => observeEntries(entries(), tokens, absent),
      entries: () => blscfgMenu(host, entries()),
      menu,
      steps: (tokens) => [`grubby --update-kernel=ALL --args="${tokens.join(' ')}"`],
    }
  },
}

/** Reads the entries. Older ones (RHEL 8), also of new kernels, say `$kernelopts`, a variable of GRUB's environment. */
function readGrubbyEntries({ files }: Host, options: string): (BootEntry & { shared: boolean })[] {
  const name = /\$\{?kernelopts\}?/
  return readEntries(files).map((entry) => ({
    ...entry,
    line: entry.line.replace(name, () => options),
    text: entry.text.replace(name, () => options),
    shared: name.test(entry.line),
  }))
}

function readKernelOptions({ files }: Host): string {
  return readGrubEnvironment(files).get('kernelopts') ?? ''
}

const SHARED = { touches: [ENVIRONMENT], reason: 'the kernel arguments of entries that say $kernelopts' }

/** Returns the command that sets `kernelopts`. grubby would write its value into each entry for good. */
function environmentCommand({ to }: LineDifference): string[] {
  return ['grub2-editenv', '-', 'set', `kernelopts=${to}`]
}

function grubbyCommand(kernel: string, { to, added, removed, replaced }: LineDifference): string[] {
  const args = [...added, ...replaced.map((one) => one.to)]
  // Old versions of grubby find `iommu=` in `intel_iommu=on` too: given again, it is put right, or seen to be wrong.
  const keys = args.map((token) => token.replace(/=.*/, '='))
  const near = argumentsInFile('', to, 'file').filter(
    ({ token }) => !args.includes(token) && keys.some((key) => token.replace(/=.*/, '=').endsWith(key)),
  )
  return [
    'grubby',
    `--update-kernel=/boot/${kernel}`,
    ...(removed.length > 0 ? [`--remove-args=${removed.join(' ')}`] : []),
    ...(args.length > 0 ? [`--args=${[...args, ...near.map(({ token }) => token)].join(' ')}`] : []),
  ]
}
