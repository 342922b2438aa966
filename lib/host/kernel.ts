import coerce from 'semver/functions/coerce.js'
import { gunzip } from './gzip.ts'
import type { Reader } from './reader.ts'

/** The running kernel's release (`uname -r`), as the tree has it. */
export function kernelRelease(reader: Reader): string | undefined {
  return reader.optionalText('/proc/sys/kernel/osrelease')?.trim() || undefined
}

export interface KernelArgument {
  /** As it stands: `vfio-pci.ids=10de:1cb6`. */
  token: string
  /** With `-` as `_`, which the kernel takes as the same. */
  name: string
  value: string | undefined
}

/**
 * Cuts a kernel command line into arguments, in order; double quotes keep spaces together.
 * Source: next_arg() in the kernel's lib/cmdline.c.
 */
export function parseCommandLine(line: string): KernelArgument[] {
  const tokens = line.match(/(?:[^\s"]|"[^"]*"?)+/g) ?? []
  return tokens.map((token) => {
    const equals = token.indexOf('=')
    const name = (equals < 0 ? token : token.slice(0, equals)).replaceAll('"', '').replaceAll('-', '_')
    return { token, name, value: equals < 0 ? undefined : token.slice(equals + 1).replaceAll('"', '') }
  })
}

/** The symbols that the kernel's configuration sets (`y`, `m`, or a value); `undefined` when it is not readable. */
export function readKernelConfig(reader: Reader): Map<string, string> | undefined {
  const release = kernelRelease(reader)
  let text = release === undefined ? undefined : kernelConfigText(reader, release)
  if (text === undefined) {
    const packed = reader.optionalBytes('/proc/config.gz')
    text = packed && gunzip(packed)?.toString('latin1')
  }
  if (text === undefined) return undefined
  const symbols = new Map<string, string>()
  for (const [, symbol = '', value = ''] of text.matchAll(/^(CONFIG_\w+)=(.*)$/gm)) symbols.set(symbol, value)
  return symbols
}

/** An installed kernel: one folder of /lib/modules with modules or built-in drivers in it. */
export interface Kernel {
  /** `6.1.0-37-amd64`. */
  release: string
  /** `6.1.0`: what can be compared, whatever a distro appends; `null` when there is no number in it. */
  version: string | null
  /** How it has a module (`vfio-pci` or `vfio_pci`): `null` when its tables are not readable. */
  provides(module: string): 'builtin' | 'module' | 'absent' | null
  /** A symbol of its configuration (`CONFIG_VFIO_PCI`); `null` when that is not readable, `n` when it is not set. */
  config(symbol: string): string | null
}

/**
 * Every kernel under /lib/modules, oldest name first. Folders that a removed kernel left behind (no modules.dep, no
 * modules.builtin) do not count.
 * Source: depmod(8), modules.dep(5), Documentation/kbuild/kbuild.rst (modules.builtin).
 */
export function readKernels(files: Reader): Kernel[] {
  const kernels: Kernel[] = []
  for (const release of files.list('/lib/modules') ?? []) {
    const folder = `/lib/modules/${release}`
    const names = files.list(folder) ?? []
    if (!names.includes('modules.dep') && !names.includes('modules.builtin')) continue
    const table = lazily((name: string) => files.optionalBytes(`${folder}/${name}`)?.toString('latin1'))
    const config = lazily(() => kernelConfigText(files, release))
    kernels.push({
      release,
      version: coerce(release)?.version ?? null,
      provides(module) {
        const pattern = new RegExp(`(?:^|/)${module.replace(/[-_]/g, '[-_]')}\\.ko(?:\\.\\w+)?(?::|$)`, 'm')
        const [builtin, modules] = [table('modules.builtin'), table('modules.dep')]
        if (builtin !== undefined && pattern.test(builtin)) return 'builtin'
        if (modules !== undefined && pattern.test(modules)) return 'module'
        return builtin === undefined || modules === undefined ? null : 'absent'
      },
      config(symbol) {
        const text = config('')
        if (text === undefined) return null
        return new RegExp(`^${symbol}=(.*)$`, 'm').exec(text)?.[1] ?? 'n'
      },
    })
  }
  return kernels
}

function lazily<T>(read: (name: string) => T): (name: string) => T {
  const known = new Map<string, T>()
  return (name) => {
    if (!known.has(name)) known.set(name, read(name))
    return known.get(name) as T
  }
}

function kernelConfigText(files: Reader, release: string): string | undefined {
  const paths = [`/boot/config-${release}`, `/lib/modules/${release}/config`]
  return paths.map((path) => files.optionalBytes(path)?.toString('latin1')).find((found) => found !== undefined)
}
