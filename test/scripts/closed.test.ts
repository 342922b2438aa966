import { chmodSync, chownSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, it } from 'vitest'
import { apply } from '../support/bind.ts'
import { host } from '../support/checking.ts'
import type { ScriptName } from '../support/expect.ts'
import { needs, WHOLE } from '../support/needs.ts'
import { type Ran, runProgram, runScript } from '../support/run.ts'
import { writeIn } from '../support/system.ts'

const NOBODY = 65534
const root = process.getuid?.() === 0

/** Every command that writes nothing, and whether it plans: a plan is whole or refused. */
const COMMANDS: [name: ScriptName | string, args: string[], plans: boolean][] = [
  ['list-iommu', ['--json'], false],
  ['list-iommu', ['--json', '--usb-ports'], false],
  ['check-reset', ['--json'], false],
  ['check-host', ['--json', '--device', '02:00'], false],
  ['bind-vfio', ['--json', '01:00', '--iommu-pt', '--force', 'boot-vga', '--force', 'only-gpu'], true],
  ['bind-vfio', ['--json', '--status'], false],
  ['bind-vfio', ['--json', '--undo'], true],
  ['bind-vfio', ['--json', '--kernel-config'], false],
  ['override-same-id-gpu', ['--json'], false],
  ['override-same-id-gpu', ['--json', '--status'], false],
  [
    'tune-host',
    ['--json', '--hugepages', '2M', '--bridge', 'br0', '--port', 'enp5s0', '--blacklist', 'nvidiafb'],
    true,
  ],
  ['tune-host', ['--json', '--status'], false],
  ['gen-domain', ['--name', 'vm', '--guest', 'linux', '--gpu', '02:00', '--vcpus', '2', '--pin', 'none'], true],
]

function system(): string {
  const dir = host({
    'proc/self/mountinfo': '1 0 254:1 / / rw - ext4 /dev/vda1 rw\n',
    'etc/fstab': '/dev/vda1 / ext4 defaults 0 1\n',
    'sbin/ifup': '#!/bin/sh\n',
    'etc/network/interfaces': 'auto enp5s0\niface enp5s0 inet dhcp\n',
    'sys/class/net/enp5s0/address': '02:00:00:00:00:01\n',
  })
  expect(apply(dir, '02:00').code).toBe(0)
  runProgram('chmod', ['-R', 'a+rX', dir])
  for (const open of [dir, dirname(dir)]) chmodSync(open, 0o755)
  return dir
}

/** One folder of each kind: what differs by a number alone is the same to a script. */
function foldersOf(dir: string): string[] {
  const kinds = new Map<string, string>()
  for (const name of runProgram('find', [dir, '-mindepth', '1', '-type', 'd', '-printf', '%P\n'])
    .stdout.trim()
    .split('\n')
    .sort()) {
    const kind = name.replace(/[0-9a-f]{4}:[0-9a-f:.]+|pci[\d:a-f]+|\d+/g, 'N')
    if (!kinds.has(kind) || name.includes('0000:02:00.0')) kinds.set(kind, name)
  }
  return [...kinds.values()]
}

/** mulberry32: the same sample for the same seed. */
function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

interface Answered {
  findings?: { code: string; state: string; summary: string }[]
  changes?: unknown[]
  groups?: { isolated: boolean | null }[]
}

const parsed = (ran: Ran): Answered | undefined => {
  try {
    return JSON.parse(ran.stdout)
  } catch {
    return undefined
  }
}

/** What is wrong with the answer of a command when this folder is closed. */
function faultsOf(open: Ran, closed: Ran, script: string, folder: string, plans: boolean): string[] {
  const faults: string[] = []
  const foreign = closed.stderr.split('\n').filter((line) => !/^$|^ {2}/.test(line) && !line.startsWith(`${script}: `))
  if (foreign.length > 0 || ![0, 1, 2].includes(closed.code ?? -1)) faults.push(`not our words: ${closed.stderr}`)
  if (closed.stdout === open.stdout && closed.code === open.code) return faults
  const said = closed.stdout + closed.stderr
  if (!said.includes(`/${folder}`) || !/as root/.test(said))
    faults.push(`differs, and does not say why: ${closed.stderr}`)
  const [was, is] = [parsed(open), parsed(closed)]
  if (closed.code === 2 && open.code !== 2) {
    // Without the devices, the journal or a kernel's configuration there is no answer.
    if (!plans && !/^(sys(\/bus(\/pci.*)?|\/devices.*)?|var.*|boot)$/.test(folder))
      faults.push(`gives up: ${closed.stderr}`)
    return faults
  }
  if (
    plans &&
    script !== 'gen-domain' &&
    JSON.stringify(was?.changes) !== JSON.stringify(is?.changes) &&
    !said.includes('Not seen')
  )
    faults.push('another plan')
  const seen = (code: string): string[] => (was?.findings ?? []).flatMap((one) => (one.code === code ? one.state : []))
  for (const { code, state, summary } of is?.findings ?? [])
    if (state !== 'unknown' && seen(code).length > 0 && !seen(code).includes(state))
      faults.push(`${code}: ${state} (${summary})`)
  return faults
}

needs('root', root).describe('as nobody, with a folder closed', () => {
  // VFIO_TEST_CLOSED=all: every folder for every command, which takes minutes.
  const all = process.env.VFIO_TEST_CLOSED === 'all'
  const seed = Number(process.env.VFIO_TEST_SEED ?? Date.now() % 1_000_000)
  const next = random(seed)
  it(`what is not ours to read is unknown, named, and the rest goes on (VFIO_TEST_SEED=${seed})`, {
    timeout: 3_600_000,
  }, () => {
    const dir = system()
    const folders = foldersOf(dir)
    const faults: string[] = []
    const sample = all || WHOLE ? COMMANDS : [...COMMANDS].sort(() => next() - 0.5).slice(0, 4)
    for (const [script, args, plans] of sample) {
      const run = (): Ran => {
        const ran = runScript(script, ['--root', dir, ...args], { uid: NOBODY })
        // What is free on this machine's disk is another number each time.
        return { ...ran, stdout: ran.stdout.replace(/another initramfs \([^)]*\)/, '') }
      }
      const open = run()
      expect([script, ...args, open.stderr, open.code === 0 || open.code === 1].join(' ')).toMatch(/true$/)
      const picked = all ? folders : [folders[Math.floor(next() * folders.length)] ?? 'etc']
      for (const folder of picked) {
        chmodSync(join(dir, folder), 0o700)
        try {
          const found = faultsOf(open, run(), script, folder, plans)
          faults.push(...found.map((fault) => `${folder}, ${script} ${args.join(' ')}: ${fault}`))
        } finally {
          chmodSync(join(dir, folder), 0o755)
        }
      }
    }
    expect(faults).toEqual([])
  })

  it('/etc closed, asked for by check after check: not one of them takes it for empty', () => {
    const dir = system()
    chmodSync(join(dir, 'etc'), 0o700)
    const ran = runScript('check-host', ['--root', dir, '--json', '--device', '02:00'], { uid: NOBODY })
    const files = parsed(ran)?.findings?.filter(({ code }) => code === 'files') ?? []
    expect(files.length).toBeGreaterThan(1)
    expect(files.filter(({ state }) => state !== 'unknown')).toEqual([])
  })

  it('/run/libvirt closed: check-host says what it did not see', () => {
    const dir = system()
    chmodSync(join(dir, 'run/libvirt'), 0o700)
    const ran = runScript('check-host', ['--root', dir], { uid: NOBODY })
    expect(ran.code).not.toBe(2)
    expect(ran.stdout).toMatch(/libvirt[\s\S]*run as root/)
    expect(ran.stderr).toMatch(/^check-host: \/run\/libvirt\S* cannot be read \(EACCES\): try as root$/m)
  })

  it('a plan that lacks a fact is not applied', () => {
    const dir = system()
    for (const path of ['etc', 'etc/modprobe.d', 'var/lib', 'var/lib/vfio-scripts', '.'])
      chownSync(join(dir, path), NOBODY, NOBODY)
    writeIn(dir, 'etc/modprobe.d/closed.conf', 'blacklist vfio-pci\n')
    chmodSync(join(dir, 'etc/modprobe.d/closed.conf'), 0o600)
    const ran = runScript('bind-vfio', ['--root', dir, '02:00', '--iommu-pt', '--apply', '--no-commands'], {
      uid: NOBODY,
    })
    expect(ran.code).toBe(2)
    expect(ran.stderr).toMatch(/closed\.conf: cannot be read \(EACCES\).*run as root/)
  })
})
