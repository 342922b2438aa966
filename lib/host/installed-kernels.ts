import coerce from 'semver/functions/coerce.js'
import { kernelConfigText, MODULE_FOLDERS } from './kernel.ts'
import type { Reader } from './reader.ts'

/** An installed kernel: one folder of /lib/modules with modules or built-in drivers in it. */
export interface Kernel {
  /** The release: `6.1.0-37-amd64`. */
  release: string
  /** The version that can be compared, whatever a distro appends: `6.1.0`; `null` when the release has no number. */
  version: string | null
  /** Returns how the kernel has a module (`vfio-pci` or `vfio_pci`); `null` when its tables are not readable. */
  provides(module: string): 'builtin' | 'module' | 'absent' | null
  /** Returns the place of a built-in driver in the order in which they start; -1 where its table does not name it. */
  builtinOrder(module: string): number
  /** Returns all modules that a module depends on, by their file names; none where its table does not say. */
  dependencies(module: string): string[]
  /**
   * Returns a symbol of its configuration (`CONFIG_VFIO_PCI`): `n` when it is not set, `null` when that is not
   * readable.
   */
  config(symbol: string): string | null
}

/**
 * Returns every kernel under /lib/modules (on NixOS: of the system that runs, and of the one that boots next), sorted
 * by name. Folders that a removed kernel left behind (no modules.dep, no modules.builtin) do not count.
 * Source: depmod(8), modules.dep(5), Documentation/kbuild/kbuild.rst (modules.builtin).
 */
export function readKernels(files: Reader): Kernel[] {
  const kernels: Kernel[] = []
  const found = MODULE_FOLDERS.flatMap((folder) =>
    (files.list(folder) ?? []).map((release) => [release, folder] as const),
  )
  // A release in two folders counts as of the first.
  for (const [release, parent] of new Map([...found].reverse())) {
    const folder = `${parent}/${release}`
    const names = files.list(folder) ?? []
    if (!names.includes('modules.dep') && !names.includes('modules.builtin')) continue
    const table = lazily((name: string) => files.optionalBytes(`${folder}/${name}`)?.toString('latin1'))
    const config = lazily(() => kernelConfigText(files, release))
    const rows = lazily((name: string) => moduleRows(table(name) ?? ''))
    const find = (name: string, module: string) => rows(name).get(module.replaceAll('-', '_'))
    kernels.push({
      release,
      version: coerce(release)?.version ?? null,
      provides(module) {
        if (find('modules.builtin', module) !== undefined) return 'builtin'
        if (find('modules.dep', module) !== undefined) return 'module'
        return table('modules.builtin') === undefined || table('modules.dep') === undefined ? null : 'absent'
      },
      builtinOrder: (module) => find('modules.builtin', module)?.place ?? -1,
      dependencies: (module) =>
        (find('modules.dep', module)?.rest ?? '')
          .split(/\s+/)
          .filter(Boolean)
          .map((path) => path.replace(/^.*\//, '').replace(/\.ko.*$/, '')),
      config(symbol) {
        const text = config('')
        if (text === undefined) return null
        return new RegExp(`^${symbol}=(.*)$`, 'm').exec(text)?.[1] ?? 'n'
      },
    })
  }
  return kernels.sort((one, other) => (one.release < other.release ? -1 : 1))
}

/** Returns the lines `PATH/MODULE.ko: REST` of a table by module, with `_`; `place`: the number of the line, from 0. */
function moduleRows(text: string): ReadonlyMap<string, { place: number; rest: string }> {
  const rows = new Map<string, { place: number; rest: string }>()
  for (const [, name = '', rest = ''] of text.matchAll(/^(?:[^:\n]*\/)?([^/:\n]+?)\.ko(?:\.\w+)?(?::(.*))?$/gm))
    rows.set(name.replaceAll('-', '_'), { place: rows.size, rest })
  return rows
}

function lazily<T>(read: (name: string) => T): (name: string) => T {
  const known = new Map<string, T>()
  return (name) => {
    if (!known.has(name)) known.set(name, read(name))
    return known.get(name) as T
  }
}
