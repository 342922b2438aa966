import { coversId, findIds, findModprobeConflicts, findStrayIds, isVfioId } from '../edit/modprobe-conflicts.ts'
import type { IommuState } from '../host/iommu.ts'
import { OWN_MODPROBE_FILE } from '../system/render-files.ts'
import type { BindFacts } from './bind-facts.ts'
import type { FunctionBinding, Mechanism } from './mechanism.ts'
import { findRivals } from './rivals.ts'

/**
 * Finds settings of a person or another tool that work against a binding, or do not do what they look like. Returns a
 * line for each: `/etc/default/grub:11: intel_iommu=off switches the IOMMU off`.
 */
export function bindingConflicts(
  facts: Pick<BindFacts, 'host' | 'configured' | 'modprobe' | 'initramfs'>,
  mechanism: Mechanism | null,
  bound: readonly FunctionBinding[],
  kind: IommuState['kind'],
): string[] {
  const { configured, modprobe } = facts
  const switches = ['iommu', ...(kind === 'amd' ? [] : ['intel_iommu']), ...(kind === 'intel' ? [] : ['amd_iommu'])]
  const found = configured
    .filter(({ name, value }) => switches.includes(name) && value?.split(',').includes('off'))
    .map((one) => ({ ...one, what: `${one.token} switches the IOMMU off` }))
  if (mechanism !== null) {
    const { module } = mechanism
    const lists = configured.filter(({ name }) => name === `${module.replaceAll('-', '_')}.ids`)
    const idsOf = (value = ''): string[] => value.split(',').filter((id) => id !== '')
    // A list that a later one holds whole loses nothing.
    const replaced = lists.filter(({ entry, value }, index) => {
      const last = lists
        .slice(index + 1)
        .filter((later) => later.entry === entry)
        .at(-1)
      return last && idsOf(value).some((id) => !idsOf(last.value).some((later) => coversId(later, id)))
    })
    for (const one of replaced) found.push({ ...one, what: `${one.token}: a later ${module}.ids replaces it` })
    for (const one of lists) {
      const wrong = idsOf(one.value).filter((id) => !isVfioId(id))
      found.push(...wrong.map((id) => ({ ...one, what: `${id} is no ID` })))
    }
  }
  const rivals = mechanism === null ? [] : findRivals(facts, mechanism, bound)
  const lines = [...found, ...rivals].map(({ file, line, what }) => `${file}:${line}: ${what}`)
  if (!mechanism?.byModule) return lines
  const before = [...new Set(bound.flatMap(({ modules }) => modules))]
  const files = [
    ...findIds(modprobe, mechanism.module).flatMap(({ file, line, problems }) =>
      problems.map((what) => ({ file, line, what })),
    ),
    ...findStrayIds(modprobe, mechanism.module),
    ...findModprobeConflicts(modprobe, { module: mechanism.module, before, ours: OWN_MODPROBE_FILE }),
  ]
  return [...lines, ...files.map(({ file, line, what }) => `${file}:${line}: ${what}`)]
}
