import { UserError } from '../../core/error.ts'

/** An element of a document; positions are offsets into the document's text. */
export interface ParsedElement {
  name: string
  attributes: Map<string, { value: string; start: number; end: number }>
  children: ParsedElement[]
  /** The offset of `<` of the start tag; `end` is behind `>` of the end tag. */
  start: number
  end: number
  /** The offsets of its content; both equal `end` for `<element/>`. */
  inner: { start: number; end: number }
}

// XML 1.0 and Namespaces in XML, as far as libvirt reads them: no document type, no colon but the one of a prefix.
const START =
  'A-Z_a-z\\u00c0-\\u00d6\\u00d8-\\u00f6\\u00f8-\\u02ff\\u0370-\\u037d\\u037f-\\u1fff\\u200c\\u200d\\u2070-\\u218f\\u2c00-\\u2fef\\u3001-\\ud7ff\\uf900-\\ufdcf\\ufdf0-\\ufffd'
const PLAIN = `[${START}][${START}\\-.0-9\\u00b7\\u0300-\\u036f\\u203f-\\u2040]*`
const NAME = `${PLAIN}(?::${PLAIN})?`
const S = '[ \\t\\r\\n]'
const ATTRIBUTE = `${S}+(${NAME})${S}*=${S}*("[^<"]*"|'[^<']*')`
const COMMENT = '<!--(?:[^-]|-[^-])*-->'
const INSTRUCTION = `<\\?(?![Xx][Mm][Ll][\\s?])${PLAIN}(?:${S}[\\s\\S]*?)?\\?>`
const TOKEN = new RegExp(
  `(${COMMENT}|${INSTRUCTION})|<!\\[CDATA\\[([\\s\\S]*?)\\]\\]>|</(${NAME})${S}*>|<(${NAME})((?:${ATTRIBUTE.replaceAll('(', '(?:').replaceAll('(?:?:', '(?:')})*)${S}*(/?)>|([^<]+)`,
  'y',
)
const DECLARATION = new RegExp(
  `<\\?xml${S}+version${S}*=${S}*["']1\\.\\d["'](?:${S}+encoding${S}*=${S}*["']([A-Za-z][\\w.-]*)["'])?(?:${S}+standalone${S}*=${S}*["'](?:yes|no)["'])?${S}*\\?>`,
  'y',
)
const REFERENCE = /&(?!(?:amp|lt|gt|quot|apos|#\d{1,7}|#x[0-9a-fA-F]{1,6});)/
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what XML does not allow
const FORBIDDEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|[\ud800-\udbff](?![\udc00-\udfff])/

/**
 * Reads a document strictly and returns its root. Throws a UserError with code `malformed`, which names the line, for
 * anything that is not well-formed, and with code `document-type` for a DOCTYPE: libvirt writes none, and its entities
 * could name files or grow without end.
 */
export function parseDocument(text: string): ParsedElement {
  const bad = (at: number, what: string): UserError =>
    new UserError('malformed', `line ${text.slice(0, at).split('\n').length}: ${what}; nothing was changed`)
  const control = FORBIDDEN.exec(text)
  if (control !== null) throw bad(control.index, 'holds a character that XML does not allow')
  let at = 0
  DECLARATION.lastIndex = 0
  const declaration = DECLARATION.exec(text)
  if (declaration !== null) at = declaration[0].length
  if (declaration?.[1] !== undefined && !/^(utf-8|us-ascii)$/i.test(declaration[1]))
    throw bad(0, `encoding ${declaration[1]}: only UTF-8 is read`)
  const open: { element: ParsedElement; prefixes: ReadonlySet<string> }[] = []
  let root: ParsedElement | undefined
  while (at < text.length) {
    TOKEN.lastIndex = at
    const token = TOKEN.exec(text)
    if (token === null) {
      if (text.startsWith('<!DOCTYPE', at))
        throw new UserError('document-type', 'a document type (DOCTYPE) is refused: no domain of libvirt has one')
      throw bad(at, `not well-formed at ${JSON.stringify(text.slice(at, at + 20))}`)
    }
    const [whole, , data, closing, name, attributes = '', slash, plain] = token
    const above = open.at(-1)
    if (plain !== undefined) {
      if (above === undefined && plain.trim() !== '') throw bad(at, 'text outside of the root element')
      if (plain.includes(']]>')) throw bad(at + plain.indexOf(']]>'), ']]> in text')
      checkReferences(plain, at, bad)
    } else if (data !== undefined && above === undefined) throw bad(at, 'CDATA outside of the root element')
    else if (closing !== undefined) {
      if (above?.element.name !== closing) throw bad(at, `</${closing}> closes nothing that is open`)
      above.element.inner.end = at
      above.element.end = at + whole.length
      open.pop()
    } else if (name !== undefined) {
      const end = at + whole.length
      const element: ParsedElement = {
        name,
        attributes: parseAttributes(attributes, at + 1 + name.length, bad),
        children: [],
        start: at,
        end,
        inner: { start: end, end },
      }
      const prefixes = prefixesOf(element, above?.prefixes ?? new Set(['xml']))
      for (const used of [name, ...element.attributes.keys()]) {
        const prefix = /^([^:]+):/.exec(used)?.[1]
        if (prefix !== undefined && (prefix !== 'xmlns' || used === name) && !prefixes.has(prefix))
          throw bad(at, `${used}: its prefix is bound to no namespace`)
      }
      if (above === undefined && root !== undefined) throw bad(at, 'a second root element')
      above?.element.children.push(element)
      root ??= element
      if (slash === '') open.push({ element, prefixes })
      if (open.length > 200) throw bad(at, 'elements in each other, more than 200 deep')
    }
    at += whole.length
  }
  const left = open.at(-1)
  if (left !== undefined) throw bad(left.element.start, `<${left.element.name}> is never closed`)
  if (root === undefined) throw bad(0, 'there is no element in it')
  return root
}

type ErrorAt = (at: number, what: string) => UserError

function checkReferences(text: string, at: number, bad: ErrorAt): void {
  const wrong = REFERENCE.exec(text)
  if (wrong !== null)
    throw bad(at + wrong.index, `${text.slice(wrong.index, wrong.index + 12)}: no entity that XML has`)
  for (const [whole, decimal, hex] of text.matchAll(/&#(?:(\d+)|x([0-9a-fA-F]+));/g)) {
    const code = decimal === undefined ? Number.parseInt(hex ?? '', 16) : Number(decimal)
    const surrogate = code >= 0xd800 && code <= 0xdfff
    if (code > 0x10ffff || surrogate || FORBIDDEN.test(String.fromCodePoint(code)))
      throw bad(at + text.indexOf(whole), `${whole}: a character that XML does not allow`)
  }
}

function parseAttributes(text: string, offset: number, bad: ErrorAt): ParsedElement['attributes'] {
  const found: ParsedElement['attributes'] = new Map()
  for (const match of text.matchAll(new RegExp(ATTRIBUTE, 'g'))) {
    const [whole, name = '', quoted = ''] = match
    const end = offset + match.index + whole.length - 1
    if (found.has(name)) throw bad(end, `attribute ${name} stands twice`)
    const value = quoted.slice(1, -1)
    checkReferences(value, end - value.length, bad)
    found.set(name, { value: unescapeXml(value), start: end - value.length, end })
  }
  return found
}

const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }

/** Returns the text that an attribute's value or an element's content stands for. */
export function unescapeXml(text: string): string {
  return text.replace(/&(?:#(\d+)|#x([0-9a-fA-F]+)|(\w+));/g, (whole, decimal, hex, name) => {
    if (name !== undefined) return ENTITIES[name] ?? whole
    return String.fromCodePoint(decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal))
  })
}

function prefixesOf({ attributes }: ParsedElement, above: ReadonlySet<string>): ReadonlySet<string> {
  // An empty namespace takes none: the prefix stays unbound.
  const own = [...attributes].flatMap(([name, { value }]) =>
    value === '' ? [] : (/^xmlns:(.+)$/.exec(name)?.[1] ?? []),
  )
  return own.length === 0 ? above : new Set([...above, ...own])
}
