import type { Directive } from '../edit/modprobe.ts'
import { findIds, findModprobeConflicts, isVfioId } from '../edit/modprobe-conflicts.ts'
import type { ConfiguredArgument } from '../edit/shell-variables.ts'
import type { IommuState } from '../host/iommu.ts'
import { OWN_MODPROBE_FILE } from '../system/render-files.ts'
import type { FunctionBinding, Mechanism } from './mechanism.ts'

/**
 * Finds settings of a person or another tool that work against a binding, or do not do what they look like. Returns a
 * line for each: `/etc/default/grub:11: intel_iommu=off switches the IOMMU off`.
 */
export function bindingConflicts(
  configured: readonly ConfiguredArgument[],
  modprobe: readonly Directive[],
  mechanism: Mechanism | null,
  bound: readonly FunctionBinding[],
  kind: IommuState['kind'],
): string[] {
  const switches = ['iommu', ...(kind === 'amd' ? [] : ['intel_iommu']), ...(kind === 'intel' ? [] : ['amd_iommu'])]
  const found = configured
    .filter(({ name, value }) => switches.includes(name) && value?.split(',').includes('off'))
    .map((one) => ({ ...one, what: `${one.token} switches the IOMMU off` }))
  if (mechanism !== null) {
    const { module } = mechanism
    const lists = configured.filter(({ name }) => name === `${module.replaceAll('-', '_')}.ids`)
    const replaced = lists.filter(({ entry }, index) => lists.slice(index + 1).some((later) => later.entry === entry))
    for (const one of replaced) found.push({ ...one, what: `${one.token}: a later ${module}.ids replaces it` })
    for (const one of lists) {
      const wrong = (one.value ?? '').split(',').filter((id) => id !== '' && !isVfioId(id))
      found.push(...wrong.map((id) => ({ ...one, what: `${id} is no ID` })))
    }
  }
  const lines = found.map(({ file, line, what }) => `${file}:${line}: ${what}`)
  if (!mechanism?.byModule) return lines
  const before = [...new Set(bound.flatMap(({ modules }) => modules))]
  const files = [
    ...findIds(modprobe, mechanism.module).flatMap(({ file, line, problems }) =>
      problems.map((what) => ({ file, line, what })),
    ),
    ...findModprobeConflicts(modprobe, { module: mechanism.module, before, ours: OWN_MODPROBE_FILE }),
  ]
  return [...lines, ...files.map(({ file, line, what }) => `${file}:${line}: ${what}`)]
}
