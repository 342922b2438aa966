import { XMLBuilder } from 'fast-xml-parser'

/** The namespace of libvirt's elements for arguments that go to QEMU as they are. */
export const QEMU_NAMESPACE = 'http://libvirt.org/schemas/domain/qemu/1.0'

/** An element to write: its values are plain text, which is escaped when the XML is built. */
export interface XmlElement {
  name: string
  attributes: Readonly<Record<string, string | number>>
  children: readonly XmlElement[]
  text: string | null
}

type XmlChild = XmlElement | string | null | undefined | false | readonly XmlElement[]

/** Builds `xmlElement('disk', { type: 'file' }, xmlElement('source'))`; a string is the text, `null` is left out. */
export function xmlElement(
  name: string,
  attributes: Readonly<Record<string, string | number | null | undefined>> = {},
  ...children: XmlChild[]
): XmlElement {
  const external = Object.entries(attributes).filter((pair): pair is [string, string | number] => pair[1] != null)
  const text = children.find((child) => typeof child === 'string')
  return {
    name,
    attributes: Object.fromEntries(external),
    children: children.flatMap((child) => (!child || typeof child === 'string' ? [] : child)),
    text: text ?? null,
  }
}

/** The nodes that fast-xml-parser builds XML from with `preserveOrder`. */
type BuilderNode = Record<string, unknown>

function builderNode({ name, attributes, children, text }: XmlElement): BuilderNode {
  const content = text === null ? children.map(builderNode) : [{ '#text': text }]
  const pairs = Object.entries(attributes).map(([key, value]) => [`@${key}`, String(value)])
  return { [name]: content, ':@': Object.fromEntries(pairs) }
}

/**
 * Returns the text of elements, one a line, without a newline at the end. `quote` goes around attributes: libvirt
 * writes `'`, so that a patch of its own output shows no change of quotes.
 */
export function renderElements(elements: readonly XmlElement[], quote: "'" | '"' = "'", indent = '  '): string {
  const builder = new XMLBuilder({
    preserveOrder: true,
    ignoreAttributes: false,
    attributeNamePrefix: '@',
    format: true,
    indentBy: indent,
    suppressEmptyNode: true,
  })
  const text = builder.build(elements.map(builderNode)).trim()
  // Values hold no quotes of either kind: the builder made entities of them.
  return quote === '"' ? text : text.replace(/<[^>]*>/g, (tag) => tag.replaceAll('"', "'"))
}
