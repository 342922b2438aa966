import { expect, it } from 'vitest'
import { domainHost, genDomain } from '../support/domain.ts'
import type { Ran } from '../support/run.ts'

const windows = ['--name', 'x', '--guest', 'windows10', '--disk', '/var/lib/libvirt/images/guest.qcow2']
const on = (...args: string[]): Ran =>
  genDomain(
    domainHost(() => {}),
    ...args,
  )

it('how a card is switched to MSI, on request', () => {
  expect(on(...windows, '--msi-steps').stderr).toContain('MSISupported')
  expect(on(...windows, '--msi-steps').stderr).toContain('name the card with --gpu')
})

it('and for exactly this card as a line of PowerShell and a .reg file', () => {
  const { stderr, code } = on(...windows, '--gpu', '02:00', '--msi-steps')
  expect(code).toBe(0)
  const says = stderr.replace(/^gen-domain: /gm, '')
  const [, first, second] =
    /InstanceId -match '\^\(PCI\\\\(VEN_10DE&DEV_\w+).*PCI\\\\(VEN_10DE&DEV_\w+)/.exec(says) ?? []
  const pattern = new RegExp(/-match '(.*?)'/.exec(says)?.[1] ?? '$.', 'i')
  for (const id of [first, second]) {
    expect(`PCI\\${id}&SUBSYS_11111028&REV_A1\\4&2283F625&0&0019`).toMatch(pattern)
    expect(`PCI\\${id}0&SUBSYS_11111028&REV_A1\\4&2283F625&0&0019`).not.toMatch(pattern)
  }
  expect(says).toContain(
    'Interrupt Management\\MessageSignaledInterruptProperties" /v MSISupported /t REG_DWORD /d 1 /f',
  )
  expect(says).toMatch(
    /^Windows Registry Editor Version 5\.00\n\n; PATH begins with VEN_10DE&DEV_\w{4}\n\[HKEY_LOCAL_MACHINE.*\]\n"MSISupported"=dword:00000001\n\n; PATH/m,
  )
})
