import { readMounts } from '../lib/host/mounts.ts'
import type { OsRelease } from '../lib/host/os-release.ts'
import type { Reader } from '../lib/host/reader.ts'

// Systems whose boot is not set up in the way of the system that they name as a parent, each with the reason.

const UPDATED = 'its updates replace the system, and what is set up with it'
const FORGETS = 'it forgets everything with each boot'
const XEN = 'its hypervisor is Xen, which has no VFIO'
const UNRAID =
  'its system is made anew from /boot at each boot; Tools, System Devices binds devices there: https://docs.unraid.net/'
const TRUENAS = `${UPDATED}; System, Advanced, Isolated GPU Devices binds graphics cards there: https://www.truenas.com/docs/scale/`
const STEAMOS = `${UPDATED}: https://help.steampowered.com/`
const CHIMERAOS = `${UPDATED}: https://github.com/ChimeraOS/frzr`

/** By ID. */
const SYSTEMS: Readonly<Record<string, string>> = {
  steamos: STEAMOS,
  holoiso: STEAMOS,
  chimeraos: CHIMERAOS,
  unraid: UNRAID,
  'unraid-os': UNRAID,
  guix: 'one Scheme file describes it: put the arguments and modules into kernel-arguments and initrd-modules of its operating-system, then guix system reconfigure: https://guix.gnu.org/manual/en/html_node/operating_002dsystem-Reference.html',
  'ubuntu-core': `${UPDATED}; a gadget snap sets its kernel arguments: https://documentation.ubuntu.com/core/`,
  flatcar: `${UPDATED}; its provisioning sets kernel arguments: https://www.flatcar.org/docs/latest/`,
  vyos: `${UPDATED}: https://docs.vyos.io/`,
  tails: FORGETS,
  sysrescue: FORGETS,
  endless: 'its system is an image of its own kind (OSTree)',
  'xcp-ng': XEN,
  xenenterprise: XEN,
}

/** By a file that they alone have: some call themselves by their parent's name. */
const FILES: readonly (readonly [path: string, name: string, why: string])[] = [
  ['/usr/bin/midclt', 'TrueNAS', TRUENAS],
  ['/etc/unraid-version', 'Unraid', UNRAID],
  ['/usr/bin/steamos-readonly', 'SteamOS', STEAMOS],
  ['/usr/bin/frzr-deploy', 'ChimeraOS', CHIMERAOS],
  ['/usr/bin/frzr', 'ChimeraOS', CHIMERAOS],
  [
    '/usr/bin/abroot',
    'Vanilla OS',
    `${UPDATED}; abroot kargs edit changes its kernel arguments: https://docs.vanillaos.org/`,
  ],
]

/** Returns why this system is not set up here; `undefined`: nothing speaks against it. */
export function whyUnsupported(files: Reader, { id, name }: OsRelease): string | undefined {
  const [, system, reason] = FILES.find(([path]) => files.exists(path)) ?? []
  if (system !== undefined) return `${system} is not set up here: ${reason}`
  const known = SYSTEMS[id.replace(/\s+/g, '-')]
  if (known !== undefined) return `${name} (ID ${id}) is not set up here: ${known}`
  const image = readMounts(files)?.find(
    ({ point, type }) => /^\/(usr)?$/.test(point) && /^(erofs|squashfs)$/.test(type),
  )
  if (image === undefined || files.exists('/ostree/deploy')) return undefined
  return `${name} is not set up here: ${image.point} is an image (${image.type}) that is made elsewhere, and updates replace it; set it up where that is built`
}
