// A place in which the commands of a page can be run: a fake system, and stand-ins for what reaches other machines.
import { createHash } from 'node:crypto'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { host } from './checking.ts'
import { cpuTree, smt } from './cpus.ts'
import { newFolder } from './expect.ts'
import { firmwareFiles } from './firmware.ts'
import { LACKING, proxmoxNode } from './proxmox.ts'
import { PROJECT, type Ran, runProgram } from './run.ts'
import { sriovServer } from './sriov.ts'
import { systemDir } from './system.ts'

/** An i9-14900K whose second card no guest has yet: the machine of the README. */
export function readmeSystem(): string {
  const release = '6.1.0-37-amd64'
  const aliases = 'alias pci:v000010DEd*sv*sd*bc03sc*i* nouveau\nalias pci:v*d*sv*sd*bc04sc03i* snd_hda_intel\n'
  const firmware = Object.entries(firmwareFiles('debian')).map(([path, text]) => [path.slice(1), text])
  const dir = systemDir({
    machine: 'i9-14900k-vmd',
    kernels: [release],
    files: {
      ...Object.fromEntries(firmware),
      'usr/lib/modprobe.d/nvidia.conf': null,
      'usr/lib/systemd/systemd': '',
      'usr/lib/x86_64-linux-gnu/libvirt.so.0.9000.0': '',
      'sys/class/vtconsole/vtcon0/name': '(S) dummy device\n',
      'sys/class/vtconsole/vtcon0/bind': '1\n',
      'sys/class/net/enp5s0/address': '52:54:00:12:34:56\n',
      'sbin/ifup': '#!/bin/sh\n',
      'etc/libvirt/qemu.conf': '',
      'etc/libvirt/qemu/win11.xml':
        '<domain><name>win11</name><uuid>c0ffee00-0000-4000-8000-000000000001</uuid><cputune><vcpupin vcpu="0" cpuset="2"/></cputune><devices/></domain>\n',
      'run/libvirt/qemu/win11.xml':
        '<domstatus pid="4000"><domain><memory>1</memory><vcpu>1</vcpu></domain></domstatus>\n',
      'etc/network/interfaces': 'source /etc/network/interfaces.d/*\nauto enp5s0\niface enp5s0 inet dhcp\n',
      'etc/group': 'kvm:x:104:\n',
      'proc/meminfo': 'MemTotal:       67108864 kB\nMemAvailable:   60000000 kB\n',
      'proc/sys/kernel/osrelease': `${release}\n`,
      [`lib/modules/${release}/modules.alias`]: aliases,
    },
  })
  runProgram('cp', ['-a', `${cpuTree(smt(16))}/.`, dir])
  const devices = join(dir, 'sys/bus/pci/devices')
  for (const [address, driver] of [
    ['0000:01:00.0', 'nouveau'],
    ['0000:02:00.0', 'nouveau'],
    ['0000:02:00.1', 'snd_hda_intel'],
  ]) {
    const file = join(devices, address ?? '', 'uevent')
    writeFileSync(file, readFileSync(file, 'utf8').replace(/^DRIVER=.*/m, `DRIVER=${driver}`))
  }
  return dir
}

/** The same without what is behind Intel VMD: addresses need no domain then. */
export function oneDomain(dir: string): string {
  const devices = join(dir, 'sys/bus/pci/devices')
  for (const name of readdirSync(devices)) if (!name.startsWith('0000:')) rmSync(join(devices, name))
  return dir
}

/** The server with an X710, whose first port carries its network: Debian 12, whose libvirt's schemas tests have. */
export function serverSystem(): string {
  return sriovServer({ 'usr/lib/x86_64-linux-gnu/libvirt.so.0.9000.0': '' })
}

/** The machine that a page names after `on`. */
export function shownSystem(name: string): string {
  if (name === 'proxmox-node') return proxmoxNode({ vms: { 100: LACKING } })
  if (name !== 'three-problems') return systemDir({ machine: name })
  return host({
    'etc/group': 'kvm:x:104:ann\nlibvirt:x:105:\n',
    'etc/modprobe.d/vfio.conf': 'options vfio-pci ids=10de:1cb6, 10de:0fb9\n',
    'usr/share/OVMF/OVMF_CODE_4M.fd': null,
  })
}

/** Node on the fake system: what names no root of its own gets one, and runs no commands there. */
const NODE = `#!/bin/bash
more=()
[[ " $* " == *" --root "* || " $* " == *" --machine "* || $1 == examples/* ]] || more+=(--root "$SYSTEM")
[[ " $* " != *" --apply "* ]] || more+=(--no-commands)
exec '${process.execPath}' "$@" "\${more[@]}"
`

/** Domains are files here; libvirt's own schema says what it would take. */
const VIRSH = `#!/bin/bash
[ "$1" = -c ] && shift 2
domain=$HOME/domains/$2.xml
case $1 in
  define)
    text=$(cat "$2") && mkdir -p "$HOME/domains" || exit 2
    name=$(sed -n 's|.*<name>\\(.*\\)</name>.*|\\1|p' <<<"$text")
    printf '%s\\n' "$text" >"$HOME/domains/\${name:?no name}.xml" || exit 2
    ! command -v virt-xml-validate >/dev/null || virt-xml-validate "$HOME/domains/$name.xml" domain || exit 2 ;;
  dumpxml | start) cat "$domain" || exit 2 ;;
  net-start | net-autostart) [ "$2" = default ] || exit 2 ;;
  *) exit 2 ;;
esac
`

/** A server is a folder. */
const STAND_INS = {
  node: NODE,
  npx: `#!/bin/sh
[ "$1" = zx ] && shift
case $1 in
  *.md) exec '${process.execPath}' '${PROJECT}node_modules/zx/build/cli.js' "$@" --root "$SYSTEM" --no-commands ;;
  *) exec node "$@" ;;
esac
`,
  npm: `#!/bin/sh
case $1 in
  ci | test | link) ;;
  run) grep -q "^    "$2": " '${PROJECT}package.json' ;;
  *) exit 1 ;;
esac
`,
  sudo: '#!/bin/sh\nexec "$@"\n',
  // A rescue system's: the mounted disk is there already.
  ...Object.fromEntries(['reboot', 'cryptsetup', 'vgchange', 'mount'].map((name) => [name, '#!/bin/sh\n'])),
  ssh: '#!/bin/sh\nmkdir -p "$HOME/$1" && cd "$HOME/$1" && shift && exec sh -c "$*"\n',
  scp: '#!/bin/sh\nfolder=$HOME/$(echo "$2" | cut -d: -f1) && mkdir -p "$folder" && exec cp "$1" "$folder"\n',
  virsh: VIRSH,
  'ansible-playbook': '#!/bin/sh\n[ -e "$3" ]\n',
  // What it installs is a file of the release.
  apt: '#!/bin/sh\n[ "$1" = install ] && [ -e "$2" ]\n',
}

/** What else a command of a page may call: nothing that changes a machine. */
const HARMLESS =
  `bash sh awk base64 basename cat chgrp chmod chown cksum cmp comm cp cut date dd df diff dirname du echo env
  expr false find getent grep gzip head id jq kill ln ls md5sum mkdir mktemp mv nl od paste printf pwd readlink realpath rm rmdir
  sed seq sha256sum sleep sort split stat sync tac tail tar tee test touch tr true truncate uname uniq
  virt-xml-validate wc xargs xmllint`.split(/\s+/)

/** The files of a release that pages name: the one file, and what stands for the package, with their sums. */
function releaseFiles(home: string): void {
  const { version } = JSON.parse(readFileSync(`${PROJECT}package.json`, 'utf8'))
  const files = ['vfio-scripts.mjs', `vfio-scripts_${version}_all.deb`]
  for (const name of files) copyFileSync(`${PROJECT}scripts/vfio-scripts.mjs`, join(home, name))
  const sum = createHash('sha256')
    .update(readFileSync(join(home, 'vfio-scripts.mjs')))
    .digest('hex')
  writeFileSync(join(home, 'SHA256SUMS'), files.map((name) => `${sum}  ${name}\n`).join(''))
}

/** The programs that the places of this process share: folders of the PATH without those that change a machine. */
let harmless: string | undefined
function harmlessPrograms(): string {
  if (harmless !== undefined) return harmless
  harmless = newFolder()
  const folders = (process.env.PATH ?? '').split(':')
  for (const name of HARMLESS) {
    const found = folders.map((folder) => join(folder, name)).find((path) => existsSync(path))
    if (found !== undefined) symlinkSync(found, join(harmless, name))
  }
  return harmless
}

/** Runs the commands of one page, one after another in one place; /mnt is the fake system. */
export function sandbox(scripts: readonly string[]): (command: string, system: string) => Ran {
  const home = newFolder()
  const bin = join(home, 'bin')
  mkdirSync(bin)
  for (const [name, text] of Object.entries(STAND_INS)) {
    writeFileSync(join(bin, name), text)
    chmodSync(join(bin, name), 0o755)
  }
  for (const name of scripts) symlinkSync(`${PROJECT}scripts/${name}.mjs`, join(bin, name))
  for (const name of ['scripts', 'completions', 'examples']) symlinkSync(PROJECT + name, join(home, name))
  releaseFiles(home)
  return (command, system) =>
    runProgram('bash', ['-o', 'pipefail', '-c', command.replaceAll('/mnt', system)], {
      cwd: home,
      env: { HOME: home, PATH: `${bin}:${harmlessPrograms()}`, SYSTEM: system },
    })
}
