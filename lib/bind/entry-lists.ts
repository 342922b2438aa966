import { moduleName } from '../edit/modprobe.ts'
import type { ConfiguredArgument } from '../edit/shell-variables.ts'

/**
 * Returns a note where boot entries have different lists of IDs for a module, or only some of them one: each keeps its
 * own, and so takes other devices from the host. None where all are alike, or there is one command line for all.
 */
export function entryListNotes(configured: readonly ConfiguredArgument[], module: string): string[] {
  const entries = [...new Set(configured.flatMap(({ entry }) => entry ?? []))]
  const lists = entries.map((entry) => {
    const own = configured.filter((one) => one.entry === entry && one.name === `${moduleName(module)}.ids`)
    return { entry, token: own.at(-1)?.token }
  })
  const having = lists.filter(({ token }) => token !== undefined)
  const kinds = new Set(having.map(({ token }) => (token ?? '').replace(/^[^=]*=/, '').toLowerCase()))
  if (having.length === 0 || (having.length === lists.length && kinds.size === 1)) return []
  const texts = having.map(({ entry, token }) => `${entry} (${token})`).join(', ')
  const without = lists.filter(({ token }) => token === undefined).map(({ entry }) => entry)
  const rest = without.length === 0 ? '' : `, and ${without.join(', ')} ${without.length === 1 ? 'has' : 'have'} none`
  const which = having.length === 1 && without.length > 0 ? 'Only' : 'Boot entries differ:'
  const verb = having.length === 1 && without.length > 0 ? 'has a list of IDs' : 'have lists of IDs'
  return [
    `${which} ${texts} ${verb}${rest}: each keeps what it has, so what else is bound depends on which one you boot.`,
  ]
}
