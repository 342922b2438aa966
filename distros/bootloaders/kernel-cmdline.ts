import { UserError } from '../../lib/cli/error.ts'
import { parseCommandLine } from '../../lib/host/kernel.ts'
import type { Host } from '../../lib/plan/system.ts'
import { bootedLine } from './evidence.ts'

export const CMDLINE = '/etc/kernel/cmdline'
const VENDOR = '/usr/lib/kernel/cmdline'

/**
 * The file that kernel-install(8) and makers of unified images take the command line from. Where there is none they take
 * that of this boot: one that we make has to hold all of it, or the next kernel does not find its root. `entries`: lines
 * of entries that are there. Throws a UserError, code `unknown-system`, when nobody knows what it has to hold.
 */
export function kernelCmdline(host: Host, entries: readonly string[]): { path: string; head?: string } {
  const { files } = host
  const path = files.resolve(CMDLINE) ?? CMDLINE
  if (files.exists(CMDLINE)) return { path }
  const vendor = files.optionalBytes(VENDOR)?.toString('latin1')
  if (vendor !== undefined) return { path, head: seed(vendor.replace(/^#.*/gm, ' ')) }
  const roots = new Set(entries.map(rootOf))
  const booted = bootedLine(host)
  if (booted !== undefined && rootOf(booted) !== undefined && (entries.length === 0 || roots.has(rootOf(booted))))
    return { path, head: seed(booted) }
  const last = entries.at(-1)
  if (!host.running && last !== undefined && roots.size === 1 && rootOf(last) !== undefined)
    return { path, head: seed(last) }
  throw new UserError('unknown-system', `${CMDLINE} is missing, and what it has to hold is not known here`, [
    `Write all kernel arguments of this system (root= first) as one line into ${CMDLINE}, and run this again.`,
  ])
}

/** Less what loaders add, and what frees devices for one boot. Source: 90-loaderentry.install in systemd. */
function seed(line: string): string {
  const tokens = parseCommandLine(line.trim()).map(({ token }) => token)
  return `${tokens.filter((token) => !/^(BOOT_IMAGE=|initrd=|vfio[-_]pci\.ids=$|vfio_scripts\.)/.test(token)).join(' ')}\n`
}

function rootOf(line: string): string | undefined {
  return parseCommandLine(line)
    .filter(({ name }) => name === 'root')
    .at(-1)?.value
}
