import type { ConfiguredArgument } from '../../lib/edit/shell-variables.ts'
import { findProgram } from '../../lib/host/find-program.ts'
import { parseCommandLine } from '../../lib/host/kernel.ts'
import type { Bootloader, Host } from '../../lib/system/system.ts'
import { type BootEntry, entryArguments, observeEntries, readEntries } from '../boot/loader-entries.ts'
import { changedLine, differenceOf, isUnchanged } from './difference.ts'
import { grub } from './grub.ts'

const DEPLOYMENTS = '/ostree/deploy'
const STAGED = '/run/ostree/staged-deployment'

/** Fedora Atomic desktops, CoreOS, Bazzite: each change is a new deployment; the entry of the former one stays. */
export const rpmOstreeKargs: Bootloader = {
  name: 'rpm-ostree',
  documentation: 'https://coreos.github.io/rpm-ostree/man/rpm-ostree/',

  detect(host) {
    const program = findProgram(host.files, 'rpm-ostree')
    if (program === undefined) return undefined
    if (host.running && host.machine.exists('/run/ostree-booted'))
      return { kind: 'booted', why: `/run/ostree-booted, and ${program}` }
    return host.files.exists(DEPLOYMENTS) ? { kind: 'configured', why: `${DEPLOYMENTS} and ${program}` } : undefined
  },

  configured(host) {
    const staged = readStagedLine(host)
    if (staged === undefined) return entryArguments(readNextEntry(host))
    return parseCommandLine(staged).map(
      (one): ConfiguredArgument => ({ ...one, file: STAGED, line: 1, variable: '', sure: true }),
    )
  },

  settings: (_, tokens) =>
    tokens.map(({ token, reason }) => ({ kind: 'external', tool: rpmOstreeKargs.name, path: '', token, reason })),

  commands(host, external = { add: [], remove: [] }) {
    const before = readStagedLine(host) ?? readNextEntry(host)[0]?.line ?? ''
    const after = changedLine(before, external)
    if (isUnchanged(differenceOf(before, after))) return []
    const [argv, inverse] = [kargsCommand(before, after), kargsCommand(after, before)]
    return [{ kind: 'command', argv, inverse, touches: [], reason: 'a deployment with these arguments' }]
  },

  observe(host, tokens, absent) {
    const staged = readStagedLine(host)
    const entry = readNextEntry(host)
    if (staged === undefined) return observeEntries(entry, tokens, absent)
    const seen = observeEntries(
      [{ path: STAGED, text: '', title: '', linux: '', line: staged, recovery: false }],
      tokens,
      absent,
    )
    return seen.map(({ ok, proof }) => ({ ok, proof: `${proof} (staged, for the next boot)` }))
  },

  menu: (host) => `${grub.menu(host)}; or choose the former deployment there`,

  steps: (tokens) => [`rpm-ostree kargs ${tokens.map((token) => `--append-if-missing=${token}`).join(' ')}`],
}

function kargsCommand(from: string, to: string): string[] {
  const { added, removed, replaced } = differenceOf(from, to)
  const valueIn = (token: string): string => token.replace(/^[^=]*=/, '')
  return [
    'rpm-ostree',
    'kargs',
    ...removed.map((token) => `--delete-if-present=${token}`),
    ...replaced.map((one) => `--replace=${one.from}=${valueIn(one.to)}`),
    ...added.map((token) => `--append-if-missing=${token}`),
  ]
}

/** The entry that boots unless another is chosen: the one with the highest version. */
function readNextEntry({ files }: Host): BootEntry[] {
  const versionOf = ({ text }: BootEntry): number => Number(/^version[ \t]+(\d+)/m.exec(text)?.[1] ?? 0)
  const entries = readEntries(files).filter(({ path }) => /\/ostree-[^/]*\.conf$/.test(path))
  return entries.sort((one, other) => versionOf(other) - versionOf(one)).slice(0, 1)
}

/**
 * What a deployment that was made in this boot will have: its entry is written when the machine shuts down.
 * A GVariant dictionary, whose member `kargs` is an array of strings: ostree-sysroot-deploy.c.
 */
function readStagedLine({ machine, running }: Host): string | undefined {
  const bytes = running ? machine.optionalBytes(STAGED)?.toString('latin1') : undefined
  const strings = bytes === undefined ? undefined : /(?:^|\0)kargs\0+((?:[ -~]+\0)+)/.exec(bytes)?.[1]
  return strings?.split('\0').filter(Boolean).join(' ')
}
