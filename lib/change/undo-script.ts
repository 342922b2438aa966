/** The facts about a file that undo.sh needs; `null` where there is no such file. */
export interface UndoFile {
  path: string
  /** The name of its before-image in the entry's folder. */
  savedAs: string | null
  /** The SHA-256 of the content, in hex, as that of `after`. */
  before: string | null
  after: string | null
  /** The permissions, in case that the file has to be made anew. */
  mode: number
}

/**
 * Returns a POSIX shell program that takes one entry back where there is no Node: `sh undo.sh [ROOT]`, where ROOT is
 * the folder on which a rescue system has mounted the machine's root. It restores files that are still as we left them,
 * leaves the others alone, and runs the generators; after a run that was cut short it puts the copies of the `touched`
 * images back instead. With `--with-later` it first takes back the later entries. Files for which `isLast` is true stay
 * until all else is done. `rebootNeeded`: what was in force stays so until then.
 */
export function undoScript(
  about: string,
  files: readonly UndoFile[],
  { folders, emptied }: { folders: readonly string[]; emptied: readonly string[] },
  commands: readonly (readonly string[])[],
  touched: readonly string[],
  isLast: (path: string) => boolean,
  rebootNeeded: boolean,
): string {
  const q = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`
  const make = emptied.map((folder) => `[ -d "$root"${q(folder)} ] || mkdir "$root"${q(folder)}`)
  const restore = [...files].reverse().map(({ path, savedAs, before, after, mode }) => {
    const words = [path, after ?? 'absent', before ?? 'absent', savedAs ?? '', mode.toString(8)]
    return { path, line: `restore ${words.map(q).join(' ')}` }
  })
  const lines = restore.filter(({ path }) => !isLast(path)).map(({ line }) => line)
  const last = restore.filter(({ path }) => isLast(path)).map(({ line }) => `  ${line}`)
  const remove = [...folders].reverse().map((folder) => `rmdir "$root"${q(folder)} 2>/dev/null || :`)
  const run = commands.map((argv) => `  run ${argv.map(q).join(' ')}`)
  const put = touched.map((path, index) => `  putback ${index} ${q(path)}`)
  const generate =
    run.length === 0 || put.length === 0
      ? run
      : ['if [ -e "$entry/images/complete" ] && [ ! -e "$entry/done" ]; then', ...put, 'else', ...run, 'fi']
  const programs = [...new Set(commands.map(([program = '']) => q(program)))]
  const needed = programs.length === 0 ? '' : `! runnable || needs ${programs.join(' ')}\n`
  return `#!/bin/sh
# Takes back: ${about.replace(/[^ -~]/g, '?')}
#   sh undo.sh                on the machine itself
#   sh undo.sh /mnt           from a rescue system that has mounted the machine's root there (with its /boot, and with
#                             /proc, /sys and /dev: mount --rbind /dev /mnt/dev, and so on)
#   sh undo.sh --with-later   what came after it in this journal too, the newest first
set -u
PATH=\${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
entry=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P) || exit 2
journal=\${entry%/*}
later=
if [ "\${1:-}" = --with-later ]; then later=yes; shift; fi
root=\${1:-}
root=\${root%/}
failed=0

die() {
  echo "$*; nothing was changed" >&2
  exit 2
}

# inside COMMAND…: in the machine's own system.
inside() {
  if [ -z "$root" ]; then "$@"; else chroot "$root" "$@"; fi
}

for program in cat chmod cp cut mkdir mv rm rmdir sha256sum sync touch; do
  command -v "$program" >/dev/null || die "$program is not here: use another rescue system"
done

# Can programs of the machine's own system be run?
runnable() {
  [ -z "$root" ] || { [ -e "$root/proc/self" ] && [ -e "$root/dev/null" ]; }
}

# needs PROGRAM…
needs() {
  for program; do
    inside sh -c "command -v '$program' >/dev/null" || die "$program is not here, and takes part of this back"
  done
}
${needed}
# shellcheck disable=SC2012
inode() {
  ls -Ldi "$1" | { read -r number _ && echo "$number"; }
}

# Does another program have the lock open?
# shellcheck disable=SC2010
held() {
  ls -l /proc/[0-9]*/fd 2>/dev/null | grep -qF -- "-> $journal/lock"
}

# Nobody else changes this system meanwhile; programs that a run left behind hold its lock until they end.
if [ -z "\${VFIO_SCRIPTS_UNDO:-}" ]; then
  (: >>"$journal/lock") 2>/dev/null || die "$journal/lock cannot be written"
  if command -v flock >/dev/null; then
    while :; do
      exec 9<>"$journal/lock"
      flock -n 9 || { echo "waiting for a run that has not ended" >&2 && flock 9; }
      [ "$(inode "$journal/lock")" != "$(inode "/proc/$$/fd/9")" ] || break
    done
  else
    ! held || echo "waiting for a run that has not ended" >&2
    while held; do sleep 1; done
  fi
  stat=$(cat /proc/$$/stat)
  # shellcheck disable=SC2086
  set -- \${stat##*) }
  shift 19
  echo "$$ $1 $(cat /proc/sys/kernel/random/boot_id)" >"$journal/lock"
  trap 'rm -f "$journal/lock"' EXIT
  trap 'exit 130' HUP INT TERM
  export VFIO_SCRIPTS_UNDO=yes
fi

sum() {
  if [ -e "$1" ]; then sha256sum <"$1" | cut -d ' ' -f 1; else echo absent; fi
}

# With owner, permissions and what else cp knows to keep; busybox knows less.
copy() {
  cp --preserve=all "$1" "$2" 2>/dev/null || cp -p "$1" "$2"
}

# restore PATH HASH-AS-WE-LEFT-IT HASH-BEFORE BEFORE-IMAGE MODE
restore() {
  now=$(sum "$root$1")
  new="$root\${1%/*}/.\${1##*/}.vfio-scripts~"
  rm -f "$new"
  if [ "$now" = "$3" ]; then
    echo "$1: already as it was"
  elif [ "$now" != "$2" ]; then
    echo "$1: changed since; look at it by hand\${4:+ (as it was: $entry/$4)}" >&2
    failed=1
  elif [ "$3" = absent ]; then
    if rm -f "$root$1"; then echo "$1: removed"; else failed=1; fi
  else
    if [ "$now" = absent ]; then
      cat "$entry/$4" >"$new" && chmod "$5" "$new"
    else
      copy "$root$1" "$new" && cat "$entry/$4" >"$new"
    fi && mv -f "$new" "$root$1" && echo "$1: restored" || failed=1
  fi
}

# putback NUMBER IMAGE
putback() {
  new="$root\${2%/*}/.\${2##*/}.vfio-scripts~"
  if [ ! -e "$entry/images/$1" ]; then
    rm -f "$root$2" || failed=1
  elif copy "$entry/images/$1" "$new" && mv -f "$new" "$root$2"; then
    echo "$2: put back"
  else
    failed=1
  fi
}

run() {
  echo "> $*"
  if runnable; then inside "$@" || failed=1
  else
    echo "  not run: mount /proc, /sys and /dev below $root, then: chroot $root $*" >&2
    failed=1
  fi
}

if [ -n "$later" ]; then
  newest=$(for one in "$journal"/[0-9][0-9][0-9][0-9]*/undo.sh; do one=\${one%/undo.sh}; echo "\${one##*/}"; done | sort -rn)
  for one in $newest; do
    [ "$one" -gt "\${entry##*/}" ] || break
    [ -e "$journal/$one/undone" ] || sh "$journal/$one/undo.sh" "$root" || failed=1
  done
fi
${[...make, ...lines, ...remove, ...generate].join('\n')}
sync
${last.length === 0 ? '' : `# What tries this again unasked stays while there is something left to try.\nif [ "$failed" = 0 ] || [ -z "$later" ]; then\n${[...last, ...remove.map((line) => `  ${line}`)].join('\n')}\nfi\n`}if [ "$failed" = 0 ]; then
  touch "$entry/undone"
  sync
  echo 'Taken back.${rebootNeeded ? ' Reboot.' : ''}'
else
  echo 'Not all of it could be taken back: see above.' >&2
fi
exit "$failed"
`
}
