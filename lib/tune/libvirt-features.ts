import type { Setting } from '../change/settings.ts'
import { UserError } from '../core/error.ts'
import { findProgram } from '../host/find-program.ts'
import { readOsRelease } from '../host/os-release.ts'
import type { ExternalToolName } from '../system/external-tools.ts'
import { findInstalled, packageNameFor } from '../system/packages.ts'
import {
  describedHost,
  expectInterfaceName,
  type TuneFacts,
  type TuneRequirements,
  tuneRequirements,
} from './feature.ts'

/** The packages that a host needs and has not. An undo removes these, and none that was there. */
export function requirePackages(facts: TuneFacts): TuneRequirements {
  const { adapter, why } = facts.distro
  const requirements = ['qemu', 'ovmf', 'libvirt', 'swtpm', 'virtiofsd'] as const
  const described = describedHost(facts)
  const missing = requirements.filter((need) => findInstalled(facts.host.files, need) === undefined)
  const reason = missing.length === 0 ? 'all that guests need is there' : `for ${missing.join(', ')}`
  if (described !== undefined)
    return tuneRequirements('packages', reason, {
      items: described.packages(missing, readOsRelease(facts.host.files).version),
    })
  const names = missing.flatMap((need) => packageNameFor(adapter?.packages, need, facts.host.files).split(' '))
  if (missing.length > 0 && adapter?.packages.unattended === undefined)
    throw new UserError(
      'unknown-system',
      `--packages: ${adapter?.name ?? why} is not installed to from here; by hand:`,
      [`${adapter?.packages.command ?? 'install'} ${names.join(' ')}`],
    )
  return tuneRequirements('packages', reason, { files: externalSettings('packages', names, reason) })
}

/** libvirt listens from now on: one daemon, or one for QEMU. Source: libvirt's manpages, virtqemud(8). */
export function requireLibvirt(facts: TuneFacts): TuneRequirements {
  const { files, machine } = facts.host
  const sockets = ['/run/libvirt/libvirt-sock', '/run/libvirt/virtqemud-sock']
  const reason = 'libvirt runs, from now on and after each boot'
  if (sockets.some((path) => machine.exists(path))) return tuneRequirements('libvirt', reason, {})
  const described = describedHost(facts)?.libvirt
  if (described !== undefined) return tuneRequirements('libvirt', reason, { items: [described] })
  const modular = findProgram(files, 'libvirtd') === undefined
  if (modular && findProgram(files, 'virtqemud') === undefined)
    throw new UserError('no-libvirt', '--libvirt: libvirt is not installed; --packages does that first')
  const units = modular ? ['virtqemud.socket', 'virtnetworkd.socket', 'virtstoraged.socket'] : ['libvirtd.service']
  const openrc = files.exists('/etc/init.d/libvirtd')
  return tuneRequirements('libvirt', reason, {
    files: externalSettings('services', openrc ? ['libvirtd'] : units, reason),
  })
}

/** A libvirt network that is the bridge: guests name it, and not the bridge. Source: libvirt's formatnetwork. */
export function requireLibvirtNetwork(bridge: string): TuneRequirements {
  expectInterfaceName('--libvirt-network', bridge)
  const reason = `libvirt knows ${bridge} as a network`
  const path = `/etc/vfio-scripts/network-${bridge}.xml`
  // No two hyphens in a comment.
  const content = `<!-- Written by vfio-scripts; the undo of tune-host takes it back. -->\n<network>\n  <name>${bridge}</name>\n  <forward mode='bridge'/>\n  <bridge name='${bridge}'/>\n</network>\n`
  return tuneRequirements('libvirt-network', reason, {
    files: [{ kind: 'file', path, content, reason }],
  })
}

function externalSettings(tool: ExternalToolName, tokens: readonly string[], reason: string): Setting[] {
  return tokens.map((token) => ({ kind: 'external', tool, path: '', token, reason }))
}
