// Every two values of every two factors together at least once, in few rows: deterministic, and greedy.

export type Row = Record<string, string>

type Factors = Readonly<Record<string, readonly string[]>>

/** `excluded`: does this row hold two values that cannot be together? Such pairs are in no row. */
export function pairwise(factors: Factors, excluded: (row: Row) => boolean = () => false): Row[] {
  const names = Object.keys(factors)
  const left = new Map<string, Row>()
  names.forEach((one, index) => {
    for (const other of names.slice(index + 1))
      for (const value of factors[one] ?? [])
        for (const second of factors[other] ?? []) {
          const pair = { [one]: value, [other]: second }
          if (!excluded(pair)) left.set(key(pair), pair)
        }
  })
  const rows: Row[] = []
  for (let [pair] = left.values(); pair !== undefined; [pair] = left.values()) {
    const row = fill(factors, names, pair, left, excluded)
    for (const one of pairsOf(row)) left.delete(key(one))
    rows.push(row)
  }
  return rows
}

/** A whole row from a pair: of each factor the value that brings most of what is left. */
function fill(
  factors: Factors,
  names: readonly string[],
  pair: Row,
  left: ReadonlyMap<string, Row>,
  excluded: (row: Row) => boolean,
): Row {
  let row = pair
  for (const name of names.filter((each) => !(each in pair))) {
    const gain = (value: string): number =>
      Object.entries(row).filter(([other, second]) => left.has(key({ [name]: value, [other]: second }))).length
    const possible = (factors[name] ?? []).filter((value) => !excluded({ ...row, [name]: value }))
    const [best] = possible.map((value) => ({ value, gain: gain(value) })).sort((one, other) => other.gain - one.gain)
    if (best === undefined) throw new Error(`no value of ${name} goes with ${JSON.stringify(row)}`)
    row = { ...row, [name]: best.value }
  }
  return row
}

/** All pairs that a row holds. */
export function pairsOf(row: Row): Row[] {
  const cells = Object.entries(row).sort()
  return cells.flatMap(([one, value], index) =>
    cells.slice(index + 1).map(([other, second]) => ({ [one]: value, [other]: second })),
  )
}

function key(pair: Row): string {
  return JSON.stringify(Object.entries(pair).sort())
}
