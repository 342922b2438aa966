import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { expectRan, tune } from '../support/bind.ts'
import { scratchDir } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { runProgram } from '../support/run.ts'
import { sriovServer } from '../support/sriov.ts'

describe('where something else makes them, it says how that is told', () => {
  const words = [
    '--vf-mac',
    '0=52:54:00:12:34:56',
    '--vf-vlan',
    '0=100',
    '--vf-trust',
    '1=on',
    '--vf-spoof-check',
    '1=off',
  ]

  it('a .link file', () => {
    const link = '[Match]\nDriver=i40e\n\n[Link]\nSR-IOVVirtualFunctions=1\n'
    expectRan(
      tune(sriovServer({ 'etc/systemd/network/10-sriov.link': link }), '--vfs', '3b:00.0=2', ...words),
      2,
      /there, instead of what it says of SR-IOV: \[Link\] · SR-IOVVirtualFunctions=2 · \[SR-IOV\] · VirtualFunction=0 · MACAddress=52:54:00:12:34:56 · VLANId=100 · \[SR-IOV\] · VirtualFunction=1 · Trust=on · MACSpoofCheck=off · MACAddress=02:/,
    )
  })

  const profile =
    '[connection]\nid=lan\nuuid=1a2b3c4d-0000-4000-8000-000000000001\ntype=ethernet\ninterface-name=ens1\n\n[sriov]\ntotal-vfs=1\n'
  const told = (): string => {
    const files = { 'etc/NetworkManager/system-connections/lan.nmconnection': profile }
    const { stderr } = tune(sriovServer(files), '--vfs', '3b:00.0=2', ...words)
    return /there: (nmcli connection modify .*)/.exec(stderr)?.[1] ?? stderr
  }
  it('a profile of NetworkManager', () => {
    expect(told()).toMatch(
      /^nmcli connection modify '1a2b3c4d-0000-4000-8000-000000000001' sriov\.total-vfs 2 sriov\.autoprobe-drivers false sriov\.vfs '0 mac=52:54:00:12:34:56 vlans=100, 1 trust=true spoof-check=false mac=02:\S+'$/,
    )
  })

  needs('nmcli').it('a profile of NetworkManager, which takes it', () => {
    const file = join(scratchDir('profile'), 'lan.nmconnection')
    writeFileSync(file, profile)
    const command = told().replace(/^nmcli connection modify '\S+'/, 'nmcli --offline connection modify')
    const ran = runProgram('sh', ['-c', `${command} <'${file}'`])
    expect(ran.code, ran.stderr).toBe(0)
    expect(ran.stdout).toMatch(
      /^autoprobe-drivers=(0|false)\ntotal-vfs=2\nvf\.0=mac=52:54:00:12:34:56 vlans=100\nvf\.1=/m,
    )
  })
})
