import { describe, expect, it } from 'vitest'
import { machineDir } from '../support/machine.ts'
import { runScript } from '../support/run.ts'

describe('groups that hold mediated devices alone', () => {
  const dir = machineDir('sriov-nic')
  const groupsOf = (...args: string[]) => {
    const { groups } = JSON.parse(runScript('list-iommu', ['--machine', dir, '--json', ...args]).stdout)
    return (groups as { devices: unknown[]; others: unknown[] }[]).map(({ devices, others }) => [
      devices.length,
      others.length,
    ])
  }

  it('are listed with everything', () => {
    expect(groupsOf().filter(([devices, others]) => devices === 0 && others === 1)).not.toEqual([])
  })

  it('match no filter', () => {
    const groups = groupsOf('--net')
    expect(groups.length).toBeGreaterThan(0)
    expect(groups.filter(([devices]) => devices === 0)).toEqual([])
    expect(groupsOf('--id', 'dead:beef')).toEqual([])
  })
})
