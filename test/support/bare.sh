#!/usr/bin/env bash
# bash test/support/bare.sh COMMAND…  runs a command as a newcomer would: in a clone with an empty folder around it, with
# no program on its PATH but those that every Linux with Node has. What is not committed yet is part of the clone.
set -euo pipefail
cd "$(dirname "$0")/../.."
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
mkdir "$place/bin" "$place/empty" "$place/empty/clone"
for name in awk base64 basename bash cat chgrp chmod chown cksum cmp comm cp csplit cut date dd df diff dirname du \
  echo env expr false find git grep gunzip gzip head id install kill ln ls md5sum mkdir mkfifo mknod mktemp mv nl node \
  npm npx od paste printf pwd readlink realpath rm rmdir sed seq sh sha256sum sleep sort split stat stty sync tac tail \
  tee test timeout touch tr true truncate tty uname uniq wc xargs; do
  ! program=$(type -P "$name") || ln -s "$(realpath "$program")" "$place/bin/$name"
done
git ls-files -z --cached --others --exclude-standard | xargs -0 ls -d 2>/dev/null | tar -T - -cf - | tar -xf - -C "$place/empty/clone"
cd "$place/empty/clone"
git init -q
export PATH="$place/bin"
npm ci --no-audit --no-fund --prefer-offline
"$@"
