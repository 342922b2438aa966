import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { expectRan, tune, write } from '../support/bind.ts'
import { snapshotOf, textOf } from '../support/system.ts'
import { host } from '../support/tune.ts'

// A bridge over whose card this machine is reached wants a dead man's switch.

const bridge = ['--bridge', 'br0', '--port', 'enp5s0']
const ROUTE = 'Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n'
const route = (device: string, target = '00000000', mask = '00000000'): string =>
  `${device}\t${target}\t0102A8C0\t0003\t0\t0\t100\t${mask}\n`
/** To 10.0.0.9, by sshd. */
const SSH = {
  'proc/1/comm': 'systemd\n',
  'proc/812/comm': 'sshd-session\n',
  'proc/812/fd/4': '→ socket:[4711]',
  'proc/net/tcp':
    '  sl\n   0: 0500000A:0016 0900000A:C001 01 00000000:00000000 02:000A 00000000     0        0 4711 4 0 20 4 0\n',
}
const link = (name: string, more: Record<string, string> = {}): Record<string, string> => ({
  [`sys/class/net/${name}/address`]: '52:54:00:12:34:56\n',
  [`sys/class/net/${name}/flags`]: '0x1003\n',
  ...more,
})
const card = {
  ...link('enp5s0'),
  ...link('enp6s0'),
  'etc/systemd/network/20.network': '[Match]\nName=enp5s0\n[Network]\nDHCP=yes\n',
  'proc/net/route': ROUTE + route('enp6s0'),
  'proc/net/tcp': '  sl\n',
}

describe('--bridge on the card that a machine is reached over', { concurrent: true }, () => {
  it.each<[string, Record<string, string>, RegExp]>([
    ['the default route', { 'proc/net/route': ROUTE + route('enp5s0') }, /enp5s0 has the default route \(IPv4\)/],
    [
      'the default route of IPv6',
      {
        'proc/net/ipv6_route': `${'0'.repeat(32)} 00 ${'0'.repeat(32)} 00 fe80${'0'.repeat(27)}1 00000400 1 0 00000003 enp5s0\n`,
      },
      /enp5s0 has the default route \(IPv6\)/,
    ],
    [
      'an SSH session of the same network',
      { ...SSH, 'proc/net/route': ROUTE + route('enp6s0') + route('enp5s0', '0000000A', '000000FF') },
      /enp5s0 leads to 10\.0\.0\.9 \(sshd-session\[812\]\)/,
    ],
    [
      'what is built on it',
      {
        ...link('vlan7'),
        'sys/class/net/enp5s0/upper_vlan7': '→ ../vlan7',
        'proc/net/route': ROUTE + route('vlan7'),
      },
      /enp5s0 → vlan7 has the default route/,
    ],
  ])('%s', (_, files, says) => {
    const dir = host({ ...card, ...files })
    const before = snapshotOf(join(dir, 'etc'))
    // The plan shows it; applying wants an answer.
    expectRan(tune(dir, ...bridge), 1, says)
    const ran = tune(dir, ...bridge, ...write)
    expectRan(ran, 2, /refused \(no-confirm\): This machine is reached over enp5s0.*add --confirm-within 10m/s)
    expectRan(ran, 2, says)
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)
    expectRan(tune(dir, ...bridge, '--threadirqs', '--confirm-within', '10m', ...write), 0, /taken back/)
    expect(textOf(dir, 'etc/systemd/system/vfio-scripts-confirm.timer')).toContain('OnBootSec=600s')
    // What is there already waits for no answer.
    expectRan(tune(dir, ...bridge, '--apply'), 0, /Nothing to do/)
    expectRan(tune(dir, '--undo', ...write), 0)
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)
    expectRan(tune(dir, ...bridge, '--force', 'no-confirm', ...write), 0)
    expect(textOf(dir, 'etc/systemd/system/vfio-scripts-confirm.timer')).toBeNull()
  })

  it('another card, and other features, want none', () => {
    const dir = host({ ...card, ...SSH })
    const plan = tune(dir, ...bridge)
    expectRan(plan, 1)
    expect(plan.stdout).not.toMatch(/reached over/)
    expectRan(tune(dir, ...bridge, ...write), 0)
    expectRan(tune(host({ ...card, 'proc/net/route': ROUTE + route('enp5s0') }), '--threadirqs', ...write), 0)
  })

  it('what was not seen is said', () => {
    const { 'proc/net/route': _, ...less } = card
    const dir = host(less)
    expectRan(tune(dir, ...bridge), 1, /It is not known whether .*reached over enp5s0.*not seen: the routes/s)
    expectRan(tune(dir, ...bridge, ...write), 0)
  })
})
