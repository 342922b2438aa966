import type { Reader } from '../host/reader.ts'
import { type Claim, claimsOf, historyOf, type Recorded } from './journal.ts'
import { type CommandChange, changesFor, type FileChange, type Plan } from './plan.ts'
import { type Content, removeSetting, type Setting } from './setting.ts'

/**
 * The plan that takes claims back. A file that is still as we left it, and that nothing else of ours needs, becomes
 * what it was, byte for byte; any other loses our settings and keeps every later edit. A setting that other devices
 * need too stays.
 */
export function undoPlan(
  files: Reader,
  journal: readonly Recorded[],
  going: readonly Claim[],
  commands: readonly CommandChange[],
): Plan {
  const staying = stayingClaims(journal, going)
  const stay = new Set(staying.map(({ setting }) => setting.path))
  const settings = leavingSettings(journal, going)
  const read = contentReader(files)
  const notes: string[] = []
  const changes = changesFor(settings, read, removeSetting).map((change): FileChange => {
    const history = historyOf(journal, change.path)
    if (stay.has(change.path)) return { ...change, reason: 'other devices still need the rest' }
    if (history?.last === change.before) return { ...change, after: history.before, reason: 'as it was before' }
    notes.push(`${change.path} was changed since: only our settings are taken out of it.`)
    return { ...change, reason: 'changed since: without our settings' }
  })
  notes.push(...missing(settings, read))
  const run = changes.length > 0 || settings.some(({ kind }) => kind === 'kept') ? commands : []
  return { changes: [...changes, ...run], settings: [], notes, rebootNeeded: changes.length + run.length > 0 }
}

function stayingClaims(journal: readonly Recorded[], going: readonly Claim[]): Claim[] {
  const gone = new Set(going.map(({ entry, device, key }) => `${entry.number} ${device} ${key}`))
  return claimsOf(journal).filter(({ entry, device, key }) => !gone.has(`${entry.number} ${device} ${key}`))
}

/** The settings that nobody needs once these claims are gone. */
export function leavingSettings(journal: readonly Recorded[], going: readonly Claim[]): Setting[] {
  const kept = new Set(stayingClaims(journal, going).map(({ key }) => key))
  const leaving = going.filter(({ key }) => !kept.has(key))
  return [...new Map(leaving.map(({ key, setting }) => [key, setting])).values()]
}

/** Files of ours that somebody removed already. */
function missing(settings: readonly Setting[], read: (path: string) => Content): string[] {
  const files = settings.filter(({ kind }) => kind !== 'kept')
  const paths = new Set(files.map(({ path }) => path).filter((path) => read(path) === null))
  return [...paths].map((path) => `${path} is gone already.`)
}

/** A file's content, one character a byte. */
export function contentReader(files: Reader): (path: string) => Content {
  return (path) => files.bytes(path)?.toString('latin1') ?? null
}

/** What undo.sh needs of each file. `image`: its before-image's name in the entry's folder; hashes are SHA-256, hex. */
export interface UndoFile {
  path: string
  image: string | null
  before: string | null
  after: string | null
}

/**
 * A POSIX shell program that takes one entry back where there is no Node: `sh undo.sh [ROOT]`, ROOT being where a
 * rescue system has mounted the machine's root. It restores what is still as we left it, leaves the rest alone, and
 * runs the generators.
 */
export function undoScript(
  about: string,
  files: readonly UndoFile[],
  folders: readonly string[],
  commands: readonly (readonly string[])[],
): string {
  const q = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`
  const lines = [...files]
    .reverse()
    .map(
      ({ path, image, before, after }) =>
        `restore ${q(path)} ${q(after ?? 'absent')} ${q(before ?? 'absent')} ${q(image ?? '')}`,
    )
  const remove = [...folders].reverse().map((folder) => `rmdir "$root"${q(folder)} 2>/dev/null || :`)
  const run = commands.map((argv) => `run ${argv.map(q).join(' ')}`)
  return `#!/bin/sh
# Takes back: ${about.replace(/[^ -~]/g, '?')}
#   sh undo.sh          on the machine itself
#   sh undo.sh /mnt     from a rescue system that has mounted the machine's root there (with its /boot, and with
#                       /proc, /sys and /dev: mount --rbind /dev /mnt/dev, and so on)
# With several entries in this journal: the newest first.
set -u
entry=$(cd "$(dirname "$0")" && pwd) || exit 2
root=\${1:-}
root=\${root%/}
failed=0

sum() {
  if [ -e "$1" ]; then sha256sum <"$1" | cut -d ' ' -f 1; else echo absent; fi
}

# restore PATH HASH-AS-WE-LEFT-IT HASH-BEFORE BEFORE-IMAGE
restore() {
  now=$(sum "$root$1")
  if [ "$now" = "$3" ]; then
    echo "$1: already as it was"
  elif [ "$now" != "$2" ]; then
    echo "$1: changed since; look at it by hand (as it was: \${4:+$entry/$4})" >&2
    failed=1
  elif [ "$3" = absent ]; then
    rm -f "$root$1" && echo "$1: removed" || failed=1
  else
    cp -p "$entry/$4" "$root$1.undo~" && mv -f "$root$1.undo~" "$root$1" && echo "$1: restored" || failed=1
  fi
}

run() {
  echo "> $*"
  if [ -z "$root" ]; then "$@" || failed=1
  elif [ -e "$root/proc/self" ] && [ -e "$root/dev/null" ]; then chroot "$root" "$@" || failed=1
  else
    echo "  not run: mount /proc, /sys and /dev below $root, then: chroot $root $*" >&2
    failed=1
  fi
}

${[...lines, ...remove, ...run].join('\n')}
sync
if [ "$failed" = 0 ]; then
  : >"$entry/undone"
  echo 'Taken back. Reboot.'
else
  echo 'Not all of it could be taken back: see above.' >&2
fi
exit "$failed"
`
}
