// examples/ansible on several hosts at once, each a folder of this machine.
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { etcOf, modprobe } from '../support/bind.ts'
import { newFolder } from '../support/expect.ts'
import { needs } from '../support/needs.ts'
import { oneDomain, readmeSystem } from '../support/readme.ts'
import { PROJECT, type Ran, runProgram } from '../support/run.ts'
import { snapshotOf, systemDir, textOf } from '../support/system.ts'

/** Several plays, each of which takes minutes where other tests have the processor. */
const LONG = { timeout: 1_800_000 }
const COLLECTION = `${PROJECT}examples/ansible`
const sysctl = 'etc/sysctl.d/zz-vfio-scripts.conf'
const INSTALLED = 'usr/local/sbin/vfio-scripts.mjs'

/** libvirt's part: a domain is a file of the host that the URI names. */
const VIRSH = `#!/bin/sh
[ "$1" = -c ] && [ "$3 $4" = 'define /dev/stdin' ] || exit 2
text=$(cat)
printf '%s\\n' "$text" >"\${2#file:}/etc/libvirt/qemu/$(printf '%s' "$text" | sed -n 's|.*<name>\\(.*\\)</name>.*|\\1|p').xml"
`

interface Place {
  /** Runs a play of the collection on all hosts. */
  play: (name: string, ...more: string[]) => Ran
  folder: string
}

/** An inventory of these hosts: name → its system's folder and what else it is given. */
function placeOf(hosts: Readonly<Record<string, { root: string; vars?: Readonly<Record<string, unknown>> }>>): Place {
  const folder = newFolder()
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  writeFileSync(join(bin, 'virsh'), VIRSH)
  chmodSync(join(bin, 'virsh'), 0o755)
  const all = Object.entries(hosts).map(([name, { root, vars }]) => {
    mkdirSync(join(root, 'usr/local/sbin'), { recursive: true })
    mkdirSync(join(root, 'etc/libvirt/qemu'), { recursive: true })
    const own = {
      vfio_options: ['--root', root],
      vfio_apply_options: ['--no-commands'],
      vfio_undo_options: ['--no-commands'],
      vfio_installed: join(root, INSTALLED),
      vfio_domains: join(root, 'etc/libvirt/qemu'),
      vfio_connect: `file:${root}`,
      ...vars,
    }
    return [name, own]
  })
  const vars = {
    ansible_connection: 'local',
    ansible_become: false,
    ansible_remote_tmp: join(folder, 'tmp'),
    vfio_reports: join(folder, 'reports'),
  }
  mkdirSync(vars.vfio_reports)
  // JSON is YAML.
  const inventory = { all: { vars, children: { vfio: { hosts: Object.fromEntries(all) } } } }
  writeFileSync(join(folder, 'hosts.yml'), JSON.stringify(inventory))
  const env = {
    PATH: `${bin}:${process.env.PATH}`,
    ANSIBLE_HOME: folder,
    ANSIBLE_LOCAL_TEMP: join(folder, 'local'),
    ANSIBLE_NOCOLOR: '1',
    ANSIBLE_PIPELINING: '1',
    ANSIBLE_COLLECTIONS_PATHS: join(folder, 'collections'),
  }
  return {
    folder,
    play: (name, ...more) => {
      const file = existsSync(join(COLLECTION, name)) ? join(COLLECTION, name) : name
      return runProgram('ansible-playbook', ['-i', 'hosts.yml', file, ...more], { cwd: folder, env, minutes: 10 })
    },
  }
}

/** How many tasks changed something there, and how many failed. */
function recapOf({ stdout }: Ran, host: string): { changed: number; failed: number } {
  const line = new RegExp(`^${host} .*\\bchanged=(\\d+) .*\\bfailed=(\\d+)`, 'm').exec(stdout)
  return { changed: Number(line?.[1]), failed: Number(line?.[2]) }
}

const said = ({ stdout, stderr }: Ran): string => stdout + stderr

needs('ansible-playbook').describe('the Ansible collection', () => {
  it('on three hosts: shows plans with --check, changes once, says how it is, and takes all back', LONG, () => {
    const roots = [oneDomain(readmeSystem()), oneDomain(readmeSystem()), oneDomain(readmeSystem())] as const
    const guest = { vfio_guest: 'vm', vfio_guest_options: ['--guest', 'linux', '--memory', '4G'] }
    const { play, folder } = placeOf({
      server1: { root: roots[0], vars: { vfio_device: '02:00', vfio_tune: ['--hugepages', '8G'], ...guest } },
      server2: { root: roots[1], vars: { vfio_tune: ['--hugepages', '2G'] } },
      // It shows the console of its host.
      server3: { root: roots[2], vars: { vfio_device: '01:00' } },
    })
    const before = roots.map(snapshotOf)

    const check = play('site.yml', '--check')
    expect(check.code, said(check)).toBe(2)
    expect(check.stdout).toContain('+options vfio-pci ids=10de:1cb6,10de:0fb9')
    expect(check.stdout).toContain('<name>vm</name>')
    // How it is tuned, its binding, its guest.
    expect(recapOf(check, 'server1')).toEqual({ changed: 3, failed: 0 })
    expect(recapOf(check, 'server2')).toEqual({ changed: 1, failed: 0 })
    expect(recapOf(check, 'server3')).toEqual({ changed: 0, failed: 1 })
    expect(check.stdout).toContain('refused (boot-vga)')
    expect(roots.map(snapshotOf)).toEqual(before)

    const first = play('site.yml')
    expect(first.stdout).toMatch(/Apply the plan\] \*+\n(?:.*\n)?changed: \[server1\]/)
    expect(textOf(roots[0], modprobe)).toContain('options vfio-pci ids=10de:1cb6,10de:0fb9')
    expect(textOf(roots[0], 'etc/libvirt/qemu/vm.xml')).toMatch(/<hostdev[\s\S]*<hostdev/)
    expect(textOf(roots[1], modprobe)).toBeNull()
    expect(textOf(roots[1], sysctl)).toMatch(/vm\.nr_hugepages/)
    expect(snapshotOf(roots[2])).toBe(before[2])
    const after = roots.map(etcOf)

    const again = play('site.yml')
    for (const host of ['server1', 'server2'])
      expect(recapOf(again, host), said(again)).toEqual({ changed: 0, failed: 0 })
    expect(roots.map(etcOf)).toEqual(after)

    // What site.yml kept is what the report of the fleet reads.
    expect(readdirSync(join(folder, 'reports')).sort()).toEqual(
      ['server1', 'server2', 'server3'].flatMap((name) => [`${name}.bind-vfio.json`, `${name}.tune-host.json`]),
    )
    const report = runProgram('node', [`${PROJECT}examples/fleet-report/fleet-report.mjs`, join(folder, 'reports')])
    expect(report.stdout).toMatch(/^server1 +bind-vfio +reboot-needed/m)
    expect(report.stdout).toMatch(/^server3 +bind-vfio +none/m)

    expect(play('undo.yml').code).toBe(0)
    for (const [index, root] of roots.entries()) expect(textOf(root, modprobe), `${index}`).toBeNull()
    expect(textOf(roots[1], sysctl)).toBeNull()
    const none = play('undo.yml')
    expect(recapOf(none, 'server1'), said(none)).toEqual({ changed: 0, failed: 0 })
  })

  it('gives the device to a guest that is there, and keeps what else it has', LONG, () => {
    const root = oneDomain(readmeSystem())
    const { play } = placeOf({ server1: { root, vars: { vfio_device: '02:00', vfio_guest: 'mine' } } })
    const path = join(root, 'etc/libvirt/qemu/mine.xml')
    const mine = "<domain type='kvm'>\n  <name>mine</name>\n  <!-- mine -->\n  <devices/>\n</domain>\n"
    writeFileSync(path, mine)
    expect(play('site.yml').code).toBe(0)
    expect(readFileSync(path, 'utf8')).toMatch(/<!-- mine -->[\s\S]*<hostdev/)
    expect(recapOf(play('site.yml', '--check'), 'server1')).toEqual({ changed: 0, failed: 0 })
    const check = play('undo.yml', '--check')
    expect(recapOf(check, 'server1'), said(check)).toEqual({ changed: 1, failed: 0 })
    expect(textOf(root, modprobe)).not.toBeNull()
  })

  needs('ansible-galaxy').it('is built and installed as a collection, whose roles plays name', () => {
    const root = systemDir({ machine: 'i9-14900k-vmd' })
    const { play, folder } = placeOf({ server1: { root, vars: { vfio_device: '02:00' } } })
    const env = { ANSIBLE_HOME: folder, ANSIBLE_LOCAL_TEMP: join(folder, 'local') }
    const galaxy = (...args: string[]): Ran =>
      runProgram('ansible-galaxy', ['collection', ...args], { cwd: folder, env })
    const built = galaxy('build', COLLECTION)
    expect(built.code, said(built)).toBe(0)
    const archive = readdirSync(folder).find((name) => name.endsWith('.tar.gz')) ?? ''
    const installed = galaxy('install', archive, '-p', 'collections')
    expect(installed.code, said(installed)).toBe(0)
    const vars = `{vfio_scripts: '${PROJECT}scripts/vfio-scripts.mjs'}`
    const own = `- {hosts: vfio, gather_facts: false, vars: ${vars}, roles: [vfio.scripts.bind]}\n`
    writeFileSync(join(folder, 'own.yml'), own)
    const ran = play('own.yml')
    expect(ran.code, said(ran)).toBe(0)
    expect(textOf(root, modprobe)).toContain('options vfio-pci ids=')
  })

  it('names in its README each variable that a role takes', () => {
    const text = readFileSync(join(COLLECTION, 'README.md'), 'utf8')
    const taken = readdirSync(join(COLLECTION, 'roles')).flatMap((role) => {
      const files = ['defaults', 'tasks'].map((part) => join(COLLECTION, 'roles', role, part, 'main.yml'))
      const all = files.filter(existsSync).map((file) => readFileSync(file, 'utf8'))
      const kept = all.flatMap((each) => [...each.matchAll(/(?:register|loop_var): (vfio_\w+)|^ +(vfio_\w+):/gm)])
      const own = new Set(kept.map(([, first, second]) => first ?? second))
      return all.flatMap((each) => each.match(/\bvfio_\w+/g) ?? []).filter((name) => !own.has(name))
    })
    for (const name of new Set(taken.filter((each) => each !== 'vfio_words'))) expect(text).toContain(`\`${name}\``)
  })
})
