/** The settings of a VM, by name: `hostpci0` → `0000:01:00,pcie=1`. */
export type VmSettings = ReadonlyMap<string, string>

/** The parts of a value such as `host,hidden=1`; the one without a name stands under ''. */
export type Properties = Record<string, string>

/**
 * Reads the present settings of a VM, with those that wait for its next start ([PENDING]); sections of snapshots and
 * others are not of the present. Source: parse_vm_config in PVE::QemuServer (qemu-server).
 */
export function parseVmConfig(text: string): VmSettings {
  const settings = new Map<string, string>()
  let section = ''
  for (const line of text.split('\n')) {
    section = /^\[([^\]]*)\]\s*$/.exec(line)?.[1] ?? section
    const [, name = '', value = ''] = /^([a-z][a-z_-]*\d*):\s*(.+?)\s*$/.exec(line) ?? []
    if (name === '' || (section !== '' && section.toLowerCase() !== 'pending')) continue
    if (section !== '' && name === 'delete')
      for (const gone of value.split(/[\s,;]+/)) settings.delete(gone.replace(/^!/, ''))
    else settings.set(name === 'cdrom' ? 'ide2' : name, value)
  }
  return settings
}

/** Splits a value into its parts; `first` are the names under which the one without a name may stand, too. */
export function splitProperties(value: string, ...first: readonly string[]): Properties {
  return Object.fromEntries(
    value.split(',').map((word) => {
      const [, name = '', rest = word] = /^([a-z][a-z0-9_-]*)=(.*)$/i.exec(word.trim()) ?? []
      return [first.includes(name) ? '' : name, rest]
    }),
  )
}

/** Writes the parts of a value; the one without a name comes first. */
export function joinProperties(properties: Properties): string {
  const { '': first, ...named } = properties
  const words = Object.entries(named).map(([name, value]) => `${name}=${value}`)
  return [...(first === undefined ? [] : [first]), ...words].join(',')
}

/** Returns the settings of one list: number and value of `hostpci0`, `hostpci1` …, in their order. */
export function listSettings(settings: VmSettings, list: string): { name: string; number: number; value: string }[] {
  return [...settings]
    .flatMap(([name, value]) => {
      const number = name.startsWith(list) ? name.slice(list.length) : ''
      return /^\d+$/.test(number) ? [{ name, number: Number(number), value }] : []
    })
    .sort((one, other) => one.number - other.number)
}
