import { type Directive, parseModprobe } from '../../lib/edit/modprobe.ts'
import { yamlMembers } from '../../lib/edit/yaml.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { BootStage, LoadStep } from '../../lib/system/boot.ts'
import { causeAt, loadStep, modulesBelow, textFiles } from '../../lib/system/boot-steps.ts'
import { listFolder } from './boot-files.ts'

// What an image of booster does with drivers: its init loads modules itself, each in a thread of its own, with options
// that the generator took from modprobe.d; it knows no blacklist, install or softdep of those files. The list to load
// is begun first, and nothing waits for it. Source: boosterInit() in init/main.go, init/module.go, generator/kmod.go.

const IMAGE = '/etc/booster.init.yaml'
const CONFIG = '/etc/booster.yaml'
/** The folders in the order in which options are put together. */
const FOLDERS = ['/lib/modprobe.d', '/etc/modprobe.d', '/run/modprobe.d']

/** Returns the boot of an image, whose files `image` reads; `undefined`: another generator made it. */
export function boosterStage(image: Reader): BootStage | undefined {
  const [config] = textFiles(image, [IMAGE])
  if (config === undefined) return undefined
  const rows = config.text.split('\n')
  const options: Directive[] = []
  const loads: LoadStep[] = []
  // A map of names to texts, or a list; in block style, as the generator's library writes it.
  let key = ''
  for (const [index, row] of rows.entries()) {
    key = /^(\w+):/.exec(row)?.[1]?.toLowerCase() ?? key
    const [, item, name = '', value = ''] = /^\s*-\s+(\S+)|^\s+([\w-]+):\s*(.*)$/.exec(row) ?? []
    if (key === 'modulesforceload' && item !== undefined)
      loads.push(...loadStep(item.replace(/["']/g, ''), false, causeAt(IMAGE, index + 1, row)))
    if (key === 'modprobeoptions' && item === undefined && name !== '') {
      const rest = value.replace(/^(["'])(.*)\1$/, '$2')
      options.push({ file: IMAGE, line: index + 1, command: 'options', module: name.replaceAll('-', '_'), rest })
    }
  }
  return stageOfLoads(options, loads, modulesBelow(image, '/usr/lib/modules'))
}

/** Returns the boot of an image that booster makes of the present files. */
export function nextBoosterStage(files: Reader): BootStage {
  const [config] = textFiles(files, [CONFIG])
  const { line = 0, members = [] } = yamlMembers(config?.text ?? '', 'modules_force_load') ?? {}
  const cause = causeAt(CONFIG, line, config?.text.split('\n')[line - 1] ?? '')
  const paths = FOLDERS.flatMap((folder) => listFolder(files, folder).map((name) => `${folder}/${name}`))
  const options = parseModprobe(textFiles(files, paths)).filter(({ command }) => command === 'options')
  return stageOfLoads(
    options,
    members.flatMap((name) => loadStep(name, false, cause)),
    null,
  )
}

function stageOfLoads(modprobe: Directive[], beside: LoadStep[], modules: ReadonlySet<string> | null): BootStage {
  const steps = [{ kind: 'coldplug', beside, cause: 'scanSysModaliases() of booster' } as const]
  return { modprobe, busybox: false, modules, steps }
}
