import type { Reader } from './reader.ts'

/** The readers whose denials are counted. */
export type Readers = readonly Reader[]

/** Returns the value that `work` gave, and the denials that it met. */
export function withDenials<T>(readers: Readers, work: () => T): { value: T; denied: string[] } {
  const since = denialsSince(readers)
  const value = work()
  return { value, denied: since() }
}

/** Does the same as `withDenials` for work that takes its time. */
export async function withDenialsAsync<T>(
  readers: Readers,
  work: () => T | Promise<T>,
): Promise<{ value: T; denied: string[] }> {
  const since = denialsSince(readers)
  const value = await work()
  return { value, denied: since() }
}

function denialsSince(readers: Readers): () => string[] {
  const before = readers.map(({ denials }) => denials.length)
  return () => [...new Set(readers.flatMap(({ denials }, index) => denials.slice(before[index])))]
}

/**
 * Returns facts that are each read once, when first asked for; the denials of that read count for each who asks. Do not
 * spread the result: that asks for all.
 */
export function onDemand<T extends object>(readers: Readers, parts: { [K in keyof T]: () => T[K] }): T {
  const facts = {} as T
  for (const name of Object.keys(parts) as (keyof T)[]) {
    let known: { value: T[keyof T]; denied: string[] } | undefined
    Object.defineProperty(facts, name, {
      enumerable: true,
      get() {
        if (known !== undefined) {
          readers[0]?.denials.push(...known.denied)
          return known.value
        }
        const since = denialsSince(readers)
        const value = parts[name]()
        known = { value, denied: since() }
        return value
      },
    })
  }
  return facts
}
