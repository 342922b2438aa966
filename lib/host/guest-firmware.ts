import type { Reader } from './reader.ts'

/** A UEFI image for x86-64 guests with its template of variables. */
export interface UefiImage {
  code: string
  vars: string
  format: 'raw' | 'qcow2'
  /** Does it hold SMM, which Secure Boot needs? Such an image starts in no machine without SMM. */
  secure: boolean
  /** Are Microsoft's keys enrolled? */
  enrolled: boolean
  /** The boards that it is for. */
  boards: readonly ('q35' | 'i440fx')[]
  /** Does a description name it? libvirt chooses among described images alone. */
  described: boolean
  /** Are its paths in a store whose garbage collection removes them? Nothing may be pinned to such paths. */
  fleeting: boolean
  /** The release of edk2 that it was built from, as 202211; `null` when it is not known. */
  edk2: number | null
}

/**
 * The folders of descriptions; the last one has precedence. NixOS has libvirt look in the first.
 * Source: QEMU, docs/interop/firmware.json.
 */
const FOLDERS = ['/var/lib/qemu/firmware', '/usr/share/qemu/firmware', '/etc/qemu/firmware']

/**
 * The folder of links to this generation's images that outlive it (NixOS, nixos/modules/virtualisation/libvirtd.nix).
 */
const LINKED = '/run/libvirt/nix-ovmf'

type KnownImage = readonly [code: string, vars: string, secure: boolean, enrolled: boolean]

/** The OVMF images of distributions, for systems where nothing describes them. */
const KNOWN_IMAGES: readonly KnownImage[] = [
  ['/usr/share/OVMF/OVMF_CODE_4M.fd', '/usr/share/OVMF/OVMF_VARS_4M.fd', false, false],
  ['/usr/share/OVMF/OVMF_CODE_4M.ms.fd', '/usr/share/OVMF/OVMF_VARS_4M.ms.fd', true, true],
  ['/usr/share/OVMF/OVMF_CODE.fd', '/usr/share/OVMF/OVMF_VARS.fd', false, false],
  ['/usr/share/OVMF/OVMF_CODE.secboot.fd', '/usr/share/OVMF/OVMF_VARS.secboot.fd', true, true],
  ['/usr/share/edk2/x64/OVMF_CODE.4m.fd', '/usr/share/edk2/x64/OVMF_VARS.4m.fd', false, false],
  ['/usr/share/edk2/x64/OVMF_CODE.secboot.4m.fd', '/usr/share/edk2/x64/OVMF_VARS.4m.fd', true, false],
  ['/usr/share/edk2-ovmf/x64/OVMF_CODE.fd', '/usr/share/edk2-ovmf/x64/OVMF_VARS.fd', false, false],
  ['/usr/share/edk2-ovmf/OVMF_CODE.fd', '/usr/share/edk2-ovmf/OVMF_VARS.fd', false, false],
  ['/usr/share/qemu/ovmf-x86_64-code.bin', '/usr/share/qemu/ovmf-x86_64-vars.bin', false, false],
  [`${LINKED}/OVMF_CODE.ms.fd`, `${LINKED}/OVMF_VARS.ms.fd`, true, true],
  [`${LINKED}/OVMF_CODE.fd`, `${LINKED}/OVMF_VARS.fd`, false, false],
  [`${LINKED}/edk2-x86_64-secure-code.fd`, `${LINKED}/edk2-i386-vars.fd`, true, false],
  [`${LINKED}/edk2-x86_64-code.fd`, `${LINKED}/edk2-i386-vars.fd`, false, false],
]

/**
 * Returns the UEFI images of a system, those with a description first, in the order in which libvirt looks at them;
 * `null` when the system's files are not at hand, as with a captured machine. `qemu` is QEMU's version: QEMU brings
 * some of them.
 */
export function readUefiImages(files: Reader, qemu: string | null = null): UefiImage[] | null {
  const names = new Set(FOLDERS.flatMap((folder) => files.list(folder) ?? []))
  const edk2 = readEdk2(files)
  const described = [...names].sort().flatMap((name) => {
    const texts = FOLDERS.map((folder) => files.optionalText(`${folder}/${name}`))
    const found = parseDescription(texts.reverse().find((text) => text !== undefined) ?? '')
    if (found === undefined) return []
    const [code, vars] = [lastingPath(files, found.code), lastingPath(files, found.vars)]
    const fleeting = [code, vars].some((path) => path.startsWith('/nix/store/'))
    return files.exists(code) && files.exists(vars) ? [{ ...found, code, vars, described: true, fleeting }] : []
  })
  const known = KNOWN_IMAGES.filter(
    ([code, vars]) => files.exists(code) && files.exists(vars) && !described.some((each) => each.code === code),
  ).map(([code, vars, secure, enrolled]) => ({
    code,
    vars,
    format: 'raw' as const,
    // NixOS links the image with Secure Boot by both names.
    secure: secure || (code === `${LINKED}/OVMF_CODE.fd` && files.exists(`${LINKED}/OVMF_CODE.ms.fd`)),
    enrolled,
    boards: secure ? (['q35'] as const) : (['q35', 'i440fx'] as const),
    described: false,
    fleeting: false,
  }))
  // A capture that was not asked for images has none, and lacks the file that every system has.
  if (described.length + known.length === 0 && !files.exists('/usr/bin/env')) return null
  return [...described, ...known].map((each) => ({ ...each, edk2: edk2Of(files, each.code, edk2, qemu) }))
}

function lastingPath(files: Reader, path: string): string {
  const linked = `${LINKED}/${path.slice(path.lastIndexOf('/') + 1)}`
  return path.startsWith('/nix/store/') && files.exists(linked) ? linked : path
}

interface ImageDescription {
  mapping?: {
    executable?: { filename?: string; format?: string }
    'nvram-template'?: { filename?: string; format?: string }
  }
  targets?: { architecture?: string; machines?: string[] }[]
  features?: string[]
}

function parseDescription(text: string): Omit<UefiImage, 'described' | 'fleeting' | 'edk2'> | undefined {
  let description: ImageDescription
  try {
    description = JSON.parse(text) as ImageDescription
  } catch {
    return undefined
  }
  const { mapping, features = [], targets = [] } = description
  const { filename: code, format = 'raw' } = mapping?.executable ?? {}
  const { filename: vars, format: varsFormat = format } = mapping?.['nvram-template'] ?? {}
  if (code === undefined || vars === undefined || format !== varsFormat) return undefined
  if (format !== 'raw' && format !== 'qcow2') return undefined
  const own = targets.filter(({ architecture }) => architecture === 'x86_64')
  if (own.length === 0) return undefined
  const machines = own.flatMap((target) => target.machines ?? [])
  const boards = (['q35', 'i440fx'] as const).filter((board) => machines.some((name) => name.includes(board)))
  const [secure, enrolled] = [features.includes('requires-smm'), features.includes('enrolled-keys')]
  return { code, vars, format, secure, enrolled, boards }
}

/** Returns the release of edk2 in a version (`2022.11-6`, `202411`, `0.0.202308`, `20241117` → 202211 …), or `null`. */
export function parseEdk2(version: string | undefined): number | null {
  const [, year, month] = /(20[12]\d)\.?(0[1-9]|1[0-2])/.exec(version ?? '') ?? []
  return year === undefined || month === undefined ? null : Number(year + month)
}

/** Reads the edk2 release of the installed package, where the package database is text or folders. */
export function readEdk2(files: Reader): number | null {
  const dpkg = files.optionalBytes('/var/lib/dpkg/status')?.toString('utf8') ?? ''
  const apk = files.optionalBytes('/lib/apk/db/installed')?.toString('utf8') ?? ''
  const folders = [...(files.list('/var/lib/pacman/local') ?? []), ...(files.list('/var/db/pkg/sys-firmware') ?? [])]
  return parseEdk2(
    [
      /^Package: (?:ovmf|pve-edk2-firmware-ovmf)\n(?:\S.*\n| .*\n)*?Version: (\S+)/m.exec(dpkg)?.[1],
      /^P:ovmf\nV:(\S+)/m.exec(apk)?.[1],
      ...folders.map((name) => /^edk2-(?:ovmf-|bin-)?(\d\S*)/.exec(name)?.[1]),
    ].find((version) => version !== undefined),
  )
}

/**
 * Returns the edk2 release of an image. QEMU 8.2.2 brings edk2-stable202402; older ones bring what their packager
 * chose.
 */
function edk2Of(files: Reader, code: string, packaged: number | null, qemu: string | null): number | null {
  const stored = /\/nix\/store\/[^/]*-(?:OVMF-(\d+)|qemu-[a-z-]*([\d.]+))/.exec(files.resolve(code) ?? '')
  if (stored?.[1] !== undefined) return parseEdk2(stored[1])
  if (!/\/edk2-x86_64-[\w-]*code\.fd$/.test(code)) return packaged
  const [major = 0, minor = 0, patch = 0] = (stored?.[2] ?? qemu ?? '0').split('.').map(Number)
  return major * 10_000 + minor * 100 + patch >= 80_202 ? 202402 : null
}
