import { globPattern } from '../../core/glob.ts'
import { modprobeFiles, parseModprobe } from '../../edit/modprobe.ts'
import { configLineText, readBootWrites } from '../../host/drop-ins.ts'
import { hasSystemd } from '../../host/find-program.ts'
import { type TuneFeature, tuneRequirements } from '../feature.ts'
import { parameterFindings } from '../in-force.ts'

/** Ignores model-specific registers that Windows guests read and KVM does not know. Source: kernel, kvm.ignore_msrs. */
export const ignoreMsrs: TuneFeature = {
  name: 'ignore-msrs',
  option: { kind: 'flag', help: 'let guests read registers that KVM does not know (Windows does)' },

  requirements({ host: { kernels } }) {
    const reason = 'guests may read registers that KVM does not know, without a fault'
    const options = ['ignore_msrs=1', 'report_ignored_msrs=0']
    if (kernels.some((kernel) => kernel.provides('kvm') === 'builtin'))
      return tuneRequirements(reason, { arguments: options.map((option) => `kvm.${option}`) })
    return tuneRequirements(reason, {
      required: [{ kind: 'module-options', module: 'kvm', options }],
      rebootNeeded: true,
    })
  },

  inForce: parameterFindings,

  // Options of several lines are joined, and the kernel takes the last of equal ones. Source: modprobe.d(5).
  overruled(files, { path, line }) {
    const [, module = '', ...words] = line.split(/\s+/)
    const names = words.map((word) => word.replace(/=.*/, '='))
    const isOtherValue = (word: string): boolean => names.some((name) => word.startsWith(name)) && !words.includes(word)
    const all = parseModprobe(modprobeFiles(files)).filter((one) => one.command === 'options' && one.module === module)
    const later = all
      .slice(all.findIndex(({ file }) => file === path) + 1)
      .filter(({ file, rest }) => file !== path && rest.split(/\s+/).some(isOtherValue))
      .map((one) => `${one.file}:${one.line}: options ${module} ${one.rest}`)
    const writes = readBootWrites(files, hasSystemd(files)).filter(({ target, value }) =>
      words.some((word) => {
        const [name = '', own] = word.split('=')
        return globPattern(target).test(`/sys/module/${module}/parameters/${name}`) && value !== own
      }),
    )
    return [...later, ...writes.map(configLineText)]
  },
}
