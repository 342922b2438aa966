import { UserError } from '../../core/error.ts'
import { findInstalled, packageNameFor } from '../../system/packages.ts'
import { externalSettings, isDescribed, type TuneFeature, tuneRequirements } from '../feature.ts'

const SOFTWARE = ['qemu', 'ovmf', 'libvirt', 'swtpm', 'virtiofsd', 'virt-install', 'osinfo'] as const

/** Installs the packages that a host needs and does not have. An undo removes only these. */
export const installPackages: TuneFeature = {
  name: 'packages',
  option: { kind: 'flag', help: 'install what guests need and is not there: QEMU, firmware, libvirt, virt-install …' },

  requirements(facts) {
    const { files } = facts.host
    const { adapter, why } = facts.distro
    const missing = SOFTWARE.filter((software) => typeof findInstalled(files, software) !== 'string')
    const reason = missing.length === 0 ? 'all that guests need is there' : `for ${missing.join(', ')}`
    if (isDescribed(facts))
      return tuneRequirements(reason, { required: missing.map((need) => ({ kind: 'software', need })) })
    const names = missing.flatMap((software) => packageNameFor(adapter?.packages, software, files).split(' '))
    if (missing.length > 0 && adapter?.packages.unattended === undefined)
      throw new UserError(
        'unknown-system',
        `--packages: ${adapter?.name ?? why} is not installed to from here; by hand:`,
        [`${adapter?.packages.command ?? 'install'} ${names.join(' ')}`],
      )
    return tuneRequirements(reason, { settings: externalSettings('packages', names, reason) })
  },
}
