import { modprobeFiles, parseModprobe } from '../../lib/edit/modprobe.ts'
import { parseShell } from '../../lib/edit/shell.ts'
import type { DropIn } from '../../lib/host/drop-ins.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { BootStage, BootStep, LoadStep } from '../../lib/system/boot.ts'
import {
  COLDPLUG,
  causeAt,
  causeWhere,
  hasBusyboxModprobe,
  listedLoads,
  loadStep,
  modulesBelow,
  scriptSteps,
  textFiles,
  withInstalls,
} from '../../lib/system/boot-steps.ts'
import { listFolder } from './boot-files.ts'

// What an image of initramfs-tools does with drivers. Its init exports MODPROBE_OPTIONS=-qb, so that each modprobe
// obeys `blacklist`; it runs init-top, loads conf/modules, and runs the other scripts. Source: init, scripts/functions,
// hook-functions and mkinitramfs (the same in 0.142 and 0.148); modprobe(8), ENVIRONMENT.

/** The folders of scripts in the order in which init comes to them; conf/modules is loaded behind the first. */
const FOLDERS = [
  'init-top',
  'init-premount',
  'local-top',
  'local-block',
  'local-premount',
  'local-bottom',
  'init-bottom',
]
const [ETC, USR] = ['/etc/initramfs-tools', '/usr/share/initramfs-tools']
const MODPROBE = ['/etc/modprobe.d', '/lib/modprobe.d']

/** Returns the boot of an image, whose files `image` reads; `undefined`: another generator made it. */
export function initramfsToolsStage(image: Reader, release: string): BootStage | undefined {
  if (!image.exists('/scripts/functions') || !image.exists('/conf/initramfs.conf')) return undefined
  const scripts = (folder: string): DropIn[] => {
    const [order] = textFiles(image, [`/scripts/${folder}/ORDER`])
    const paths = [...(order?.text ?? '').matchAll(/^(\/scripts\/\S+)/gm)].map(([, path = '']) => path)
    return textFiles(image, paths)
  }
  const loads = textFiles(image, ['/conf/modules']).flatMap((file) => listedLoads(file, true))
  return {
    modprobe: parseModprobe(modprobeFiles(image, release)),
    busybox: hasBusyboxModprobe(image),
    modules: modulesBelow(image, `/lib/modules/${release}`),
    blacklistArguments: ['blacklist'],
    ...stepsOf(image, release, scripts, loads),
  }
}

/** Returns the boot of an image that mkinitramfs makes of the present files. */
export function nextInitramfsToolsStage(files: Reader, release: string): BootStage {
  const scripts = (folder: string): DropIn[] => orderedScripts(files, `scripts/${folder}`)
  const lists = [`${ETC}/modules`, ...listFolder(files, `${USR}/modules.d`).map((name) => `${USR}/modules.d/${name}`)]
  const hooks = [USR, ETC].flatMap((folder) => orderedScripts(files, 'hooks', [folder]))
  const loads = [...textFiles(files, lists).flatMap((file) => listedLoads(file, true)), ...hooks.flatMap(forcedLoads)]
  return {
    modprobe: parseModprobe(modprobeFiles(files, release, MODPROBE)),
    busybox: false,
    modules: null,
    blacklistArguments: ['blacklist'],
    ...stepsOf(files, release, scripts, loads, MODPROBE),
  }
}

function stepsOf(
  files: Reader,
  release: string,
  scripts: (folder: string) => DropIn[],
  loads: readonly LoadStep[],
  folders?: readonly string[],
): Pick<BootStage, 'steps'> {
  const run = (script: DropIn): BootStep[] =>
    script.text.split('\n').some((line) => COLDPLUG.test(line))
      ? [{ kind: 'coldplug', beside: [], cause: causeWhere(script, COLDPLUG) }]
      : scriptSteps(files, script, true)
  const [first = [], ...rest] = FOLDERS.map((folder) => scripts(folder).flatMap(run))
  const modprobe = parseModprobe(modprobeFiles(files, release, folders))
  return { steps: withInstalls(files, modprobe, [...first, ...loads, ...rest.flat()]) }
}

/** Returns what a hook has loaded by plain commands `force_load MODULE [OPTION…]`. */
function forcedLoads({ path, text }: DropIn): LoadStep[] {
  if (!text.includes('force_load')) return []
  return parseShell(text).steps.flatMap((step) => {
    const [, words] = (step.kind === 'code' && /^\s*force_load[ \t]+([^;&|<>$`#\n]+)/.exec(step.text)) || []
    return words === undefined || step.kind !== 'code'
      ? []
      : loadStep(words.replace(/["']/g, ''), true, causeAt(path, step.line, step.text))
  })
}

/**
 * Returns the programs of a folder, each after those that it names as its prerequisites, else by name. One in /etc
 * replaces one of the same name.
 */
function orderedScripts(files: Reader, folder: string, places: readonly string[] = [USR, ETC]): DropIn[] {
  const paths = new Map<string, string>()
  for (const place of places)
    for (const name of listFolder(files, `${place}/${folder}`)) {
      const path = `${place}/${folder}/${name}`
      if (/^[\w.-]+$/.test(name) && !name.startsWith('.') && ((files.access(path)?.mode ?? 0) & 0o111) !== 0)
        paths.set(name, path)
    }
  const scripts = new Map(textFiles(files, [...paths.values()]).map((file) => [file.path.replace(/.*\//, ''), file]))
  const needs = new Map(
    [...scripts].map(([name, { text }]) => {
      const [, words = ''] = /^\s*PREREQS?=["']?([^"'\n]*)/m.exec(text) ?? []
      return [name, new Set(words.split(/\s+/).filter((word) => word !== name && scripts.has(word)))]
    }),
  )
  const queue = [...scripts.keys()].sort().filter((name) => needs.get(name)?.size === 0)
  const done: string[] = []
  for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
    done.push(name)
    for (const other of [...scripts.keys()].sort())
      if (needs.get(other)?.delete(name) && needs.get(other)?.size === 0) queue.push(other)
  }
  // Of a circle tsort breaks one link, and warns.
  const left = [...scripts.keys()].sort().filter((name) => !done.includes(name))
  return [...done, ...left].flatMap((name) => scripts.get(name) ?? [])
}
