/** What undo.sh needs of each file. `image`: its before-image's name in the entry's folder; hashes are SHA-256, hex. */
export interface UndoFile {
  path: string
  image: string | null
  before: string | null
  after: string | null
  /** Permissions, should it have to be made anew. */
  mode: number
}

/**
 * A POSIX shell program that takes one entry back where there is no Node: `sh undo.sh [ROOT]`, ROOT being where a
 * rescue system has mounted the machine's root. It restores what is still as we left it, leaves the rest alone, and
 * runs the generators; after a run that was cut short it puts the copies of the `touched` images back instead.
 */
export function undoScript(
  about: string,
  files: readonly UndoFile[],
  { folders, emptied }: { folders: readonly string[]; emptied: readonly string[] },
  commands: readonly (readonly string[])[],
  touched: readonly string[],
): string {
  const q = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`
  const make = emptied.map((folder) => `[ -d "$root"${q(folder)} ] || mkdir "$root"${q(folder)}`)
  const restore = [...files].reverse().map(({ path, image, before, after, mode }) => {
    const words = [path, after ?? 'absent', before ?? 'absent', image ?? '', mode.toString(8)]
    return `restore ${words.map(q).join(' ')}`
  })
  const remove = [...folders].reverse().map((folder) => `rmdir "$root"${q(folder)} 2>/dev/null || :`)
  const run = commands.map((argv) => `  run ${argv.map(q).join(' ')}`)
  const put = touched.map((path, index) => `  putback ${index} ${q(path)}`)
  const generate =
    run.length === 0 || put.length === 0
      ? run
      : ['if [ -e "$entry/images/complete" ] && [ ! -e "$entry/done" ]; then', ...put, 'else', ...run, 'fi']
  return `#!/bin/sh
# Takes back: ${about.replace(/[^ -~]/g, '?')}
#   sh undo.sh          on the machine itself
#   sh undo.sh /mnt     from a rescue system that has mounted the machine's root there (with its /boot, and with
#                       /proc, /sys and /dev: mount --rbind /dev /mnt/dev, and so on)
# With several entries in this journal: the newest first.
set -u
entry=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) || exit 2
root=\${1:-}
root=\${root%/}
failed=0

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
  if [ -z "$root" ]; then "$@" || failed=1
  elif [ -e "$root/proc/self" ] && [ -e "$root/dev/null" ]; then chroot "$root" "$@" || failed=1
  else
    echo "  not run: mount /proc, /sys and /dev below $root, then: chroot $root $*" >&2
    failed=1
  fi
}

${[...make, ...restore, ...remove, ...generate].join('\n')}
sync
if [ "$failed" = 0 ]; then
  touch "$entry/undone"
  echo 'Taken back. Reboot.'
else
  echo 'Not all of it could be taken back: see above.' >&2
fi
exit "$failed"
`
}
