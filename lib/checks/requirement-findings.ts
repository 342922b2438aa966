import { CONFIRM } from '../change/confirm.ts'
import type { Claim } from '../change/journal.ts'
import { hasSetting, showSetting } from '../change/settings.ts'
import { contentReader } from '../change/undo.ts'
import type { Finding } from '../core/finding.ts'
import type { Bootloader, Host } from '../system/system.ts'

// Do files and boot entries say what was promised?

/** A finding of `--status`: nothing overrides it. */
export function statusFinding(
  code: string,
  state: Finding['state'],
  summary: string,
  evidence: string[],
  next: string | null,
): Finding {
  return { code, state, summary, evidence, next, forceable: false }
}

/** Is a dead man's switch waiting? */
export function confirmFindings(claims: readonly Claim[]): Finding[] {
  const scripts = claims.filter(({ owner }) => owner === CONFIRM).map(({ entry }) => entry.entry.script)
  return [...new Set(scripts)].map((script) =>
    statusFinding(
      'unconfirmed',
      'unknown',
      'is going to be taken back unless it is confirmed',
      [],
      `${script} --confirm`,
    ),
  )
}

/** Do the files still say what was put there? */
export function settingFindings(host: Host, claims: readonly Claim[]): Finding[] {
  const read = contentReader(host.files)
  const files = claims.filter(({ setting }) => setting.kind !== 'external')
  // A boot entry goes with its kernel.
  const ended = ({ setting }: Claim): boolean =>
    setting.kind === 'command-line' && setting.layout === 'options' && read(setting.path) === null
  const paths = [...new Set(files.filter((one) => !ended(one)).map(({ setting }) => setting.path))]
  return paths.map((path) => {
    const text = read(path)
    const own = claims.filter(({ setting }) => setting.path === path)
    const lost = new Set(
      own.filter(({ setting }) => !hasSetting(text, setting)).map(({ setting }) => showSetting(setting)),
    )
    if (lost.size === 0) return statusFinding('files', 'ok', `${path} says what it should`, [], null)
    return statusFinding(
      'files',
      'problem',
      `${path} ${text === null ? 'is gone' : 'was changed'}`,
      [...lost].map((one) => `not there: ${one}`),
      'bind the devices again, or undo',
    )
  })
}

/** Do the boot entries carry the arguments? */
export function loaderFindings(bootloader: Bootloader | undefined, tokens: string[]): Finding[] {
  if (tokens.length === 0) return []
  if (bootloader === undefined)
    return [statusFinding('boot-entries', 'unknown', 'which boot loader has the arguments is not known', [], null)]
  return bootloader.observe(tokens, false).map(({ ok, proof }) =>
    statusFinding(
      'boot-entries',
      ok === null ? 'unknown' : ok ? 'ok' : 'problem',
      proof,
      [],
      ok === false
        ? bootloader
            .commands()
            .map(({ argv }) => argv.join(' '))
            .join(' && ') || 'bind the devices again, or undo'
        : null,
    ),
  )
}
