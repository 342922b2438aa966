import lt from 'semver/functions/lt.js'

/** The versions that the guest will run under; `null` is an unknown version, which counts as new enough. */
export interface Versions {
  libvirt: string | null
  qemu: string | null
}

/** The first versions that have a feature, such as `9.10.0`. */
export interface MinimumVersions {
  libvirt: string
  qemu: string
}

/** The first versions that have each feature. Source: https://libvirt.org/formatdomain.html, and QEMU's changelogs. */
const MINIMUM_VERSIONS = {
  hideKvm: { libvirt: '1.2.8', qemu: '2.1.0' },
  hypervclock: { libvirt: '1.2.2', qemu: '2.0.0' },
  vendorId: { libvirt: '1.3.3', qemu: '2.5.0' },
  hypervTimers: { libvirt: '1.3.3', qemu: '2.6.0' },
  hypervFrequencies: { libvirt: '4.7.0', qemu: '2.12.0' },
  hypervFlushes: { libvirt: '4.10.0', qemu: '3.1.0' },
  ioapic: { libvirt: '3.4.0', qemu: '2.8.0' },
  cpuCache: { libvirt: '3.3.0', qemu: '2.9.0' },
  migratable: { libvirt: '6.5.0', qemu: '2.12.0' },
  dies: { libvirt: '6.1.0', qemu: '4.1.0' },
  aliases: { libvirt: '3.9.0', qemu: '0.0.0' },
  firmwareAuto: { libvirt: '5.2.0', qemu: '2.12.0' },
  firmwareFeatures: { libvirt: '7.2.0', qemu: '2.12.0' },
  firmwareQcow2: { libvirt: '9.2.0', qemu: '2.12.0' },
  addressBits: { libvirt: '9.3.0', qemu: '2.11.0' },
  evdev: { libvirt: '7.4.0', qemu: '2.6.0' },
  override: { libvirt: '8.2.0', qemu: '6.2.0' },
} as const
export type VersionedFeature = keyof typeof MINIMUM_VERSIONS

/** May this feature be used with these versions? A guest's device has minimum versions of its own. */
export function supports(versions: Versions, feature: VersionedFeature | MinimumVersions): boolean {
  return tooOldText(versions, feature) === undefined
}

/** Returns why a feature may not be used, such as `libvirt 1.2.9 is older than 1.3.3`; `undefined` when it may. */
function tooOldText({ libvirt, qemu }: Versions, feature: VersionedFeature | MinimumVersions): string | undefined {
  const requirements = typeof feature === 'string' ? MINIMUM_VERSIONS[feature] : feature
  if (libvirt !== null && lt(libvirt, requirements.libvirt))
    return `libvirt ${libvirt} is older than ${requirements.libvirt}`
  if (qemu !== null && lt(qemu, requirements.qemu)) return `QEMU ${qemu} is older than ${requirements.qemu}`
  return undefined
}

/** The remarks on the decisions: their reasons (`--explain`), and notes on what is left out or has to be done. */
export interface Remarks {
  reasons: string[]
  notes: string[]
}

/** May this feature be used? Adds a note when it may not. */
export function supportsElseNote(
  versions: Versions,
  feature: VersionedFeature | MinimumVersions,
  what: string,
  { notes }: Remarks,
): boolean {
  const why = tooOldText(versions, feature)
  if (why !== undefined) notes.push(`${what} is left out: ${why}`)
  return why === undefined
}
