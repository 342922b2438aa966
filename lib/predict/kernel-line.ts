import { type KernelArgument, parseCommandLine } from '../host/kernel.ts'

/** The command line of a boot, with where it stands. */
export interface KernelLine {
  text: string
  /** The file that has it. */
  file: string
}

/** Returns the arguments of a line that the kernel and modprobe read: not those behind `--`. */
export function kernelArgumentsOf({ text }: KernelLine): KernelArgument[] {
  const all = parseCommandLine(text)
  const end = all.findIndex(({ token }) => token === '--')
  return end < 0 ? all : all.slice(0, end)
}

/** Returns the members, with `_`, of every such argument: `modprobe.blacklist=a,b`. Programs add them up. */
export function listedOnLine(line: KernelLine, name: string): { member: string; cause: string }[] {
  return kernelArgumentsOf(line)
    .filter((one) => one.name === name)
    .flatMap(({ token, value = '' }) =>
      value
        .split(',')
        .filter(Boolean)
        .map((member) => ({ member: member.replaceAll('-', '_'), cause: `${line.file}: ${token}` })),
    )
}

/**
 * Returns the modules that the kernel itself refuses to load: the last list counts, and only names as the kernel has
 * them, with `_`. Source: blacklisted() in the kernel's kernel/module/main.c.
 */
export function refusedOnLine(line: KernelLine): { member: string; cause: string }[] {
  const last = kernelArgumentsOf(line)
    .filter(({ name }) => name === 'module_blacklist')
    .at(-1)
  return (last?.value ?? '').split(',').map((member) => ({ member, cause: `${line.file}: ${last?.token}` }))
}

/** Is the IOMMU switched on or off by the line? `null`: the line says nothing. Source: kernel-parameters.txt. */
export function iommuOnLine(line: KernelLine, kind: 'intel' | 'amd' | null): boolean | null {
  const own = kind === null ? ['intel_iommu', 'amd_iommu'] : [`${kind}_iommu`]
  let state: boolean | null = null
  for (const { name, value = '' } of kernelArgumentsOf(line)) {
    const words = value.split(',')
    if (name === 'iommu' && words.includes('off')) return false
    if (!own.includes(name)) continue
    if (words.includes('off')) state = false
    if (words.includes('on')) state = true
  }
  return state
}
