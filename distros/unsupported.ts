import { findProgram } from '../lib/host/find-program.ts'
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
const OSTREE = `${UPDATED}; ostree admin instutil set-kargs changes its kernel arguments: https://ostreedev.github.io/ostree/`
const VANILLA = `${UPDATED}; abroot kargs edit changes its kernel arguments: https://docs.vanillaos.org/`
const KAIROS = `${UPDATED}; its cloud-config and the image that is built for it last: https://kairos.io/docs/`
const HARVESTER = `${UPDATED}; its add-on pcidevices-controller binds devices: https://docs.harvesterhci.io/`
const BLENDOS =
  'one file describes it, and each update makes it anew: put all of this into /system.yaml, then akshara update: https://docs.blendos.co/'
const OPENSHIFT =
  'the Machine Config Operator takes back what it did not write; a MachineConfig with kernelArguments and files lasts: https://docs.redhat.com/en/documentation/openshift_container_platform/'
const CHIMERAOS = `${UPDATED}: https://github.com/ChimeraOS/frzr`

/** By ID. */
const SYSTEMS: Readonly<Record<string, string>> = {
  truenas: TRUENAS,
  talos: `${UPDATED}; machine.install.extraKernelArgs and machine.kernel.modules of its configuration last: https://www.talos.dev/`,
  bottlerocket: `${UPDATED}; settings.boot of its settings has kernel arguments: https://bottlerocket.dev/`,
  kairos: KAIROS,
  blend: BLENDOS,
  blendos: BLENDOS,
  rhcos: OPENSHIFT,
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
  endless: OSTREE,
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
  ['/usr/bin/abroot', 'Vanilla OS', VANILLA],
  ['/etc/harvester-release.yaml', 'Harvester', HARVESTER],
  ['/etc/kairos-release', 'Kairos', KAIROS],
  ['/usr/bin/akshara', 'blendOS', BLENDOS],
  ['/etc/machine-config-daemon', 'OpenShift', OPENSHIFT],
]

/** Returns why this system is not set up here; `undefined`: nothing speaks against it. */
export function whyUnsupported(files: Reader, { id, name }: OsRelease): string | undefined {
  const [, system, reason] = FILES.find(([path]) => files.exists(path)) ?? []
  if (system !== undefined) return `${system} is not set up here: ${reason}`
  const known = SYSTEMS[id.replace(/\s+/g, '-')]
  if (known !== undefined) return `${name} (ID ${id}) is not set up here: ${known}`
  // Vanilla OS has the ID of Ubuntu.
  if (/^vanilla ?os\b/i.test(name)) return `${name} is not set up here: ${VANILLA}`
  const isOstree = files.exists('/ostree/deploy')
  // Of other tools' deployments nothing is known but that they are made elsewhere.
  if (isOstree && findProgram(files, 'rpm-ostree', 'bootc') === undefined)
    return `${name} is not set up here: it is a deployment of OSTree; ${OSTREE}`
  const mounts = readMounts(files) ?? []
  const image = mounts.find(({ point, type }) => /^\/(usr)?$/.test(point) && /^(erofs|squashfs)$/.test(type))
  const root = mounts.filter(({ point }) => point === '/').at(-1)
  // NixOS may have its root in memory, and describes it elsewhere.
  if (isOstree || id === 'nixos') return undefined
  if (root !== undefined && root.source !== 'composefs' && /^(overlay|tmpfs|ramfs|rootfs)$/.test(root.type))
    return `${name} is not set up here: / is ${root.type} (a live medium, overlayroot or a container), which forgets this with the next boot; set it up where its files stay`
  if (image === undefined) return undefined
  return `${name} is not set up here: ${image.point} is an image (${image.type}) that is made elsewhere, and updates replace it; set it up where that is built`
}
