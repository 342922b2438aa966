import { UserError } from '../../core/error.ts'
import { findProgram, startsLibvirtByOpenrc } from '../../host/find-program.ts'
import { externalSettings, isDescribed, type TuneFeature, tuneRequirements } from '../feature.ts'

/** Has libvirt listen from now on: one daemon, or one for QEMU. Source: libvirt's manpages, virtqemud(8). */
export const libvirtService: TuneFeature = {
  name: 'libvirt',
  option: { kind: 'flag', help: 'have libvirt run, from now on' },

  requirements(facts) {
    const { files, machine } = facts.host
    const sockets = ['/run/libvirt/libvirt-sock', '/run/libvirt/virtqemud-sock']
    const reason = 'libvirt runs, from now on and after each boot'
    if (sockets.some((path) => machine.exists(path))) return tuneRequirements(reason, {})
    if (isDescribed(facts)) return tuneRequirements(reason, { required: [{ kind: 'libvirt' }] })
    const modular = findProgram(files, 'libvirtd') === undefined
    if (modular && findProgram(files, 'virtqemud') === undefined)
      throw new UserError('no-libvirt', '--libvirt: libvirt is not installed; --packages does that first')
    const units = modular ? ['virtqemud.socket', 'virtnetworkd.socket', 'virtstoraged.socket'] : ['libvirtd.service']
    const names = startsLibvirtByOpenrc(files) ? ['libvirtd'] : units
    return tuneRequirements(reason, { settings: externalSettings('services', names, reason) })
  },
}
