import { UserError } from '../../core/error.ts'
import type { Arguments } from '../../terminal/options.ts'
import { listOption, shapedValue, valueOption } from '../guest-arguments.ts'
import { xmlElement } from '../libvirt/xml-element.ts'
import { listSettings, splitProperties } from '../proxmox/vm-config.ts'
import { isAsked } from '../proxmox/vm-target.ts'
import { escapeCommas } from '../qemu/qemu-words.ts'
import type { BoardRequest } from '../request.ts'
import { firstDrivers } from './disks.ts'
import type { GuestDevice } from './guest-device.ts'

interface Nic {
  kind: 'network' | 'bridge' | 'macvtap' | 'tap' | 'user'
  /** The network, bridge, host interface or TAP device; empty for `user`. */
  source: string
  model: string
  mac: string | null
}

const MODELS = { virtio: 'virtio', own: 'e1000e', old: 'e1000' } as const

export const networkCards: GuestDevice<object, { nics: Nic[] }> = {
  options: [
    listOption(
      'network',
      'NET',
      'network:NAME, bridge:NAME, macvtap:INTERFACE, tap:NAME, user or none (default network:default)',
    ),
    valueOption('nic-model', 'MODEL', 'virtio, e1000e …'),
    valueOption('mac', 'MAC', 'the MAC address of the first network card'),
  ],
  decide(given, { preset, format }) {
    const model = shapedValue(given, 'nic-model', /^[a-z0-9][a-z0-9-]{0,30}$/, 'virtio, e1000e, e1000 or rtl8139')
    return { nics: decideNics(given, format, model ?? MODELS[firstDrivers(given, preset)]) }
  },
  xml: ({ nics }) =>
    nics.map(({ kind, source, model, mac }) => {
      const { type, from } = {
        network: { type: 'network', from: xmlElement('source', { network: source }) },
        bridge: { type: 'bridge', from: xmlElement('source', { bridge: source }) },
        macvtap: { type: 'direct', from: xmlElement('source', { dev: source, mode: 'bridge' }) },
        // A TAP device that somebody else made and configured.
        tap: { type: 'ethernet', from: xmlElement('target', { dev: source, managed: 'no' }) },
        user: { type: 'user', from: null },
      }[kind]
      return xmlElement(
        'interface',
        { type },
        mac !== null && xmlElement('mac', { address: mac }),
        from,
        xmlElement('model', { type: model }),
      )
    }),
  match: { interface: ['@type', 'mac', 'source', 'target'] },
  proxmox: ({ nics }, target) =>
    nics.map(({ kind, source, model, mac }) => {
      if (kind !== 'bridge' && kind !== 'user')
        throw new UserError(
          'usage',
          `--network ${kind}:${source}: Proxmox gives guests bridges; write bridge:NAME, user or none`,
        )
      const bridge = source === '' && kind === 'bridge' ? target.host.bridge : source
      const asked = isAsked(target, 'network', 'mac', 'nic-model')
      if (bridge === null && (asked || target.present === null))
        throw new UserError(
          'usage',
          '--network bridge:NAME: this host has no vmbr0, and not one bridge alone; name one, user or none',
        )
      const [own, at] = [
        mac === null ? model : `${model}=${mac.toUpperCase()}`,
        kind === 'user' ? '' : `,bridge=${bridge}`,
      ]
      const isSame = (value: string): boolean => (splitProperties(value).bridge ?? '') === (bridge ?? '')
      const there = listSettings(target.present ?? new Map(), 'net').find(({ value }) => isSame(value))
      if (there !== undefined && isOther(there.value, isAsked(target, 'nic-model') ? model : null, mac))
        throw new UserError(
          'usage',
          `${mac === null ? `--nic-model ${model}` : `--mac ${mac}`}: the VM has ${there.name} on that network already (${there.value}); change it with qm set ${target.vmid} --${there.name}`,
        )
      return {
        name: 'net',
        when: asked ? 'missing' : 'new',
        value: own + at,
        list: { most: 32, isSame },
      }
    }),
  qemu: ({ nics }) =>
    nics.flatMap(({ kind, source, model, mac }, index) => {
      const backend = {
        user: 'user',
        bridge: `bridge,br=${escapeCommas(source)}`,
        tap: `tap,ifname=${escapeCommas(source)},script=no,downscript=no`,
        network: undefined,
        macvtap: undefined,
      }[kind]
      if (backend === undefined)
        throw new UserError(
          'usage',
          `--network ${kind}:${source}: libvirt alone has that; with --format qemu: bridge:NAME, tap:NAME, user or none`,
        )
      const device = model === 'virtio' ? 'virtio-net-pci' : model
      return [
        ['-netdev', `${backend},id=net${index}`],
        ['-device', `${device},netdev=net${index}${mac === null ? '' : `,mac=${mac}`}`],
      ]
    }),
}

/** Has a network card of Proxmox's (`virtio=BC:24:11:00:00:01,bridge=vmbr0`) another model or MAC than was asked for? */
function isOther(value: string, model: string | null, mac: string | null): boolean {
  const [, own = '', at = ''] = /^(?:model=)?([\w-]+)(?:=([0-9A-F:]+))?/i.exec(value) ?? []
  return (model !== null && own !== model) || (mac !== null && at.toUpperCase() !== mac.toUpperCase())
}

const NIC_KINDS = ['network', 'bridge', 'macvtap', 'tap'] as const

/** Decides the network cards from `default`, `user`, `none`, `bridge:br0` and so on; the MAC is for the first one. */
function decideNics(given: Arguments, format: BoardRequest['format'], model: string): Nic[] {
  const like = 'six bytes of one card, such as 52:54:00:12:34:56'
  const mac = shapedValue(given, 'mac', /^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/i, like)
  const networks = given.list('network')
  const usual = { libvirt: 'network:default', qemu: 'user', proxmox: 'bridge:' }[format]
  const nics = (networks.length === 0 ? [usual] : networks)
    .filter((text) => text !== 'none')
    .map((text, index): Nic => {
      const own = index === 0 ? (mac ?? null) : null
      if (text === 'user') return { kind: 'user', source: '', model, mac: own }
      // The bridge is what the host has.
      if (networks.length === 0 && format === 'proxmox') return { kind: 'bridge', source: '', model, mac: own }
      const [, kind, source = ''] = /^([a-z]+):([A-Za-z0-9_][A-Za-z0-9_.@-]*)$/.exec(text) ?? []
      const known = NIC_KINDS.find((each) => each === kind)
      if (known === undefined || (known !== 'network' && source.length > 15))
        throw new UserError(
          'usage',
          `--network ${text}: write network:NAME, bridge:NAME, macvtap:INTERFACE, tap:NAME, user or none`,
        )
      return { kind: known, source, model, mac: own }
    })
  if (mac !== undefined && nics.length === 0) throw new UserError('usage', '--mac: there is no --network for it')
  return nics
}
