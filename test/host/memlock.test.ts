import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readLoginMemlock } from '../../lib/host/memlock.ts'
import { answer, check, host } from '../support/checking.ts'
import { scratchDir } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { hostWith } from '../support/root.ts'
import { has, runProgram } from '../support/run.ts'

// What the next login may lock: pam_limits(8).

const ann = {
  name: 'ann',
  uid: 4711,
  groups: [
    { name: 'ann', gid: 4711 },
    { name: 'kvm', gid: 104 },
  ],
}
const MIB = 1024 ** 2
const MAIN = '/etc/security/limits.conf'
const OURS = '/etc/security/limits.d/vfio-scripts.conf'

const CASES: [name: string, files: Record<string, string>, expected: [number | undefined, string] | null][] = [
  ['nothing', {}, null],
  ['comments', { [MAIN]: '# ann - memlock 1024\n\n' }, null],
  ['the line of tune-host', { [OURS]: '# x\n@kvm - memlock 17825792\n' }, [17408 * MIB, `${OURS}:2`]],
  ['no limit', { [MAIN]: 'ann\t-  memlock\tunlimited # all\n' }, [undefined, `${MAIN}:1`]],
  ['both kinds', { [MAIN]: 'ann soft memlock 1024\nann hard memlock 2048\n' }, [MIB, `${MAIN}:1`]],
  ['a hard limit below the soft one', { [MAIN]: 'ann soft memlock -1\n* hard memlock 2048\n' }, [2 * MIB, `${MAIN}:2`]],
  ['one kind alone', { [MAIN]: 'ann soft memlock 1024\n' }, null],
  ['the last of equals', { [MAIN]: '@kvm - memlock 1024\n@ann - memlock 2048\n' }, [2 * MIB, `${MAIN}:2`]],
  [
    'the folder after the file',
    { [MAIN]: '@kvm - memlock 1024\n', [OURS]: '@kvm - memlock 2048\n' },
    [2 * MIB, `${OURS}:1`],
  ],
  ['a user before a group', { [MAIN]: 'ann - memlock 1024\n', [OURS]: '@kvm - memlock 2048\n' }, [MIB, `${MAIN}:1`]],
  ['a group before everybody', { [MAIN]: '@kvm - memlock 1024\n* - memlock 2048\n' }, [MIB, `${MAIN}:1`]],
  ['others', { [MAIN]: 'bob - memlock 1\n@wheel - memlock 1\n%kvm - memlock 1\nann - core 1\n' }, null],
  ['numbers', { [MAIN]: '4000:5000 - memlock 1024\n' }, [MIB, `${MAIN}:1`]],
  ['numbers of groups', { [MAIN]: '@100: - memlock 1024\n' }, [MIB, `${MAIN}:1`]],
  ['one number', { [MAIN]: ':4711 - memlock 1024\n:4712 - memlock 1\n' }, [MIB, `${MAIN}:1`]],
  ['other files', { '/etc/security/limits.d/a.conf.bak': 'ann - memlock 1\n' }, null],
]

/** What the real pam_limits gives ann at a login of su: files of her own stand in the places of the system's. */
function reallyGiven(files: Record<string, string>): string | undefined {
  const dir = scratchDir('limits')
  mkdirSync(join(dir, 'security/limits.d'), { recursive: true })
  const own = {
    passwd: 'root:x:0:0::/root:/bin/sh\nann:x:4711:4711::/tmp:/bin/sh\n',
    group: 'root:x:0:\nann:x:4711:\nkvm:x:104:ann\n',
    shadow: 'ann:*:19000:0:99999:7:::\n',
    'security/limits.conf': '',
  }
  for (const [path, text] of Object.entries(own)) writeFileSync(join(dir, path), text)
  for (const [path, text] of Object.entries(files)) writeFileSync(path.replace('/etc', dir), text)
  const mounts = ['passwd', 'group', 'shadow', 'security'].map((name) => `mount --bind '${dir}/${name}' /etc/${name}`)
  const script = [...mounts, `su -s /bin/sh ann -c 'ulimit -Sl'`].join(' && ')
  const { code, stdout } = runProgram('unshare', ['-m', 'sh', '-c', script])
  return code === 0 ? stdout.trim() : undefined
}

const WITHOUT = has('unshare') && process.getuid?.() === 0 ? reallyGiven({}) : undefined
const REAL = WITHOUT !== undefined && reallyGiven({ [MAIN]: 'ann - memlock 4096\n' }) === '4096'

// More than this login has is not always ours to give.
const MOST = WITHOUT === 'unlimited' ? Infinity : Number(WITHOUT) * 1024
const LOWER = CASES.filter(([, , expected]) => expected === null || (expected[0] ?? Infinity) <= MOST)

describe('the next login', () => {
  it.each(CASES)('with %s', (_, files, expected) => {
    const found = readLoginMemlock(hostWith(files).files, ann)
    expect(found).toEqual(expected === null ? null : { bytes: expected[0], place: expected[1] })
  })

  needs('root, su and pam_limits', REAL).it.each(LOWER)('with %s is what pam_limits gives', (_, files, expected) => {
    const bytes = expected?.[0]
    const given = expected === null ? WITHOUT : bytes === undefined ? 'unlimited' : String(bytes / 1024)
    expect(reallyGiven(files)).toBe(given)
  })
})

describe('check-host', () => {
  const small = {
    'usr/sbin/libvirtd': null,
    'proc/self/limits': 'Max locked memory         8388608              8388608              bytes     \n',
  }
  const found = (files: Record<string, string | null>): unknown =>
    answer(check(host({ ...small, ...files }), '--json')).findings.find(({ code }) => code === 'memory-lock')

  it('tells what is set, and waits for a login, from what is not set', () => {
    expect(found({})).toMatchObject({
      state: 'problem',
      evidence: ['/proc/self/limits', 'no file of /etc/security says more'],
      next: 'tune-host --vfio-group kvm',
    })
    expect(found({ [OURS.slice(1)]: '@kvm - memlock unlimited\n' })).toMatchObject({
      state: 'problem',
      summary: expect.stringContaining('more is allowed, but not in this login'),
      evidence: [`${OURS}:1`],
      next: 'log out and in again',
    })
    expect(found({ [OURS.slice(1)]: '@kvm - memlock 16384\n' })).toMatchObject({
      evidence: ['/proc/self/limits', `${OURS}:1: 16 MiB`],
      next: 'tune-host --vfio-group kvm',
    })
  })
})
