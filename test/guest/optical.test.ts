import { expect, it } from 'vitest'
import { domainHost, genDomain } from '../support/domain.ts'
import type { Ran } from '../support/run.ts'

const windows = ['--name', 'x', '--guest', 'windows10', '--disk', '/var/lib/libvirt/images/guest.qcow2']
const on = (...args: string[]): Ran =>
  genDomain(
    domainHost(() => {}),
    ...args,
  )

it('how a drive is taken out of the running guest and put back, under libvirt', () => {
  const drive = [...windows, '--disk-bus', 'scsi', '--optical', '/dev/sr0']
  const { stderr } = on(...drive)
  const lines = [...stderr.matchAll(/echo "(.*?)" \| virsh (attach|detach)-device (\S+) \/dev\/stdin --live/g)]
  expect(lines.map(([, , verb]) => verb)).toEqual(['detach', 'attach'])
  expect(lines[0]?.[1]).toBe(
    "<hostdev mode='subsystem' type='scsi' managed='no' rawio='no'><source><adapter name='scsi_host2'/><address bus='0' target='0' unit='0'/></source><readonly/></hostdev>",
  )
  expect(lines[0]?.[3]).toBe('x')
  expect(on(...drive, '--format', 'qemu', '--network', 'user').stderr).not.toContain('virsh')
})
