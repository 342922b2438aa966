import { isAbsolute, resolve } from 'node:path'
import { UserError } from '../core/error.ts'
import type { Distro } from '../system/system.ts'
import type { Arguments } from '../terminal/options.ts'

/** Returns the path of `--output` below the system's root, or `null`. Throws a UserError with code `usage`. */
export function moduleOutput(given: Arguments, root: string): string | null {
  const file = given.value('output')
  if (file === undefined) return null
  if (root !== '/' && !isAbsolute(file))
    throw new UserError('usage', `--output ${file}: with --root, say where it is below that: /etc/nixos/vfio.nix`)
  return resolve(file)
}

/** Throws a UserError with code `usage` for options of NixOS elsewhere, and where one of them is missing. */
export function expectModuleOutput(
  given: Arguments,
  distro: Distro | undefined,
  apply: boolean,
  usual = distro?.declarative?.binding.path,
): void {
  if (distro?.declarative !== undefined) {
    if (apply && given.value('output') === undefined)
      throw new UserError(
        'usage',
        `on ${distro.name}, --apply needs --output FILE, the file to write (such as ${usual})`,
      )
    return
  }
  for (const name of ['output', 'virtiofsd'])
    if (given.value(name) !== undefined || given.flag(name))
      throw new UserError('usage', `--${name} is for NixOS, and this is ${distro?.name ?? 'none that is known'}`)
}
