// What hosts are set up with, and what becomes of it with `--bridge br0 --port enp5s0`: docs/networks.md is these lists.

export interface NetworkCase {
  tool: 'ifupdown' | 'systemd-networkd' | 'netplan' | 'NetworkManager' | 'netifrc' | 'any'
  /** The configuration, as the table has it. */
  what: string
  files: Record<string, string>
  /** As the table has it: `moved`, or `refused`. */
  outcome: 'moved' | 'refused'
  /** What the table says of it: of a refusal, in the words of the error; of a note, in the plan's. */
  says?: string
  /** What is written where: parts of files, and with `!` in front what they must not say. */
  wrote?: readonly [path: string, ...parts: string[]][]
}

export type Row = [what: string, text: string, outcome: string, wrote?: readonly string[]]

/** A row a file at `path`; `wrote` is of that file, or with `place` names the file first. */
export function casesOf(
  tool: NetworkCase['tool'],
  base: Record<string, string>,
  path: string,
  rows: readonly Row[],
  place?: (name: string) => string,
): NetworkCase[] {
  return rows.map(([what, text, result, wrote]) => {
    const [outcome = '', ...words] = result.split(': ')
    const [name = '', ...parts] = wrote ?? []
    const where = place === undefined ? [path, ...(wrote ?? [])] : [place(name), ...parts]
    return {
      tool,
      what,
      files: { ...base, [path]: text },
      outcome: outcome as 'moved' | 'refused',
      ...(words.length > 0 ? { says: words.join(': ') } : {}),
      ...(wrote === undefined ? {} : { wrote: [where as [string, ...string[]]] }),
    }
  })
}

/** A host with cloud-init on it. */
export const cloud = { 'etc/cloud/cloud.cfg': 'users:\n  - default\n' }
