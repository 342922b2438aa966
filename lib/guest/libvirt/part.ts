import { XMLBuilder } from 'fast-xml-parser'

/** An element to write: values are plain text, escaped when it is built. */
export interface Part {
  name: string
  attributes: Readonly<Record<string, string | number>>
  children: readonly Part[]
  text: string | null
}

type Child = Part | string | null | undefined | false | readonly Part[]

/** `part('disk', { type: 'file' }, part('source', …))`; a string is the element's text, nothing at all is left out. */
export function part(
  name: string,
  attributes: Readonly<Record<string, string | number | null | undefined>> = {},
  ...children: Child[]
): Part {
  const kept = Object.entries(attributes).filter((pair): pair is [string, string | number] => pair[1] != null)
  const text = children.find((child) => typeof child === 'string')
  return {
    name,
    attributes: Object.fromEntries(kept),
    children: children.flatMap((child) => (!child || typeof child === 'string' ? [] : child)),
    text: text ?? null,
  }
}

/** What fast-xml-parser builds from with `preserveOrder`. */
type Ordered = Record<string, unknown>

function ordered({ name, attributes, children, text }: Part): Ordered {
  const content = text === null ? children.map(ordered) : [{ '#text': text }]
  const pairs = Object.entries(attributes).map(([key, value]) => [`@${key}`, String(value)])
  return { [name]: content, ':@': Object.fromEntries(pairs) }
}

/**
 * The text of elements, one a line, without a newline at the end. `quote` is what stands around attributes: libvirt
 * writes `'`, so that a patch of its own output shows no change of quotes.
 */
export function buildParts(parts: readonly Part[], quote: "'" | '"' = "'", indent = '  '): string {
  const builder = new XMLBuilder({
    preserveOrder: true,
    ignoreAttributes: false,
    attributeNamePrefix: '@',
    format: true,
    indentBy: indent,
    suppressEmptyNode: true,
  })
  const text = builder.build(parts.map(ordered)).trim()
  // Values hold no quotes of either kind: the builder made entities of them.
  return quote === '"' ? text : text.replace(/<[^>]*>/g, (tag) => tag.replaceAll('"', "'"))
}
