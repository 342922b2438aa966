import { parseSelector } from '../bind/select.ts'
import { UserError } from '../core/error.ts'
import type { Arguments, Option } from '../terminal/options.ts'
import { requireDisk, requireVfioGroup } from './access.ts'
import { requireBridge, requireTap } from './bridge.ts'
import type { TuneFacts, TuneRequirements } from './feature.ts'
import { requireHugepages } from './hugepages.ts'
import { bridgeFinding, expectFreeNetwork, expectFreeTap, expectUser } from './interface-names.ts'
import { requireIsolation } from './isolate.ts'
import {
  requireBlacklist,
  requireGovernor,
  requireIgnoreMsrs,
  requireTextMode,
  requireThreadIrqs,
  requireUnsafeSetting,
} from './kernel-features.ts'
import { requireLibvirt, requireLibvirtNetwork, requirePackages } from './libvirt-features.ts'
import { requireQemuDevices } from './qemu-devices.ts'

/** One thing that can be asked for: its options (the first asks for it) and what they come to. */
interface TuneFeature {
  options: readonly Option[]
  wish(facts: TuneFacts, given: Arguments): TuneRequirements
}

/** Everything that tune-host can set up: a new feature is one entry here. */
const TUNE_FEATURES: readonly TuneFeature[] = [
  {
    options: [
      { name: 'hugepages', kind: 'value', value: 'SIZE', help: 'set huge pages aside for guests of this size (16G)' },
      { name: 'page-size', kind: 'value', value: 'SIZE', help: 'with --hugepages: of one page, 2M (default) or 1G' },
      { name: 'node', kind: 'value', value: 'N', help: 'with --hugepages: on this NUMA node' },
    ],
    wish: (facts, given) =>
      requireHugepages(facts, {
        memory: given.value('hugepages') ?? '',
        pageSize: given.value('page-size'),
        node: given.value('node'),
      }),
  },
  {
    options: [
      {
        name: 'isolate',
        kind: 'value',
        value: 'N',
        help: 'keep the host off the CPUs that gen-domain --vcpus N pins a guest to',
      },
      { name: 'near', kind: 'value', value: 'DEVICE', help: 'with --isolate: CPUs near this device' },
      {
        name: 'prefer',
        kind: 'value',
        choices: ['cache', 'frequency'],
        help: 'with --isolate: where L3 clusters differ, the one with more of it',
      },
      { name: 'slices', kind: 'flag', help: 'with --isolate: by systemd while it runs, not by kernel arguments' },
    ],
    wish(facts, given) {
      const near = given.value('near')
      const device = near === undefined ? undefined : facts.devices.find(parseSelector(near).matches)
      if (near !== undefined && device === undefined)
        throw new UserError(
          'no-device',
          `--near ${near}: no such device on this machine; list-iommu shows what there is`,
        )
      return requireIsolation(facts, {
        vcpus: Number(given.value('isolate')),
        near: device?.address,
        prefer: given.value('prefer') as 'cache' | 'frequency' | undefined,
        slices: given.flag('slices'),
      })
    },
  },
  {
    options: [
      { name: 'governor', kind: 'value', value: 'NAME', help: 'start all CPUs with this governor (performance)' },
    ],
    wish: (facts, given) => requireGovernor(facts, given.value('governor') ?? ''),
  },
  {
    options: [{ name: 'threadirqs', kind: 'flag', help: 'handle interrupts in threads' }],
    wish: () => requireThreadIrqs(),
  },
  {
    options: [
      { name: 'ignore-msrs', kind: 'flag', help: 'let guests read registers that KVM does not know (Windows does)' },
    ],
    wish: (facts) => requireIgnoreMsrs(facts),
  },
  {
    options: [
      { name: 'vfio-group', kind: 'value', value: 'GROUP', help: 'let members of a group (kvm) use /dev/vfio' },
      {
        name: 'memory',
        kind: 'value',
        value: 'SIZE',
        help: 'with --vfio-group: of the guest, for the memory-lock limit',
      },
    ],
    wish: (facts, given) => requireVfioGroup(facts, given.value('vfio-group') ?? '', given.value('memory')),
  },
  {
    options: [
      { name: 'disk', kind: 'value', value: 'PATH', help: 'let members of a group use this disk (/dev/disk/by-id/…)' },
      { name: 'disk-group', kind: 'value', value: 'GROUP', help: 'with --disk: the group [kvm]' },
    ],
    wish: (facts, given) => requireDisk(facts, given.value('disk') ?? '', given.value('disk-group') ?? 'kvm'),
  },
  {
    options: [
      { name: 'tap', kind: 'value', value: 'NAME', help: 'make a TAP device' },
      { name: 'user', kind: 'value', value: 'USER', help: 'with --tap: who may use it' },
      { name: 'tap-bridge', kind: 'value', value: 'NAME', help: 'with --tap: the bridge that it is a port of' },
    ],
    wish(facts, given) {
      const user = given.value('user')
      if (user === undefined) throw new UserError('usage', '--tap needs --user, whose guests may use it')
      expectUser(facts, user)
      const request = { name: given.value('tap') ?? '', user, bridge: given.value('tap-bridge') }
      const made = requireTap(facts, request)
      expectFreeTap(facts, request, made)
      const { bridge: master } = request
      return master === undefined ? made : { ...made, findings: [bridgeFinding(facts, master, given.value('bridge'))] }
    },
  },
  {
    options: [
      { name: 'bridge', kind: 'value', value: 'NAME', help: 'make a bridge for guests (br0), from the next boot on' },
      { name: 'port', kind: 'value', value: 'INTERFACE', help: 'with --bridge: the network card that is its port' },
      {
        name: 'vlan',
        kind: 'value',
        value: 'N',
        help: 'with --bridge: for guests of this VLAN; the host stays as it is',
      },
    ],
    wish(facts, given) {
      const port = given.value('port')
      if (port === undefined) throw new UserError('usage', '--bridge needs --port, the network card that is its port')
      return requireBridge(facts, { name: given.value('bridge') ?? '', port, vlan: given.value('vlan') })
    },
  },
  {
    options: [
      { name: 'packages', kind: 'flag', help: 'install what guests need and is not there: QEMU, firmware, libvirt …' },
    ],
    wish: (facts) => requirePackages(facts),
  },
  {
    options: [{ name: 'libvirt', kind: 'flag', help: 'have libvirt run, from now on' }],
    wish: (facts) => requireLibvirt(facts),
  },
  {
    options: [
      { name: 'libvirt-network', kind: 'value', value: 'BRIDGE', help: 'make a bridge known to libvirt as a network' },
    ],
    wish(facts, given) {
      const name = given.value('libvirt-network') ?? ''
      const made = requireLibvirtNetwork(name)
      expectFreeNetwork(facts, name)
      return { ...made, findings: [bridgeFinding(facts, name, given.value('bridge'))] }
    },
  },
  {
    options: [
      {
        name: 'qemu-device',
        kind: 'list',
        value: 'PATH',
        help: 'let QEMU open a device that libvirt does not know of (/dev/kvmfr0)',
      },
    ],
    wish: (facts, given) => requireQemuDevices(facts, given.list('qemu-device')),
  },
  {
    options: [
      { name: 'blacklist', kind: 'list', value: 'MODULE', help: 'never load this driver (no other device has it)' },
    ],
    wish: (facts, given) => requireBlacklist(facts, given.list('blacklist')),
  },
  {
    options: [{ name: 'text-mode', kind: 'flag', help: 'start the host without a display manager' }],
    wish: (facts) => requireTextMode(facts),
  },
  {
    options: [
      {
        name: 'unsafe-interrupts',
        kind: 'flag',
        help: 'do without interrupt remapping; wants --force unsafe-interrupts',
      },
    ],
    wish: (facts) => requireUnsafeSetting(facts, 'unsafe-interrupts'),
  },
  {
    options: [
      { name: 'acs-override', kind: 'flag', help: 'split IOMMU groups that are one; wants --force acs-override' },
    ],
    wish: (facts) => requireUnsafeSetting(facts, 'acs-override'),
  },
]

export const FEATURE_OPTIONS: readonly Option[] = TUNE_FEATURES.flatMap(({ options }) => options)

/** Was anything asked for? Throws a UserError, code `usage`, for an option that goes with another that is not given. */
export function hasFeatureOption(given: Arguments): boolean {
  const has = ({ name }: Option): boolean => given.flag(name) || given.list(name).length > 0
  for (const { options } of TUNE_FEATURES) {
    const [first, ...more] = options
    const stray = more.find(has)
    if (first !== undefined && stray !== undefined && !has(first))
      throw new UserError('usage', `--${stray.name} goes with --${first.name}`)
  }
  return FEATURE_OPTIONS.some(has)
}

/** All that was asked for. */
export function requirementsFrom(facts: TuneFacts, given: Arguments): TuneRequirements[] {
  return TUNE_FEATURES.flatMap(({ options, wish: requirement }) => {
    const [first] = options
    const requested = first !== undefined && (given.flag(first.name) || given.list(first.name).length > 0)
    return requested ? [requirement(facts, given)] : []
  })
}
