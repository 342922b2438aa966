const LATER = Symbol('later')
const getters = new Map<string, PropertyDescriptor>()

/** Returns a getter of that name: the same function for all objects, so that thousands of them have one shape to V8. */
function getterOf(name: string): PropertyDescriptor {
  let found = getters.get(name)
  if (found === undefined) {
    function get(this: { [LATER]: Readonly<Record<string, () => unknown>> }): unknown {
      return this[LATER][name]?.()
    }
    found = { get, enumerable: true, configurable: true }
    getters.set(name, found)
  }
  return found
}

/** Adds members to an object, in place, that are found out when somebody asks for them. */
export function withLater<T extends object, L extends object>(known: T, later: { [K in keyof L]: () => L[K] }): T & L {
  Object.defineProperty(known, LATER, { value: later })
  for (const name in later) Object.defineProperty(known, name, getterOf(name))
  return known as T & L
}

/** Returns a copy with more members. What is found out only when somebody asks stays unasked. */
export function withMore<T extends object, M extends object>(known: T, more: M): T & M {
  const parts = { ...Object.getOwnPropertyDescriptors(known), ...Object.getOwnPropertyDescriptors(more) }
  return Object.defineProperties({}, parts) as T & M
}
