import { missingInImage, requiredFiles } from '../bind/claimed-requirements.ts'
import type { ApplyTarget } from '../change/rollback.ts'
import { runCommand } from '../change/run.ts'
import type { Bootloader, Host, Initramfs, InitramfsRequirements } from '../system/system.ts'

/** What boot entries and images must hold after the commands of a plan; or, once it is taken back, must not. */
export interface BootFileRequirements {
  gone?: boolean
  /** Kernel arguments, and the loader whose entries carry them; `undefined`: none was made again. */
  bootloader: Bootloader | undefined
  tokens: readonly string[]
  /** The generator of the images; `undefined`: none was made again. */
  initramfs?: Initramfs | undefined
  requirements?: InitramfsRequirements | null
}

/** Looks at the boot entries and images of the system as it is now; each line says what is not so. */
export async function verifyBootFiles(
  host: Host,
  required: BootFileRequirements,
  target: ApplyTarget,
): Promise<string[]> {
  const { bootloader, tokens, initramfs, requirements = null, gone = false } = required
  const seen = bootloader?.observe(host, [...tokens], gone) ?? []
  const wrong = seen.filter(({ ok }) => ok === false).map(({ proof }) => proof)
  if (requirements === null || initramfs === undefined) return wrong
  const { module } = requirements
  const removed = gone ? requiredFiles(requirements).filter((path) => !host.files.exists(path)) : []
  if (gone && removed.length === 0) return wrong
  for (const { release, path } of initramfs.images(host)) {
    const provided = host.kernels.find((one) => one.release === release)?.provides(module)
    if (provided === 'absent' && !gone) continue
    const listing = await listImage(initramfs.listCommand(path), target)
    if (listing === undefined) {
      if (!gone) target.notify(`${path}: could not be looked into; see that it holds ${module}`)
      continue
    }
    const names = gone
      ? removed.filter((file) => listing.includes(file.slice(1)))
      : missingInImage(listing, requirements, provided === 'builtin', initramfs)
    if (names.length > 0) wrong.push(`${path} ${gone ? 'still holds' : 'lacks'} ${names.join(' and ')}`)
  }
  return wrong
}

async function listImage(argv: readonly string[], { root, commandMode }: ApplyTarget): Promise<string | undefined> {
  const { code, stdout } = await runCommand(argv, { root: commandMode === 'chroot' ? root : '/' })
  return code === 0 ? stdout : undefined
}
