import coerce from 'semver/functions/coerce.js'
import { gunzip } from './gzip.ts'
import { kernelRelease } from './kernel.ts'
import type { Reader } from './reader.ts'

/** The configuration of a kernel, or that of a source tree for the next one. */
export interface KernelConfig {
  /** The path of the configuration: `/boot/config-6.1.0-37-amd64`, `/proc/config.gz`, `/usr/src/linux/.config`. */
  path: string
  /** The installed kernel that it is of; `null` for that of a source tree, which is for the next kernel. */
  release: string | null
  /** The version: `6.1.0`; `null` when nothing says it. */
  version: string | null
  /** Returns the value of a symbol: `VFIO_PCI` → `y`, `m`, a number or text; `n` when it is not set. */
  value(symbol: string): string
}

const TREE = '/usr/src/linux/.config'

/**
 * Reads the configuration of each installed kernel (and of the one that runs, in `machine`), where one is found, and
 * that of the source tree. `unknown` are installed kernels without one.
 */
export function readKernelConfigs(
  files: Reader,
  machine: Reader | undefined,
  releases: readonly string[],
): { known: KernelConfig[]; unknown: string[] } {
  const running = machine && kernelRelease(machine)
  const known: KernelConfig[] = []
  const unknown: string[] = []
  const text = (path: string): string | undefined => files.optionalBytes(path)?.toString('latin1')
  for (const release of new Set([...releases, ...(running === undefined ? [] : [running])])) {
    const packed = release === running ? machine?.optionalBytes('/proc/config.gz') : undefined
    const found = [
      ['/proc/config.gz', packed && gunzip(packed)?.toString('latin1')] as const,
      ...[`/boot/config-${release}`, `/lib/modules/${release}/config`].map((path) => [path, text(path)] as const),
      builtFrom(`/lib/modules/${release}/build/.config`, release, text),
    ].find(([, one]) => one !== undefined)
    if (found?.[1] !== undefined) known.push(parseKernelConfig(found[0], found[1], release, release))
    else if (releases.includes(release)) unknown.push(release)
  }
  const tree = text(TREE)
  if (tree !== undefined) known.push(parseKernelConfig(TREE, tree, null, versionIn(tree)))
  return { known, unknown }
}

/** Reads the configuration of the tree that a kernel was built in, unless the tree has another version by now. */
function builtFrom(
  path: string,
  release: string,
  text: (path: string) => string | undefined,
): readonly [string, string | undefined] {
  const found = text(path)
  return [path, found !== undefined && release.startsWith(versionIn(found) ?? ' ') ? found : undefined]
}

/** Returns the version in Kconfig's first lines: `# Linux/x86 6.6.30-gentoo Kernel Configuration`. */
function versionIn(text: string): string | undefined {
  return /^# Linux\/\S+ (\d\S*) Kernel Configuration$/m.exec(text)?.[1]
}

function parseKernelConfig(
  path: string,
  text: string,
  release: string | null,
  named: string | undefined,
): KernelConfig {
  const values = new Map<string, string>()
  for (const [, symbol = '', value = ''] of text.matchAll(/^CONFIG_(\w+)=(.*?)\r?$/gm)) values.set(symbol, value)
  const version = coerce(named)?.version ?? null
  return { path, release, version, value: (symbol) => values.get(symbol) ?? 'n' }
}
