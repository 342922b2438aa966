import { claimsOf } from '../../change/journal.ts'
import { UserError } from '../../core/error.ts'
import { expectInterfaceName, type TuneFacts, type TuneFeature, tuneRequirements } from '../feature.ts'
import { bridgeFinding } from './bridge.ts'

/** Makes the bridge a libvirt network, which guests name instead of the bridge. Source: libvirt's formatnetwork. */
export const libvirtNetwork: TuneFeature = {
  name: 'libvirt-network',
  ofMachine: true,
  option: { kind: 'value', value: 'BRIDGE', help: 'make a bridge known to libvirt as a network' },

  requirements(facts, given) {
    const bridge = given.value('libvirt-network') ?? ''
    expectInterfaceName('--libvirt-network', bridge)
    expectFreeNetwork(facts, bridge)
    const reason = `libvirt knows ${bridge} as a network`
    const path = `/etc/vfio-scripts/network-${bridge}.xml`
    // XML allows no two hyphens in a comment.
    const content = `<!-- Written by vfio-scripts; the undo of tune-host takes it back. -->\n<network>\n  <name>${bridge}</name>\n  <forward mode='bridge'/>\n  <bridge name='${bridge}'/>\n</network>\n`
    return tuneRequirements(reason, {
      settings: [{ kind: 'file', path, content, reason }],
      findings: [bridgeFinding(facts, bridge, given.value('bridge'))],
    })
  },
}

/** Throws a UserError, code `exists`, where libvirt has a network of this name that is not ours; it would keep it. */
function expectFreeNetwork({ journal, host: { files } }: TuneFacts, name: string): void {
  const path = `/etc/libvirt/qemu/networks/${name}.xml`
  const ours = claimsOf(journal).some(({ setting }) => setting.path.endsWith(`/network-${name}.xml`))
  if (!ours && files.exists(path))
    throw new UserError('exists', `--libvirt-network ${name}: libvirt has a network of this name already (${path})`)
}
