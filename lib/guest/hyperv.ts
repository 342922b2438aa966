import { type Remarks, supportsElseNote, type VersionedFeature, type Versions } from '../core/versions.ts'
import type { Capabilities } from './capabilities.ts'
import { HYPERV_FLAGS, type HypervFlag, type Preset } from './guest.ts'

const OLD_WINDOWS = new Set<HypervFlag>(['relaxed', 'vapic', 'spinlocks'])
const WINDOWS_8 = new Set<HypervFlag>([...OLD_WINDOWS, 'vpindex', 'runtime', 'synic', 'stimer'])
const FLAG_FEATURES: Partial<Record<HypervFlag, VersionedFeature>> = {
  vpindex: 'hypervTimers',
  runtime: 'hypervTimers',
  synic: 'hypervTimers',
  stimer: 'hypervTimers',
  frequencies: 'hypervFrequencies',
  tlbflush: 'hypervFlushes',
  ipi: 'hypervFlushes',
}

export interface HypervFacts {
  versions: Versions
  /** The report of libvirt on this host and its KVM decides; versions decide only where it does not say. */
  capabilities: Capabilities
  vendor: 'intel' | 'amd' | undefined
  /** Does the host's KVM use APICv or AVIC? `null`: not known. */
  virtualApic: boolean | null
}

/** Decides the Hyper-V flags of a Windows guest. Source: QEMU, docs/system/i386/hyperv.rst. */
export function decideHyperv(preset: Preset, facts: HypervFacts, remarks: Remarks): HypervFlag[] {
  const { hyperv } = facts.capabilities
  const fits = (flag: HypervFlag): boolean =>
    preset === 'windows7' ? OLD_WINDOWS.has(flag) : preset === 'windows8' ? WINDOWS_8.has(flag) : true
  remarks.reasons.push('Hyper-V flags: Windows then uses the faster ways that KVM offers it')
  const special = { evmcs: facts.vendor === 'intel', avic: facts.virtualApic === true } as const
  if (hyperv !== null) {
    const given = HYPERV_FLAGS.filter(
      (flag) => fits(flag) && hyperv.includes(flag) && (flag === 'evmcs' || flag === 'avic' ? special[flag] : true),
    )
    const lacking = HYPERV_FLAGS.filter((flag) => fits(flag) && !(flag in special) && !given.includes(flag))
    if (lacking.length > 0)
      remarks.notes.push(`Hyper-V's ${lacking.join(', ')}: left out, for libvirt says that this host has no such flag`)
    return given.filter((flag) => flag !== 'evmcs' || given.includes('vapic'))
  }
  return HYPERV_FLAGS.filter((flag) => {
    const gate = FLAG_FEATURES[flag]
    return (
      fits(flag) &&
      !(flag in special) &&
      (gate === undefined || supportsElseNote(facts.versions, gate, `Hyper-V's ${flag}`, remarks))
    )
  })
}
