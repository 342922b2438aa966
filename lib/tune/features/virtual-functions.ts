import { boundFunctions } from '../../bind/claimed-requirements.ts'
import { expectOneDevice } from '../../bind/select.ts'
import { claimsOf } from '../../change/journal.ts'
import { type Setting, tokensKeptBy } from '../../change/settings.ts'
import { UserError } from '../../core/error.ts'
import { type CheckName, evidenceResult, type Finding, toFinding } from '../../core/finding.ts'
import { findProgram } from '../../host/find-program.ts'
import type { PciDevice } from '../../host/pci.ts'
import { functionNames, readSriov, type Sriov, sriovObstacle, virtualFunctionsOf } from '../../host/sriov.ts'
import { vfMakers } from '../../host/vf-makers.ts'
import { functionsInUse } from '../../host/vf-use.ts'
import { readWantedFunctions, VF_SCRIPT, vfLinkFile, type WantedFunctions } from '../../host/wanted-functions.ts'
import { VF_SCRIPT_HEAD, VF_UNIT, VF_UNIT_PATH, vfRecord, vfUnit } from '../../system/vf-script.ts'
import type { Arguments } from '../../terminal/options.ts'
import {
  expectSystemd,
  externalSettings,
  type FeatureRequirements,
  isDescribed,
  type TuneFacts,
  type TuneFeature,
  tuneRequirements,
} from '../feature.ts'
import { inForceFinding } from '../in-force.ts'
import { findLinkInForce, linkSettings } from '../vf-link.ts'
import { makerSteps } from '../vf-maker-steps.ts'
import { predictionNotes, presentNotes } from '../vf-notes.ts'
import { givenWords, stableMacs } from '../vf-words.ts'

const vfInUseGuard: CheckName = { code: 'vf-in-use' }

/** Makes virtual functions (SR-IOV), at once and whenever the card gets its driver: at boot, and after a reload. */
export const virtualFunctions: TuneFeature = {
  name: 'vfs',
  ofMachine: true,
  option: {
    kind: 'value',
    value: 'CARD=N',
    help: 'N virtual functions (SR-IOV) of a card, from now and at every boot',
  },
  with: [
    { name: 'vfs-driver', kind: 'value', choices: ['vfio-pci', 'host'], help: 'who gets them [vfio-pci]' },
    { name: 'vf-mac', kind: 'list', value: 'N=MAC', help: 'the address of function N (from 0) [one that stays]' },
    { name: 'vf-vlan', kind: 'list', value: 'N=VLAN', help: 'the VLAN that function N is in' },
    { name: 'vf-trust', kind: 'list', value: 'N=on|off', help: 'may it change its address and see all frames?' },
    { name: 'vf-spoof-check', kind: 'list', value: 'N=on|off', help: 'are frames with another address dropped?' },
  ],
  guards: [vfInUseGuard],
  requirements: requireFunctions,

  inForce: ({ machine }, settings) =>
    tokensKeptBy(settings, 'virtual-functions').map((token) => {
      const [address = '', wanted = '', driver = '', card] = token.split('=')
      const folder = `/sys/bus/pci/devices/${address}`
      const next =
        card !== undefined
          ? `journalctl -b -u systemd-udevd says what failed; at the next boot it tries again`
          : `systemctl start ${vfUnit(address)} makes them; systemctl status ${vfUnit(address)} says what failed`
      const number = machine.optionalText(`${folder}/sriov_numvfs`)?.trim()
      if (number === undefined)
        return inForceFinding(
          'virtual-functions',
          machine.exists(folder) ? false : null,
          machine.exists(folder) ? `${address} has no SR-IOV now` : `${address} is not there`,
          [`not seen: ${folder}/sriov_numvfs`],
          'look into the firmware setup, and at list-iommu --sriov',
        )
      const drivers = (machine.list(folder) ?? []).flatMap((name) => {
        const at = /^virtfn\d+$/.test(name) ? machine.linkName(`${folder}/${name}`) : undefined
        return at === undefined
          ? []
          : { at, driver: machine.linkName(`/sys/bus/pci/devices/${at}/driver`) ?? 'no driver' }
      })
      const others = driver === 'vfio-pci' ? drivers.filter((one) => one.driver !== driver) : []
      const evidence = others.map((one) => `${one.at} is on ${one.driver}, not on ${driver}`)
      const summary = `${address} has ${number} virtual functions${number === wanted ? '' : `, not ${wanted}`}`
      return inForceFinding('virtual-functions', number === wanted && others.length === 0, summary, evidence, next)
    }),
}

/** The card and the number of `--vfs`, checked against the machine. */
function expectVfRequest({ devices, host: { machine } }: TuneFacts, text: string) {
  const [, name = '', number = ''] = /^([^=]+)=(\d{1,5})$/.exec(text) ?? []
  if (name === '') throw new UserError('usage', `--vfs ${text}: write CARD=N, as 3b:00.0=4`)
  const device = expectOneDevice(devices, name, `--vfs ${text}`)
  if (device.physicalFunction !== null)
    throw new UserError('no-sriov', `--vfs ${text}: it is a virtual function itself, of ${device.physicalFunction}`)
  const sriov = readSriov(machine, device)
  if (sriov === null || sriov.total === 0)
    throw new UserError(
      'no-sriov',
      `--vfs ${text}: ${device.address} can have no virtual functions; if it should, switch on SR-IOV in the firmware setup and in the card's own`,
    )
  const count = Number(number)
  if (count === 0) throw new UserError('usage', `--vfs ${text}: none at all is --undo vfs`)
  if (sriov.total !== null && count > sriov.total)
    throw new UserError('usage', `--vfs ${text}: ${device.address} can have ${sriov.total} at most`)
  return { device, sriov, count }
}

/**
 * Decides how virtual functions are made: a program of ours, started by a unit for each event in which the card has its
 * driver. Throws a UserError: `usage`, `no-device`, `no-sriov`, `unknown-system`, `contradiction`.
 */
function requireFunctions(facts: TuneFacts, given: Arguments): FeatureRequirements {
  const { host, journal, devices } = facts
  const { machine, files } = host
  const { device, sriov, count } = expectVfRequest(facts, given.value('vfs') ?? '')
  const { address } = device
  const driver = given.value('vfs-driver') === 'host' ? 'host' : 'vfio-pci'
  const asked = givenWords(given, count)
  const obstacle = sriovObstacle(machine, device)
  if (obstacle !== undefined) throw new UserError('no-sriov', `--vfs: ${obstacle}`)
  const names = functionNames(machine, device)
  const [mac] = names.macs
  if (asked.length > 0 && (!device.class.id.startsWith('02') || (names.interfaces.length > 0 && mac === undefined)))
    throw new UserError('usage', `--vf-…: ${address} is no Ethernet card, and its functions have none of this`)
  if (boundFunctions(claimsOf(journal)).some((one) => one.address === address))
    throw new UserError(
      'contradiction',
      `--vfs: ${address} itself is bound for a guest at boot: take that back first (bind-vfio --undo ${address} --apply)`,
    )
  if (isDescribed(facts))
    throw new UserError(
      'unknown-system',
      `--vfs: files of this system come from its configuration; nothing was written`,
      [`there: a unit that writes ${count} to ${device.path}/sriov_numvfs`],
    )
  expectSystemd(facts, '--vfs', `write ${count} to ${device.path}/sriov_numvfs where your system starts services`)
  const words = [...asked, ...(mac === undefined ? [] : stableMacs(mac, count, asked))]
  const wanted = { count, driver, words } as const
  const [maker, ...makers] = vfMakers(files, names)
  if (maker !== undefined)
    throw new UserError(
      'contradiction',
      `${maker}: makes virtual functions of ${address} already: set their number there, or take it out; nothing was written`,
      [...makers, ...[maker, ...makers].flatMap((one) => makerSteps(files, one, wanted))],
    )
  const link = driver === 'host' && names.interfaces.length > 0 ? findLinkInForce(facts, device) : undefined
  const byLink = typeof link === 'object' ? link : undefined
  if (byLink === undefined && words.length > 0 && findProgram(files, 'ip') === undefined && host.running)
    throw new UserError(
      'unknown-system',
      '--vfs: there is no program ip, which gives them their addresses: install iproute2',
    )
  const setNow =
    byLink === undefined
      ? `systemctl start ${vfUnit(address)}`
      : `udevadm trigger --action=add /sys/class/net/${byLink.interface}`
  const systemctl = findProgram(files, 'systemctl') ?? '/usr/bin/systemctl'
  const reason = `${count} virtual functions of ${address}, ${driver === 'host' ? 'for the host' : 'on vfio-pci'}`
  const rule = `ACTION=="add|bind", SUBSYSTEM=="pci", KERNEL=="${address}", ENV{DRIVER}=="?*", RUN+="${systemctl} --no-block start ${vfUnit(address)}"`
  return tuneRequirements(reason, {
    settings: [
      ...(byLink === undefined
        ? unitSettings(device, wanted, reason)
        : linkSettings(device, byLink, wanted, `${reason}, made by systemd-udevd`)),
      ...externalSettings(
        'virtual-functions',
        [[address, count, driver, ...(byLink === undefined ? [] : [byLink.interface])].join('=')],
        reason,
      ),
    ],
    required:
      byLink === undefined
        ? [{ kind: 'udev-rule', rule, reason: 'whenever the card gets its driver: at boot and after a reload' }]
        : [],
    findings: [inUseFinding(facts, device, sriov, count)],
    replaces: (setting) =>
      (setting.kind === 'line' && (setting.line.startsWith(`#= ${address} `) || setting.line === rule)) ||
      (setting.kind === 'file' && setting.path.startsWith(vfLinkFile(address))) ||
      (setting.kind === 'external' && setting.token.startsWith(`${address}=`)),
    notes: [
      ...(byLink === undefined
        ? []
        : [
            `systemd-udevd makes them, by a .link file for this card: it says what ${byLink.path} says, for the first that matches applies alone. The functions are in its drop-in, which initramfs-tools and dracut leave out of the initramfs.`,
          ]),
      ...(typeof link === 'string' ? [`A unit makes them, and no .link file: ${link}.`] : []),
      ...predictionNotes(device, sriov, count),
      ...(sriov.number !== null && sriov.number > 0 && sriov.number !== count
        ? [
            `Its ${sriov.number} virtual functions of now are freed first: the kernel changes their number through 0 only.`,
          ]
        : []),
      ...(sriov.number === count
        ? presentNotes(
            virtualFunctionsOf(machine, device, devices),
            wanted,
            readWantedFunctions(files, address),
            setNow,
          )
        : []),
      ...(device.class.id.startsWith('02')
        ? ['Some cards lose the link for a moment when virtual functions are made: connections over it pause.']
        : []),
    ],
  })
}

/** The program that makes them, with its line for this card, and the unit that runs it. */
function unitSettings(device: PciDevice, wanted: WantedFunctions, reason: string): Setting[] {
  const place = { path: VF_SCRIPT, head: VF_SCRIPT_HEAD, mode: 0o755 }
  const says = 'makes them, and says what failed: systemctl status'
  return [
    { kind: 'line', ...place, line: vfRecord(device, wanted), reason },
    { kind: 'file', path: VF_UNIT_PATH, content: VF_UNIT, reason: says },
  ]
}

/** Checks that nobody holds a virtual function that has to go for another number. */
function inUseFinding(
  { devices, host: { machine, files } }: TuneFacts,
  device: PciDevice,
  { number }: Sriov,
  count: number,
): Finding {
  const present = virtualFunctionsOf(machine, device, devices).map((one) => one.device)
  const stays = number === count || number === 0
  const { uses, unreadable } = functionsInUse(machine, files, stays ? [] : present)
  return toFinding(
    vfInUseGuard,
    evidenceResult({
      problem: `A virtual function of ${device.address} is in use, and another number needs all of them to go`,
      ok: 'No virtual function has to go that is in use',
      next: 'shut the guest down, or end what uses it; the kernel would wait for it for ever',
      evidence: uses.map(({ address, by }) => `${address} → ${by}`),
      unreadable,
    }),
  )
}
