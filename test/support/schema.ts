import { readFileSync } from 'node:fs'
import { PROJECT } from './run.ts'

/** As much of JSON Schema (draft 7) as those in docs/schema use. */
interface JsonSchema {
  $ref?: string
  type?: string | string[]
  const?: unknown
  enum?: unknown[]
  anyOf?: JsonSchema[]
  allOf?: JsonSchema[]
  properties?: Record<string, JsonSchema>
  required?: string[]
  additionalProperties?: boolean | JsonSchema
  items?: JsonSchema | JsonSchema[]
  minItems?: number
  maxItems?: number
  definitions?: Record<string, JsonSchema>
}

/** All that a schema may say; what this does not know would be passed over. */
const KNOWN = new Set([
  ...['$ref', 'type', 'const', 'enum', 'anyOf', 'allOf', 'properties', 'required', 'additionalProperties', 'items'],
  ...['minItems', 'maxItems', 'definitions', 'description', '$schema', '$id', 'title', 'default', 'not'],
])

/** The schema of docs/schema of that name. */
export function schemaOf(name: string): JsonSchema {
  return JSON.parse(readFileSync(`${PROJECT}docs/schema/${name}.1.json`, 'utf8'))
}

/** What the schema that a document names, or that of `name`, says against it: the place and the fault. */
export function faultsOf(document: { schema?: string }, name = document.schema?.split('/')[1] ?? ''): string[] {
  const whole = schemaOf(name)
  return faults(whole, document, '', whole)
}

function faults(schema: JsonSchema, value: unknown, at: string, whole: JsonSchema): string[] {
  const strange = Object.keys(schema).filter((key) => !KNOWN.has(key))
  if (strange.length > 0) return [`${at}: the schema says ${strange.join(', ')}`]
  if (schema.$ref !== undefined) {
    const name = decodeURIComponent(schema.$ref.replace('#/definitions/', ''))
    return faults(whole.definitions?.[name] ?? {}, value, at, whole)
  }
  const found: string[] = []
  if (schema.type !== undefined && ![schema.type].flat().some((type) => isOf(type, value)))
    return [`${at}: is no ${[schema.type].flat().join(' or ')}`]
  if (schema.const !== undefined && value !== schema.const) found.push(`${at}: is not ${schema.const}`)
  if (schema.enum !== undefined && !schema.enum.includes(value)) found.push(`${at}: is none of ${schema.enum}`)
  const either = (schema.anyOf ?? []).map((each) => faults(each, value, at, whole))
  if (either.length > 0 && either.every((each) => each.length > 0)) found.push(...either.flat())
  for (const each of schema.allOf ?? []) found.push(...faults(each, value, at, whole))
  if (Array.isArray(value)) {
    const { items = {}, minItems = 0, maxItems = Number.POSITIVE_INFINITY } = schema
    if (value.length < minItems || value.length > maxItems) found.push(`${at}: has ${value.length} items`)
    value.forEach((one, index) => {
      const own = Array.isArray(items) ? items[index] : items
      if (own !== undefined) found.push(...faults(own, one, `${at}/${index}`, whole))
    })
  } else if (typeof value === 'object' && value !== null) found.push(...memberFaults(schema, value, at, whole))
  return found
}

function memberFaults(schema: JsonSchema, value: object, at: string, whole: JsonSchema): string[] {
  const { properties = {}, required = [], additionalProperties: more = true } = schema
  const found = required.filter((key) => !Object.hasOwn(value, key)).map((key) => `${at}: has no ${key}`)
  for (const [key, one] of Object.entries(value)) {
    const own = Object.hasOwn(properties, key) ? properties[key] : more
    if (own === false) found.push(`${at}: has ${key} besides`)
    else if (typeof own === 'object') found.push(...faults(own, one, `${at}/${key}`, whole))
  }
  return found
}

function isOf(type: string, value: unknown): boolean {
  if (type === 'null') return value === null
  if (type === 'array') return Array.isArray(value)
  if (type === 'integer') return Number.isInteger(value)
  if (type === 'object') return typeof value === 'object' && value !== null && !Array.isArray(value)
  return typeof value === type
}
