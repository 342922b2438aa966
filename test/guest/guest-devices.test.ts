import { readdirSync } from 'node:fs'
import { expect, it } from 'vitest'
import { GUEST_DEVICES } from '../../lib/guest/devices/guest-devices.ts'
import { domainHost, patch } from '../support/domain.ts'
import { expectError } from '../support/expect.ts'
import { PROJECT } from '../support/run.ts'

const files = readdirSync(`${PROJECT}lib/guest/devices`).filter((name) => !name.startsWith('guest-device'))
const host = domainHost()

it.each(files)('%s is in the list of guest-devices.ts', async (file) => {
  const module: Record<string, unknown> = await import(`../../lib/guest/devices/${file.slice(0, -3)}.ts`)
  expect(GUEST_DEVICES.filter((device) => Object.values(module).includes(device))).toHaveLength(1)
})

it('an option that says how a device is attached goes with the one that asks for it', () => {
  const domain = "<domain type='kvm'><name>x</name><devices/></domain>"
  for (const { options, forNew = [] } of GUEST_DEVICES)
    for (const { kind, name, choices } of options.slice(1))
      if (kind !== 'list')
        expectError(
          patch(host, domain, `--${name}`, ...(kind === 'flag' ? [] : [choices?.[0] ?? '/x'])),
          `--${name} ${forNew.includes(name) ? 'is for a new guest' : `goes with --${options[0]?.name}`}`,
        )
})

it('a network card without a model is the same as one with any', () => {
  const domain =
    "<domain type='kvm'><name>x</name><devices><interface type='bridge'><source bridge='br0'/></interface></devices></domain>"
  expect(patch(host, domain, '--network', 'bridge:br0').stdout).toBe(domain)
  expect(patch(host, domain, '--network', 'bridge:br1').stdout).toContain('br1')
})
