import { argumentsInFile } from '../../lib/edit/command-line.ts'
import { addArgument } from '../../lib/edit/kernel-arguments.ts'
import { parseCommandLine } from '../../lib/host/kernel.ts'
import type { BootloaderAdapter, Host } from '../../lib/system/system.ts'
import { findPath, readOnce } from '../boot/boot-files.ts'
import { BY_HAND } from '../boot/by-hand.ts'
import { ESP_MOUNTS, observeLine } from '../boot/loader-entries.ts'
import { readBootedLine, readLoaderInfo, UNBIND_ARGUMENTS } from '../boot/loader-variables.ts'
import { REFIND_LINES as LINES, readRefindLines, refindEntries } from '../boot/refind-entries.ts'

/** rEFInd, which finds kernels by itself and takes their arguments from a file beside them, or from its own entries. */
export const refind: BootloaderAdapter = {
  name: 'refind',
  documentation: 'https://www.rodsbooks.com/refind/linux.html',
  proven: 'real files: refind_linux.conf and menus of real machines; it writes nothing',

  // rEFInd may not give its name; a line of its file that equals the booted one is evidence, too.
  detect(host) {
    const config = findRefindConfig(host)
    const lines = readRefindLines(host)
    if (config === undefined && lines.length === 0) return undefined
    const loader = readLoaderInfo(host)
    const why = [config, lines.length > 0 ? LINES : undefined].filter(Boolean).join(' and ')
    if (loader !== undefined) return /refind/i.test(loader) ? { kind: 'booted', why: `${loader}, ${why}` } : undefined
    const booted = withoutInitrd(readBootedLine(host) ?? '')
    const same = lines.find(({ options }) => booted !== '' && withoutInitrd(options) === booted)
    if (same !== undefined) return { kind: 'booted', why: `${LINES}:${same.number} is the line that was booted` }
    return { kind: 'configured', why }
  },

  open(host) {
    const lines = readOnce(host, () => readRefindLines(host))
    return {
      ...BY_HAND,

      configured: () =>
        lines()
          .slice(0, 1)
          .flatMap(({ number, options }) =>
            argumentsInFile(LINES, options, 'file').map((one) => ({ ...one, line: number })),
          ),

      observe(tokens, absent) {
        const [first] = lines()
        if (first === undefined) return [{ ok: null, proof: `${LINES} could not be seen` }]
        return [observeLine(`${LINES}:${first.number}`, first.options, tokens, absent)]
      },

      entries: () => refindEntries(host),
      menu: () => `in rEFInd's menu: press F2 twice on the entry, append ${UNBIND_ARGUMENTS}, press Enter`,

      steps(tokens) {
        const [first] = lines()
        const config = findRefindConfig(host)
        const own = `In ${config ?? 'refind.conf'}, if its menu entries start your kernels, add to their options: ${tokens.join(' ')}`
        if (first === undefined) return [own]
        return [
          `Make line ${first.number} of ${LINES} say (and leave the others, for a boot without it):`,
          `    "${first.title}"  "${tokens.reduce(addArgument, first.options)}"`,
          ...(config === undefined ? [] : [own]),
        ]
      },
    }
  },
}

/** Removes the arguments that name an initramfs, which rEFInd may add. */
function withoutInitrd(line: string): string {
  const tokens = parseCommandLine(line).map(({ token }) => token)
  return tokens.filter((token) => !token.startsWith('initrd=')).join(' ')
}

function findRefindConfig({ files }: Host): string | undefined {
  const names = ['EFI/refind/refind.conf', 'EFI/BOOT/refind.conf']
  const paths = ESP_MOUNTS.flatMap((place) => names.map((name) => findPath(files, `${place}/${name}`)))
  return paths.find((path) => path !== undefined)
}
