import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { BY_UDEV, FREE_BY_UDEV } from '../../lib/system/external-tools.ts'
import { etcOf, expectRan, tune, write } from '../support/bind.ts'
import { genDomain } from '../support/domain.ts'
import { scratchDir } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { has, type Ran, runProgram } from '../support/run.ts'
import { NIC, retie, sriovServer, VF_PROGRAM, vfLines } from '../support/sriov.ts'

/** That server with systemd 252, whose udev has noted which .link file is in force for the card. */
function withLink(files: Record<string, string> = {}, link = '/usr/lib/systemd/network/99-default.link'): string {
  return sriovServer({
    'usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-252.so': '',
    'usr/lib/systemd/network/99-default.link':
      '# Of the package.\n[Match]\nOriginalName=*\n\n[Link]\nNamePolicy=keep kernel database onboard slot path\nMACAddressPolicy=persistent\n',
    [`${NIC}/net/ens1/ifindex`]: '3\n',
    'run/udev/data/n3': `E:ID_PATH=pci-0000:3b:00.0\nE:ID_NET_LINK_FILE=${link}\n`,
    ...files,
  })
}
const LINK = 'etc/systemd/network/00-vfio-scripts-0000-3b-00.0.link'
const host2 = ['--vfs', '3b:00.0=2', '--vfs-driver', 'host', '--vf-vlan', '0=100', '--vf-trust', '1=on']

/** May this machine's systemd be shown other .link files than its own? */
const readable =
  ['udevadm', 'unshare', 'mount'].every((name) => has(name)) &&
  existsSync('/etc/systemd/network') &&
  Number(/^\d+/.exec(runProgram('udevadm', ['--version']).stdout)?.[0]) > 250 &&
  runProgram('unshare', ['-m', 'mount', '--bind', '/tmp', '/etc/systemd/network']).code === 0

describe('functions for the host, by a .link file', { concurrent: true }, () => {
  it('says for this card what the file in force says, and makes them in a drop-in; undo', () => {
    const dir = withLink()
    const before = etcOf(dir)
    expectRan(
      tune(dir, ...host2),
      1,
      /systemd-udevd makes them, by a \.link file for this card: it says what \/usr\/lib\/systemd\/network\/99-default\.link says/,
    )
    expectRan(tune(dir, ...host2, ...write), 0)
    expect(readFileSync(join(dir, LINK), 'utf8').replace(/^#.*\n/gm, '')).toBe(
      '[Match]\nPath=pci-0000:3b:00.0\n\n[Link]\nNamePolicy=keep kernel database onboard slot path\nMACAddressPolicy=persistent\n',
    )
    expect(readFileSync(join(dir, `${LINK}.d/virtual-functions.conf`), 'utf8').replace(/^#.*\n/gm, '')).toMatch(
      /^\[Link\]\nSR-IOVVirtualFunctions=2\n\[SR-IOV\]\nVirtualFunction=0\nVLANId=100\nMACAddress=02:\S+\n\[SR-IOV\]\nVirtualFunction=1\nTrust=on\nMACAddress=02:\S+\n$/,
    )
    const guest = ['--name', 'vm', '--guest', 'linux', '--vf', '3b:02.0', '--explain']
    expectRan(
      genDomain(dir, ...guest),
      0,
      /0000:3b:02\.0: an interface with MAC address 02:\S+, VLAN 100, as tune-host has it/,
    )
    // One mechanism: neither the unit nor its rule.
    expect(existsSync(join(dir, VF_PROGRAM))).toBe(false)
    expect(existsSync(join(dir, 'etc/udev/rules.d/99-vfio-scripts.rules'))).toBe(false)
    expectRan(tune(dir, ...host2), 0)
    expectRan(tune(dir, '--undo', 'vfs', ...write), 0)
    expect(etcOf(dir)).toBe(before)
  })

  needs('systemd 251 and a mount namespace', readable).it('systemd reads every line of it', () => {
    const dir = withLink()
    expectRan(tune(dir, ...host2, '--vf-mac', '0=52:54:00:12:34:56', '--vf-spoof-check', '1=off', ...write), 0)
    const folder = join(dir, 'etc/systemd/network')
    // Of a file that is not there, of a wrong key and of a wrong value it says so.
    const read = (): string => {
      const asked = `mount --bind '${folder}' /etc/systemd/network && udevadm test-builtin net_setup_link /sys/class/net/lo`
      return runProgram('unshare', ['-m', 'sh', '-c', asked], { env: { ...process.env, SYSTEMD_LOG_LEVEL: 'debug' } })
        .stderr
    }
    const said = read()
    expect(said).toMatch(/Parsed configuration file "\S*00-vfio-scripts/)
    expect(said).not.toMatch(/virtual-functions\.conf:\d+|\.link:\d+/)
    writeFileSync(join(dir, `${LINK}.d/virtual-functions.conf`), '[SR-IOV]\nVirtualFunction=0\nTrust=perhaps\n')
    expect(read()).toMatch(/virtual-functions\.conf:3: .*perhaps/)
  })

  it('is told to systemd-udevd at once, through 0; what it did not make is an error; so is the undo', () => {
    const dir = scratchDir('by-udev')
    const [number, log] = [join(dir, 'numvfs'), join(dir, 'log')]
    mkdirSync(join(dir, 'net/ens1'), { recursive: true })
    writeFileSync(
      join(dir, 'udevadm'),
      `#!/bin/sh\necho "$(cat '${number}') $*" >>'${log}'\n[ "$1" != trigger ] || echo "$MAKES" >'${number}'\n`,
      { mode: 0o755 },
    )
    const told = (script: string, now: string, word: string, makes = '0'): Ran => {
      writeFileSync(number, `${now}\n`)
      const env = { PATH: `${dir}:${process.env.PATH}`, MAKES: makes }
      return runProgram('sh', ['-c', script, 'sh', number, word], { env })
    }
    expect(told(BY_UDEV, '4', '2', '2')).toMatchObject({ code: 0, stderr: '' })
    const asked = `0 control --reload\n0 trigger --action=add --settle ${dir}/net/ens1\n`
    expect(readFileSync(log, 'utf8')).toBe(asked)
    expect(told(BY_UDEV, '0', '2', '1')).toMatchObject({
      code: 1,
      stderr: 'there are 1 virtual functions, not 2: journalctl -b -u systemd-udevd\n',
    })
    // When they are freed, udev would make them again as long as the file is there.
    rmSync(log)
    expect(told(FREE_BY_UDEV, '2', number)).toMatchObject({ code: 0, stderr: '' })
    expect([readFileSync(number, 'utf8'), existsSync(log)]).toEqual(['0\n', false])
    expect(told(FREE_BY_UDEV, '2', join(dir, 'gone.link'))).toMatchObject({ code: 0, stderr: '' })
    expect(readFileSync(log, 'utf8')).toBe(asked)
  })

  it('keeps what a drop-in of the file in force says, and stays as it is once it is in force itself', () => {
    const dir = withLink({
      'etc/systemd/network/99-default.link.d/wol.conf': '[Match]\nType=ether\n[Link]\nWakeOnLan=magic\n',
    })
    expectRan(tune(dir, ...host2, ...write), 0)
    const text = readFileSync(join(dir, LINK), 'utf8')
    expect(text).toMatch(/MACAddressPolicy=persistent\n\n\[Link\]\nWakeOnLan=magic\n$/)
    expect(text).not.toMatch(/Type=ether/)
    writeFileSync(join(dir, 'run/udev/data/n3'), `E:ID_PATH=pci-0000:3b:00.0\nE:ID_NET_LINK_FILE=/${LINK}\n`)
    expectRan(tune(dir, ...host2), 0)
  })

  it('goes from one way to the other, and leaves nothing of the first', () => {
    const dir = withLink()
    writeFileSync(join(dir, NIC, 'sriov_numvfs'), '2\n')
    const before = etcOf(dir)
    const guests = ['--vfs', '3b:00.0=2', '--vfs-driver', 'vfio-pci']
    expectRan(tune(dir, ...guests, ...write), 0)
    expectRan(tune(dir, ...host2, ...write), 0)
    expect(vfLines(dir)).toBe('')
    expect(existsSync(join(dir, 'etc/udev/rules.d/99-vfio-scripts.rules'))).toBe(false)
    expectRan(tune(dir, ...guests, ...write), 0)
    expect(vfLines(dir)).toMatch(/ 2 vfio-pci /)
    expect(existsSync(join(dir, LINK)) || existsSync(join(dir, `${LINK}.d/virtual-functions.conf`))).toBe(false)
    expectRan(tune(dir, '--undo', 'vfs', ...write), 0)
    expect(etcOf(dir)).toBe(before)
  })

  it.each<[string, RegExp, Record<string, string | null>]>([
    [
      'an older systemd',
      /and no \.link file: systemd 249 is older than 251/,
      {
        'usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-252.so': null,
        'usr/lib/systemd/libsystemd-shared-249.so': '',
      },
    ],
    [
      'a card of two ports',
      /the card has several interfaces \(ens1, ens1d1\)/,
      { [`${NIC}/net/ens1d1/address`]: '3c:fd:fe:00:00:02\n' },
    ],
    [
      'a udev that has not noted it',
      /udev has not noted which \.link file is in force for ens1/,
      { 'run/udev/data/n3': 'E:ID_PATH=pci-0000:3b:00.0\n' },
    ],
    [
      'a file that comes first',
      /00-a\.link comes before any file of ours/,
      {
        'run/udev/data/n3': 'E:ID_PATH=pci-0000:3b:00.0\nE:ID_NET_LINK_FILE=/etc/systemd/network/00-a.link\n',
        'etc/systemd/network/00-a.link': '[Match]\nPath=*\n[Link]\n',
      },
    ],
  ])('has a unit make them with %s', (_, says, files) => {
    const dir = withLink(files as Record<string, string>)
    expectRan(tune(dir, ...host2, ...write), 0, says)
    expect(existsSync(join(dir, VF_PROGRAM))).toBe(true)
    expect(existsSync(join(dir, LINK))).toBe(false)
  })

  it('has a unit make them with a driver whose functions keep the address that they came with', () => {
    const dir = withLink()
    retie(dir, 'igb')
    expectRan(
      tune(dir, ...host2, ...write),
      0,
      /no \.link file: systemd-udevd gives a function its address .* with igb that is too late/,
    )
    expect(vfLines(dir)).toMatch(/ 2 host .*0:mac=02:/)
    expect(existsSync(join(dir, LINK))).toBe(false)
  })

  it('never for functions of guests: a host driver would have them first', () => {
    const dir = withLink()
    expectRan(tune(dir, '--vfs', '3b:00.0=4', ...write), 0)
    expect(existsSync(join(dir, LINK))).toBe(false)
  })

  it('sees a drop-in that makes them already', () => {
    const dir = withLink({ 'etc/systemd/network/99-default.link.d/vf.conf': '[Link]\nSR-IOVVirtualFunctions=2\n' })
    expectRan(
      tune(dir, ...host2),
      2,
      /99-default\.link\.d\/vf\.conf:2: SR-IOVVirtualFunctions=2: makes virtual functions/,
    )
  })
})
