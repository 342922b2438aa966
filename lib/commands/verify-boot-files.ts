import { missingInImage, requiredFiles } from '../bind/claimed-requirements.ts'
import type { ApplyTarget } from '../change/rollback.ts'
import { runCommand } from '../change/run.ts'
import { isDamaged } from '../host/boot-image.ts'
import type { Adapters, Host, InitramfsRequirements } from '../system/system.ts'
import { lookIntoImage } from './look-into-image.ts'

/** The contents that boot entries and images must have after a plan's commands or, with `gone`, must no longer have. */
export interface BootFileRequirements {
  gone?: boolean
  adapters: Adapters
  /** The name of the boot loader whose entries carry the kernel arguments `tokens`; `null`: no entry was made again. */
  bootloader: string | null
  tokens: readonly string[]
  /** The name of the initramfs generator; `null`: no image was made again. */
  initramfs?: string | null
  requirements?: InitramfsRequirements | null
}

/** Checks the boot entries and images of the system as it is now; returns a line for each that is wrong. */
export async function verifyBootFiles(
  host: Host,
  required: BootFileRequirements,
  target: ApplyTarget,
): Promise<string[]> {
  const { adapters, tokens, requirements = null, gone = false } = required
  const seen = adapters.openBootloader(host, required.bootloader)?.observe(tokens, gone) ?? []
  const wrong = seen.filter(({ ok }) => ok === false).map(({ proof }) => proof)
  const initramfs = adapters.openInitramfs(host, required.initramfs)
  if (requirements === null || initramfs === undefined) return wrong
  const { module } = requirements
  const removed = gone ? requiredFiles(requirements).filter((path) => !host.files.exists(path)) : []
  if (gone && removed.length === 0) return wrong
  for (const { release, path } of initramfs.images()) {
    const provided = host.kernels.find((one) => one.release === release)?.provides(module)
    if (provided === 'absent' && !gone) continue
    const image = await lookIntoImage(host.files, initramfs, path, (argv) => listImage(argv, target))
    if (typeof image === 'string') {
      // Nobody else could list it either: a full disk, of which its generator said nothing.
      if (isDamaged(path, image)) wrong.push(image)
      else if (!gone) target.notify(`${image}; see that it holds ${module}`)
      continue
    }
    const names = gone
      ? removed.filter((file) => image.hasFile(file))
      : missingInImage(image, requirements, provided === 'builtin', initramfs)
    if (names.length > 0) wrong.push(`${path} ${gone ? 'still holds' : 'lacks'} ${names.join(' and ')}`)
  }
  return wrong
}

async function listImage(argv: readonly string[], { root, commandMode }: ApplyTarget): Promise<string | undefined> {
  const { code, stdout } = await runCommand(argv, { root: commandMode === 'chroot' ? root : '/' })
  return code === 0 ? stdout : undefined
}
