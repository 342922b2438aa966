import { type ParsedElement, unescapeXml } from './document.ts'
import { renderElements, type XmlElement } from './xml-element.ts'

// Changes of a document's text that leave every other character as it is. Each returns a new text, to be parsed anew.

/** Finds the first child element of each name along a path: `child(root, 'features', 'kvm')`. */
export function child(element: ParsedElement | undefined, ...path: string[]): ParsedElement | undefined {
  return path.reduce<ParsedElement | undefined>((at, name) => at?.children.find((each) => each.name === name), element)
}

/** Returns the child elements of that name. */
export function childrenOf(element: ParsedElement | undefined, name: string): ParsedElement[] {
  return element?.children.filter((each) => each.name === name) ?? []
}

/** Returns the value of an element's attribute; `undefined` where the element or the attribute is missing. */
export function attribute(element: ParsedElement | undefined, name: string): string | undefined {
  return element?.attributes.get(name)?.value
}

/** Returns an element's own text, without the space around it. */
export function elementText(text: string, element: ParsedElement): string {
  return unescapeXml(text.slice(element.inner.start, element.inner.end).replace(/<!--[\s\S]*?-->/g, '')).trim()
}

/**
 * Inserts elements into `parent`: behind its last child whose name is in `after`, or else behind the last of all. They
 * are indented like their new siblings.
 */
export function insertElements(
  text: string,
  parent: ParsedElement,
  elements: readonly XmlElement[],
  after: readonly string[] = [],
): string {
  const line = lineBefore(text, parent.start)
  const sibling = [...parent.children].reverse().find(({ name }) => after.includes(name)) ?? parent.children.at(-1)
  const lead = sibling === undefined ? null : lineBefore(text, sibling.start)
  const step = stepOf(text)
  // Without a line of its own above, everything stands on one line, and so do these.
  const indent = lead ?? (line === null ? '' : `${line}${step}`)
  const built = renderElements(elements, quoteOf(text), step)
  const added = built
    .split('\n')
    .map((each) => `${indent}${each}`)
    .join('')
  const at = sibling?.end ?? parent.inner.start
  // A parent that ends on a line of its own does so still.
  const closed = sibling !== undefined || /^[ \t]*\r?\n/.test(text.slice(at, parent.inner.end))
  if (parent.inner.start < parent.end) return splice(text, at, at, closed ? added : `${added}${line ?? ''}`)
  const tag = text.slice(parent.start, parent.end).replace(/\s*\/>$/, '>')
  return splice(text, parent.start, parent.end, `${tag}${added}${line ?? ''}</${parent.name}>`)
}

/** Removes an element, with the line that it stands on. */
export function removeElement(text: string, element: ParsedElement): string {
  const line = lineBefore(text, element.start) ?? ''
  return splice(text, element.start - line.length, element.end, '')
}

/** Sets an attribute; one that is new comes last. */
export function setAttribute(text: string, element: ParsedElement, name: string, value: string): string {
  const known = element.attributes.get(name)
  const escaped = value.replace(/[&<>'"]/g, (character) => `&#${character.charCodeAt(0)};`)
  if (known !== undefined) return splice(text, known.start, known.end, escaped)
  const at = /^<[^\s/>]+(?:"[^"]*"|'[^']*'|[^"'>/])*/.exec(text.slice(element.start))?.[0].trimEnd().length ?? 0
  const quote = quoteOf(text)
  return splice(text, element.start + at, element.start + at, ` ${name}=${quote}${escaped}${quote}`)
}

/** Replaces an element's content. */
export function setText(text: string, element: ParsedElement, content: string): string {
  return splice(text, element.inner.start, element.inner.end, content)
}

function splice(text: string, start: number, end: number, between: string): string {
  return text.slice(0, start) + between + text.slice(end)
}

/** Returns the line break and the space before an element that begins its line; `null` for one that does not. */
function lineBefore(text: string, at: number): string | null {
  return /\r?\n[ \t]*$/.exec(text.slice(0, at))?.[0] ?? null
}

/** Returns the quote that most attributes of the document have. */
function quoteOf(text: string): "'" | '"' {
  return (text.match(/='/g)?.length ?? 0) >= (text.match(/="/g)?.length ?? 0) ? "'" : '"'
}

/** Returns one step of the document's indentation: that of the first element which begins a line. */
function stepOf(text: string): string {
  return /\n([ \t]+)</.exec(text)?.[1] ?? '  '
}
