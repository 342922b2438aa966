// A place in which the commands of a page can be run: a fake system, and stand-ins for what reaches other machines.
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { cpuTree, smt } from './cpus.ts'
import { newFolder } from './expect.ts'
import { firmwareFiles } from './firmware.ts'
import { PROJECT, type Ran, runProgram } from './run.ts'
import { systemDir } from './system.ts'

export interface Block {
  language: string
  text: string
}

/** The fenced blocks of a page. */
export function blocksOf(page: string): Block[] {
  return [...page.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)].map(([, language = '', text = '']) => ({ language, text }))
}

/** What a block has a shell do, one command each; bash says where a command ends. */
export function commandsOf({ language, text }: Block): string[] {
  const lines =
    language === 'console' ? [...text.matchAll(/^\$ (.*)$/gm)].map((match) => match[1] ?? '') : text.split('\n')
  const commands: string[] = []
  let rest = ''
  for (const line of lines) {
    rest += `${line}\n`
    if (/\\\n$/.test(rest) || runProgram('bash', ['-n', '-c', rest]).code !== 0) continue
    if (/^[^#\s]/m.test(rest)) commands.push(rest.trimEnd())
    rest = ''
  }
  if (rest !== '') throw new Error(`bash cannot parse: ${rest}`)
  return commands
}

/** The headings' levels, the blocks without comments, and what each row of a table has as code: alike in every language. */
export function skeletonOf(page: string): { levels: string[]; blocks: string[]; rows: string[][] } {
  const blocks = [...page.matchAll(/^```\w+\n[\s\S]*?^```$/gm)].map(([block]) => block.replace(/ +# .*$/gm, ''))
  const text = page.replace(/^```\w+\n[\s\S]*?^```$/gm, '')
  return {
    levels: [...text.matchAll(/^(#+) /gm)].map(([, level = '']) => level),
    blocks,
    rows: [...text.matchAll(/^\|.*$/gm)].map(([row]) => row.match(/`[^`]+`/g) ?? []),
  }
}

/** The rows of the table whose head starts with this word, cell by cell. */
export function tableOf(page: string, first: string): string[][] {
  const lines = page.split('\n')
  const start = lines.findIndex((line) => line.startsWith(`| ${first} `)) + 2
  const end = lines.findIndex((line, index) => index >= start && !line.startsWith('|'))
  return lines.slice(start, end).map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  )
}

/** What a console block shows below its command: `…` stands for any lines that are not shown. */
export function transcriptOf({ text }: Block): { command: string; shown: RegExp } {
  const [first = '', ...lines] = text.split('\n')
  const pattern = lines.map((line) =>
    line.trim() === '…' ? '[\\s\\S]*?' : line.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'),
  )
  return { command: first.replace(/^\$ /, ''), shown: new RegExp(`^${pattern.join('\n')}$`) }
}

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

/** Node on the fake system: what names no root of its own gets one, and runs no commands there. */
const NODE = `#!/bin/bash
more=()
[[ " $* " == *" --root "* || " $* " == *" --machine "* ]] || more+=(--root "$SYSTEM")
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
  return (command, system) =>
    runProgram('bash', ['-o', 'pipefail', '-c', command.replaceAll('/mnt', system)], {
      cwd: home,
      env: { HOME: home, PATH: `${bin}:${process.env.PATH}`, SYSTEM: system },
    })
}
