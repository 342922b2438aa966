import {
  claimedArguments,
  claimedGenerator,
  claimedRequirements,
  missingInImage,
  requiredFiles,
} from '../bind/claimed-requirements.ts'
import type { Binding } from '../bind/plan-binding.ts'
import type { Claim, JournalRecord } from '../change/journal.ts'
import type { ApplyTarget } from '../change/rollback.ts'
import { runCommand } from '../change/run.ts'
import type { Adapters, Host } from '../system/system.ts'

async function listImage(argv: readonly string[], { root, commandMode }: ApplyTarget): Promise<string | undefined> {
  const { code, stdout } = await runCommand(argv, { root: commandMode === 'chroot' ? root : '/' })
  return code === 0 ? stdout : undefined
}

/** After the commands of a binding: what the present boot entries and images lack. */
export async function verifyBinding(
  host: Host,
  names: JournalRecord['entry']['adapters'],
  adapters: Adapters,
  { tokens, imageRequirements, regenerated }: Binding,
  target: ApplyTarget,
): Promise<string[]> {
  const wrong: string[] = []
  if (regenerated.entries) {
    const seen = adapters.openBootloader(host, names.bootloader)?.observe(tokens, false) ?? []
    wrong.push(...seen.filter(({ ok }) => ok === false).map(({ proof }) => proof))
  }
  const initramfs = adapters.openInitramfs(host, names.initramfs)
  if (imageRequirements === null || !regenerated.images || initramfs === undefined) return wrong
  for (const { release, path } of initramfs.images()) {
    const kernel = host.kernels.find((one) => one.release === release)
    if (kernel?.provides(imageRequirements.module) === 'absent') continue
    const listing = await listImage(initramfs.listCommand(path), target)
    const lost =
      listing === undefined
        ? []
        : missingInImage(
            listing,
            imageRequirements,
            kernel?.provides(imageRequirements.module) === 'builtin',
            initramfs,
          )
    if (lost.length > 0) wrong.push(`${path} lacks ${lost.join(' and ')}`)
    if (listing === undefined)
      target.notify(`${path}: could not be looked into; see that it holds ${imageRequirements.module}`)
  }
  return wrong
}

/** After the commands of an undo: what the present boot entries and images still have. */
export async function verifyUndo(
  host: Host,
  leaving: readonly Claim[],
  adapters: Adapters,
  target: ApplyTarget,
): Promise<string[]> {
  const wrong: string[] = []
  const used = leaving[0]?.entry.entry.adapters
  const generator = claimedGenerator(leaving)
  const tokens = claimedArguments(leaving)
  const loader = adapters.openBootloader(host, used?.bootloader)
  if (loader !== undefined && tokens.length > 0) {
    const seen = loader.observe(tokens, true)
    wrong.push(...seen.filter(({ ok }) => ok === false).map(({ proof }) => proof))
  }
  const requirements = claimedRequirements(leaving)
  const gone = (requirements === null ? [] : requiredFiles(requirements)).filter((path) => !host.files.exists(path))
  const initramfs = adapters.openInitramfs(host, generator)
  if (initramfs === undefined || gone.length === 0) return wrong
  for (const { path } of initramfs.images()) {
    const listing = await listImage(initramfs.listCommand(path), target)
    const still = gone.filter((file) => listing?.includes(file.slice(1)))
    if (still.length > 0) wrong.push(`${path} still holds ${still.join(' and ')}`)
  }
  return wrong
}
