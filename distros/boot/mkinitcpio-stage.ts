import { modprobeFiles, parseModprobe } from '../../lib/edit/modprobe.ts'
import { wordsIn } from '../../lib/edit/word-lists.ts'
import type { DropIn } from '../../lib/host/drop-ins.ts'
import { hasSystemd } from '../../lib/host/find-program.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { BootStage, BootStep, LoadStep } from '../../lib/system/boot.ts'
import {
  bootScriptStep,
  COLDPLUG,
  causeWhere,
  hasBusyboxModprobe,
  loadStep,
  modulesBelow,
  modulesLoad,
  scriptSteps,
  textFiles,
  withInstalls,
} from '../../lib/system/boot-steps.ts'
import { bootScriptUnit, unknownUnits } from '../../lib/system/boot-units.ts'
import { mkinitcpioTexts } from './mkinitcpio-config.ts'

// What an image of mkinitcpio does with drivers. Its own init runs the early hooks, then `modprobe -qab` of MODULES, then
// the hooks, of which `udev` triggers the coldplug. With the hook `systemd`, MODULES are in modules-load.d instead, and
// no hook of the other kind runs. Source: init, init_functions, hooks/udev, install/systemd, add_runscript() and
// parse_config() in functions; mkinitcpio(8).

const UNITS = ['/etc/systemd/system', '/usr/lib/systemd/system']
const RUNS = ['run_earlyhook', 'run_hook', 'run_latehook'] as const

/** Returns the boot of an image, whose files `image` reads; `undefined`: another generator made it. */
export function mkinitcpioStage(image: Reader, release: string): BootStage | undefined {
  const [config] = textFiles(image, ['/config'])
  if (config === undefined || !(image.exists('/buildconfig') || image.exists('/init_functions'))) return undefined
  const list = (name: string): string[] => wordsIn([config.text], name)
  const hooks = (names: readonly string[]): DropIn[] =>
    textFiles(
      image,
      names.map((name) => `/hooks/${name}`),
    )
  const systemd = hasSystemd(image) && !image.exists('/init_functions')
  const init = image.resolve('/init') ?? ''
  const steps =
    systemd || init.endsWith('/systemd')
      ? systemdSteps(image, modulesLoad(image))
      : [
          ...hookSteps(image, hooks(list('EARLYHOOKS')), 'run_earlyhook'),
          ...moduleLoads([config]),
          ...hookSteps(image, hooks(list('HOOKS')), 'run_hook'),
          ...hookSteps(image, hooks(list('LATEHOOKS')), 'run_latehook'),
        ]
  const modprobe = parseModprobe(modprobeFiles(image, release))
  return {
    modprobe,
    busybox: hasBusyboxModprobe(image),
    modules: modulesBelow(image, `/lib/modules/${release}`),
    steps: withInstalls(image, modprobe, steps),
  }
}

/** Returns the boot of an image that mkinitcpio makes of the present files; `config`: the one that its preset names. */
export function nextMkinitcpioStage(files: Reader, release: string, config: string | undefined): BootStage {
  const texts = mkinitcpioTexts(files, config)
  const list = (name: string): string[] =>
    wordsIn(
      texts.map(({ text }) => text),
      name,
    )
  const names = list('HOOKS')
  const hooks = names.flatMap((name) =>
    textFiles(
      files,
      ['/etc/initcpio/hooks', '/usr/lib/initcpio/hooks'].map((folder) => `${folder}/${name}`),
    ).slice(0, 1),
  )
  const [early = [], now = [], late = []] = RUNS.map((name) => hookSteps(files, hooks, name))
  const steps = names.includes('systemd')
    ? systemdSteps(files, moduleLoads(texts), names.includes('vfio-scripts'))
    : [...early, ...moduleLoads(texts), ...now, ...late]
  const folders = names.includes('modconf') ? ['/etc/modprobe.d', '/usr/lib/modprobe.d'] : []
  const added = list('FILES').filter((path) => /^\/(etc|usr\/lib)\/modprobe\.d\/[^/]+\.conf$/.test(path))
  const read = modprobeFiles(files, release, folders)
  const more = folders.length > 0 ? [] : modprobeFiles(files).filter(({ path }) => added.includes(path))
  const modprobe = parseModprobe([...more, ...read])
  return { modprobe, busybox: false, modules: null, steps: withInstalls(files, modprobe, steps) }
}

function moduleLoads(texts: readonly DropIn[]): LoadStep[] {
  return wordsIn(
    texts.map(({ text }) => text),
    'MODULES',
  ).flatMap((word) => {
    const name = word.replace(/\?$/, '')
    const plain = name.replace(/[^\w]/g, '.')
    const place = [...texts].reverse().find(({ text }) => new RegExp(`^[^#\\n]*\\b${plain}\\b`, 'm').test(text)) ??
      texts[0] ?? { path: '', text: '' }
    return loadStep(name, true, causeWhere(place, new RegExp(`^[^#]*\\b${plain}\\b`)))
  })
}

/** Returns the steps of an init that is systemd; `unit`: is ours in the image? Others' are looked for in an image. */
function systemdSteps(files: Reader, beside: readonly LoadStep[], unit?: boolean): BootStep[] {
  const coldplug: BootStep = { kind: 'coldplug', beside, cause: 'systemd-udev-trigger.service' }
  if (unit !== undefined) {
    const own = unit ? bootScriptStep(files, '/etc/vfio-scripts/initramfs.service') : []
    return [...own, coldplug]
  }
  const { before, after } = unknownUnits(files, UNITS)
  return [...bootScriptUnit(files), ...before, coldplug, ...after]
}

/** Returns what the functions of this name do, in the order of the hooks. */
function hookSteps(files: Reader, hooks: readonly DropIn[], name: (typeof RUNS)[number]): BootStep[] {
  return hooks.flatMap(({ path, text }) => {
    const part = functionBody(text, name)
    if (part === undefined) return []
    const hook = { path, text: part }
    if (part.split('\n').some((line) => COLDPLUG.test(line)))
      return [{ kind: 'coldplug', beside: [], cause: causeWhere(hook, COLDPLUG) }]
    return scriptSteps(files, hook, false)
  })
}

/** Returns a text with nothing left of it but the commands of a function, each on its own line as before. */
function functionBody(text: string, name: string): string | undefined {
  const found = new RegExp(`^[ \\t]*(?:function[ \\t]+)?${name}[ \\t]*(?:\\(\\))?[ \\t]*\\{`, 'm').exec(text)
  if (found === null) return undefined
  const from = found.index + found[0].length
  const end = /^\}|^[ \t]*(?:function[ \t]+)?run_\w+[ \t]*\(\)/m.exec(text.slice(from))?.index ?? text.length
  const body = text.slice(from, from + end).replace(/[;\s]*\}\s*$/, '\n')
  return '\n'.repeat(text.slice(0, from).split('\n').length - 1) + body
}
