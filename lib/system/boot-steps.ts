import { type Directive, moduleName } from '../edit/modprobe.ts'
import { parseShell } from '../edit/shell.ts'
import { type DropIn, dropInFolders, readDropIns } from '../host/drop-ins.ts'
import type { Reader } from '../host/reader.ts'
import type { BootStep, Cause, LoadStep } from './boot.ts'
import { BOOT_SCRIPT } from './boot-script.ts'

// What the files of an image, or of a root file system, do to drivers at boot. Texts are one character a byte.

/** The line of a script by which udev is told of all devices. */
export const COLDPLUG = /^\s*(?!#).*\budevadm trigger\b/

/** Returns the text files at these paths, in their order, without those that are absent or may not be read. */
export function textFiles(files: Reader, paths: readonly string[]): DropIn[] {
  return paths.flatMap((path) => {
    const text = files.optionalBytes(path)?.toString('latin1')
    return text === undefined ? [] : [{ path, text }]
  })
}

/** Returns a cause: the path, the number of the line, and its text on one line. `line` is counted from 1. */
export function causeAt(path: string, line: number, text: string): Cause {
  return `${path}:${line}: ${text.trim().replace(/\s+/g, ' ')}`
}

/** Returns the first line that the pattern matches, as a cause; of a text without one, the path alone. */
export function causeWhere({ path, text }: DropIn, pattern: RegExp): Cause {
  const lines = text.split('\n')
  const index = lines.findIndex((line) => pattern.test(line))
  return index < 0 ? path : causeAt(path, index + 1, lines[index] ?? '')
}

/** Returns the load of a module that is written as `NAME OPTION…`; none of an empty text. */
export function loadStep(words: string, obeysBlacklist: boolean, cause: Cause): LoadStep[] {
  const [name = '', ...options] = words.trim().split(/\s+/)
  if (name === '') return []
  return [{ kind: 'load', module: moduleName(name), options: options.join(' '), obeysBlacklist, cause }]
}

/** Returns the loads of a list with one module on each line, and its options behind it. `#` and `;` start comments. */
export function listedLoads({ path, text }: DropIn, obeysBlacklist: boolean): LoadStep[] {
  return text.split('\n').flatMap((line, index) => {
    if (/^\s*([#;]|$)/.test(line)) return []
    return loadStep(line, obeysBlacklist, causeAt(path, index + 1, line))
  })
}

/**
 * Returns the modules that systemd-modules-load loads; it takes a line as one name, so one with options names nothing.
 * Source: modules-load.d(5); apply_file() in systemd's src/modules-load/modules-load.c.
 */
export function modulesLoad(files: Reader, folders: readonly string[] = dropInFolders('modules-load.d')): LoadStep[] {
  return readDropIns(files, folders).flatMap((file) => listedLoads(file, true).filter(({ options }) => options === ''))
}

/** Returns the step of the boot script at its path; none where it is not there. `cause` is what runs it. */
export function bootScriptStep(files: Reader, cause: Cause): BootStep[] {
  const [script] = textFiles(files, [BOOT_SCRIPT])
  if (script === undefined) return []
  const functions = [...script.text.matchAll(/^#= (.*)$/gm)].map(([, row = '']) => row)
  return [{ kind: 'boot-script', functions, cause }]
}

/** What hands PCI devices to drivers. Source: Documentation/ABI/testing/sysfs-bus-pci. */
const HANDS_OVER =
  /driver_override|\/(?:new_id|remove_id|bind|unbind|drivers_probe)\b|\bdriverctl\b.*\bset-override\b|\bdevbind\b|\bnodedev-detach\b/
/** The same files of consoles and of other buses. */
const ELSEWHERE = /vtcon|\/bus\/(?!pci\b)\w|\/(?:platform|usb|hid|i2c|serio)\/drivers\//

/** Returns the line of a text, from 1, that hands devices to drivers; `undefined`: there is none. */
function handingLine(text: string): number | undefined {
  const index = text
    .split('\n')
    .findIndex((line) => !/^\s*#/.test(line) && HANDS_OVER.test(line) && !ELSEWHERE.test(line))
  return index < 0 ? undefined : index + 1
}

/** Returns the PCI addresses in a text, each once, with their domain. A comment's do not count. */
export function addressesIn(text: string): string[] {
  const code = text.replace(/^\s*#.*$/gm, '').replaceAll('\\', '')
  const found = code.matchAll(/(?<![\da-f:.])(?:([\da-f]{4,8}):)?([\da-f]{2}:[01][\da-f]\.[0-7])(?![\da-f:])/gi)
  return [...new Set([...found].map(([, domain = '0000', rest = '']) => `${domain}:${rest}`.toLowerCase()))]
}

/** Returns the step of a program that is not known here; none where its text hands no device to a driver. */
export function unknownScript({ path, text }: DropIn): BootStep[] {
  const line = handingLine(text)
  if (line === undefined) return []
  const cause = causeAt(path, line, text.split('\n')[line - 1] ?? '')
  return [{ kind: 'unknown-script', addresses: addressesIn(text), cause }]
}

/**
 * Returns what a shell script does to drivers: the boot script that it runs, modules that it loads whatever happens, and
 * whether it hands over devices in a way of its own. `obeysBlacklist`: has its modprobe `-b` from the environment?
 */
export function scriptSteps(files: Reader, script: DropIn, obeysBlacklist: boolean): BootStep[] {
  const runs = new RegExp(`^(?!\\s*#).*${BOOT_SCRIPT}(?![\\w/-])`)
  if (script.text.split('\n').some((line) => runs.test(line))) return bootScriptStep(files, causeWhere(script, runs))
  const loads = (script.text.includes('modprobe') ? parseShell(script.text).steps : []).flatMap((step) => {
    if (step.kind !== 'code') return []
    const [, rest] =
      /^\s*(?:\/usr)?(?:\/s?bin\/)?modprobe\s+([^;&|<>]*?)\s*(?:\d?[<>].*|[;&|].*)?$/s.exec(step.text) ?? []
    return rest === undefined ? [] : modprobeLoads(rest, obeysBlacklist, causeAt(script.path, step.line, step.text))
  })
  return [...loads, ...unknownScript(script)]
}

/** Returns the loads of a command `modprobe` with these arguments. Source: modprobe(8). */
function modprobeLoads(text: string, obeysBlacklist: boolean, cause: Cause): LoadStep[] {
  const words = text.trim().split(/\s+/)
  const flags = words.filter((word) => word.startsWith('-'))
  const rest = words.filter((word) => !word.startsWith('-'))
  if (
    /[$`*?]/.test(text) ||
    flags.some((flag) => /^-[a-z]*[rnDRcCdSV]|^--(remove|dry|show|resolve|dirname)/.test(flag))
  )
    return []
  const obeys = obeysBlacklist || flags.some((flag) => /^-[a-zA-Z]*b|^--use-blacklist/.test(flag))
  const all = flags.some((flag) => /^-[a-zA-Z]*a|^--all/.test(flag))
  return all ? rest.flatMap((word) => loadStep(word, obeys, cause)) : loadStep(rest.join(' '), obeys, cause)
}

/** Returns the scripts whose paths stand in a command line; a script is short. */
export function namedScripts(files: Reader, command: string): DropIn[] {
  const paths = command.match(/\/[\w./@-]+/g)?.filter((path) => !/^\/(dev|sys|proc)\//.test(path)) ?? []
  return paths.flatMap((path) => {
    const text = files.size(path) === undefined ? '' : (files.optionalBytes(path, 1 << 16)?.toString('latin1') ?? '')
    return text.startsWith('#!') ? [{ path, text }] : []
  })
}

/**
 * Returns the steps with those of programs that `install` lines of modprobe.d run, each before its module is first
 * loaded; where no step loads it, before the coldplug, which may. Source: modprobe.d(5), install.
 */
export function withInstalls(files: Reader, modprobe: readonly Directive[], steps: readonly BootStep[]): BootStep[] {
  const all = [...steps]
  for (const { command, module, rest, file, line } of modprobe) {
    if (command !== 'install') continue
    const texts = [rest, ...namedScripts(files, rest).map(({ text }) => text)]
    if (!texts.some((text) => handingLine(text) !== undefined)) continue
    const at = all.findIndex((step) => (step.kind === 'load' && step.module === module) || step.kind === 'coldplug')
    const cause = causeAt(file, line, `install ${module} ${rest}`)
    all.splice(at < 0 ? all.length : at, 0, {
      kind: 'unknown-script',
      addresses: [...new Set(texts.flatMap(addressesIn))],
      cause,
    })
  }
  return all
}

/** Is modprobe busybox's here? Where there is none at all, busybox's own is the only one. */
export function hasBusyboxModprobe(files: Reader): boolean {
  const found = ['/sbin', '/usr/sbin', '/bin', '/usr/bin'].flatMap(
    (folder) => files.resolve(`${folder}/modprobe`) ?? [],
  )
  const [first] = found
  const busybox = ['/bin/busybox', '/usr/bin/busybox'].some((path) => files.exists(path))
  return first === undefined ? busybox : /\/busybox[^/]*$/.test(first)
}

/** Returns the names, with `_`, of all modules below a folder. */
export function modulesBelow(files: Reader, folder: string): Set<string> {
  const names = new Set<string>()
  const visit = (path: string): void => {
    for (const name of files.list(path) ?? []) {
      const [, module] = /^(.+)\.ko(?:\.\w+)?$/.exec(name) ?? []
      if (module !== undefined) names.add(moduleName(module))
      else if (!/^(modules\..*|build|source)$/.test(name)) visit(`${path}/${name}`)
    }
  }
  visit(folder)
  return names
}
