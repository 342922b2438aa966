import { type Directive, modprobeFiles, parseModprobe } from '../../lib/edit/modprobe.ts'
import { argumentsInVariable, type ShellFile } from '../../lib/edit/shell-variables.ts'
import { wordsIn } from '../../lib/edit/word-lists.ts'
import type { DropIn } from '../../lib/host/drop-ins.ts'
import { hasSystemd } from '../../lib/host/find-program.ts'
import { parseCommandLine } from '../../lib/host/kernel.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { BootStage, BootStep, LoadStep } from '../../lib/system/boot.ts'
import {
  causeAt,
  hasBusyboxModprobe,
  loadStep,
  modulesBelow,
  modulesLoad,
  scriptSteps,
  textFiles,
  withInstalls,
} from '../../lib/system/boot-steps.ts'
import { bootScriptUnit } from '../../lib/system/boot-units.ts'
import { filesEndingIn, listFolder, rawText } from './boot-files.ts'
import { dracutConfig } from './dracut-images.ts'

/** The path of our drop-in for dracut, which sorts after those of others. */
export const DRACUT_DROP_IN = '/etc/dracut.conf.d/zz-vfio-scripts.conf'

// What an image of dracut does with drivers. Its own files of arguments, into which `force_drivers` goes, are read
// before the kernel command line. With systemd in it, modules of rd.driver.pre= are loaded behind the hooks `pre-udev`,
// without it by the first hook `cmdline`. Its modprobe is plain. Source: dracut-pre-udev.sh, parse-kernel.sh, init.sh,
// getcmdline() in dracut-lib.sh (the same in 059 and 112, but for the folders of hooks); dracut.bootup(7).

const HOOKS = ['/var/lib/dracut/hooks', '/etc/dracut/hooks', '/usr/lib/dracut/hooks', '/lib/dracut/hooks']
const BEFORE = ['cmdline', 'pre-udev']
const AFTER = ['initqueue', 'initqueue/settled', 'initqueue/online', 'pre-mount', 'mount', 'pre-pivot', 'cleanup']
const MODULES = '/usr/lib/dracut/modules.d'
const OF_PACKAGES = ['/usr/lib/modprobe.d', '/lib/modprobe.d']

interface DracutArguments {
  pre: LoadStep[]
  post: LoadStep[]
  blacklist: Directive[]
}

interface DracutParts {
  systemd: boolean
  arguments: DracutArguments
  modprobe: Directive[]
  beside: LoadStep[]
  hooks(stage: string): DropIn[]
  /** Is the hook in the image? Of others, what they load is left out, as that would be said for certain. */
  isSure?(hook: DropIn): boolean
  /** The step of the boot script as a unit of systemd. */
  unit: BootStep[]
}

/** What the command line adds to a boot. Source: dracut.cmdline(7), systemd-modules-load.service(8). */
const ARGUMENTS: Pick<BootStage, 'loadArguments' | 'blacklistArguments'> = {
  loadArguments: [
    { name: 'rd.driver.pre', when: 'first' },
    { name: 'rd.modules_load', when: 'beside' },
  ],
  blacklistArguments: ['rd.driver.blacklist'],
}

/** Returns the boot of an image, whose files `image` reads; `undefined`: another generator made it. */
export function dracutStage(image: Reader, release: string): BootStage | undefined {
  if (!['/usr/lib/dracut', '/lib/dracut'].some((path) => image.exists(path))) return undefined
  const systemd = hasSystemd(image)
  const given = [...filesEndingIn(image, '/etc/cmdline.d', '.conf'), '/etc/cmdline']
  const hasUnit = ['/usr/lib', '/lib'].some((path) =>
    image.exists(`${path}/systemd/system/systemd-modules-load.service`),
  )
  return {
    busybox: hasBusyboxModprobe(image),
    modules: modulesBelow(image, `/lib/modules/${release}`),
    ...ARGUMENTS,
    ...stageOfParts(image, {
      systemd,
      arguments: argumentLoads(textFiles(image, given).flatMap(argumentLines)),
      modprobe: parseModprobe(modprobeFiles(image, release)),
      beside: systemd && hasUnit ? modulesLoad(image) : [],
      hooks: (stage) => hooksOf(image, stage),
      unit: systemd ? bootScriptUnit(image) : [],
    }),
  }
}

/**
 * Returns the boot of an image that dracut makes of the present files; `options`: its own command line; `own`: do the
 * files in /etc count, or does it come from the distribution?
 */
export function nextDracutStage(
  files: Reader,
  release: string,
  options: readonly string[] = [],
  own = true,
): BootStage {
  const config = dracutConfig(files).filter(({ path }) => own || !path.startsWith('/etc/'))
  const words = (name: string): string[] =>
    wordsIn(
      config.map(({ text }) => text),
      name,
    )
  const option = (name: string): string[] => valuesOf(options, name).flatMap((value) => value.split(/[\s,]+/))
  const omitted = words('omit_dracutmodules')
  const systemd =
    hasSystemd(files) && !['systemd', 'systemd-initrd', 'dracut-systemd'].some((name) => omitted.includes(name))
  const hostonly = isHostOnly(files, words('hostonly').at(-1), options)
  const etc = hostonly ? ['/etc'] : []
  const installed = [...argumentsInVariable(config, 'install_items').map(({ token }) => token), ...option('install')]
  const given = [
    ...configuredLines(config, 'kernel_cmdline'),
    ...configuredLines(config, 'force_drivers').map((line) => ({ ...line, text: `rd.driver.pre=${line.text}` })),
    ...option('force-drivers').map((name) => ({ cause: `--force-drivers=${name}`, text: `rd.driver.pre=${name}` })),
  ]
  // Without hostonly, of the files in /etc only those that are named are in the image.
  const named = installed.filter((path) => /^\/etc\/modprobe\.d\/[^/]+\.conf$/.test(path))
  const ofEtc = modprobeFiles(files, undefined, ['/etc/modprobe.d']).filter(
    ({ path }) => hostonly || named.includes(path),
  )
  const masked = new Set(ofEtc.map(({ path }) => lastPart(path)))
  const rest = modprobeFiles(files, release, OF_PACKAGES).filter(({ path }) => !masked.has(lastPart(path)))
  const read = [...ofEtc, ...rest].sort((one, other) => (lastPart(one.path) < lastPart(other.path) ? -1 : 1))
  return {
    busybox: false,
    modules: null,
    ...ARGUMENTS,
    ...stageOfParts(files, {
      systemd,
      arguments: argumentLoads(given),
      modprobe: parseModprobe(read),
      beside: systemd
        ? modulesLoad(
            files,
            [...etc, '/usr/lib', '/lib'].map((path) => `${path}/modules-load.d`),
          )
        : [],
      hooks: (stage) => hooksOfModules(files, stage, words('add_dracutmodules'), omitted),
      isSure: ({ path }) => words('add_dracutmodules').includes(/\/\d\d([^/]+)\/[^/]+$/.exec(path)?.[1] ?? ''),
      unit: systemd && installed.some((path) => path.endsWith('/vfio-scripts.service')) ? bootScriptUnit(files) : [],
    }),
  }
}

function stageOfParts(
  files: Reader,
  { systemd, arguments: given, modprobe, beside, hooks, isSure = () => true, unit }: DracutParts,
): Pick<BootStage, 'modprobe' | 'steps'> {
  const run = (stage: string): BootStep[] =>
    hooks(stage).flatMap((hook) => {
      if (!loadsArguments(hook))
        return scriptSteps(files, hook, false).filter(({ kind }) => kind !== 'load' || isSure(hook))
      return systemd ? [] : given.pre
    })
  const isSeen = systemd || BEFORE.some((stage) => hooks(stage).some(loadsArguments))
  const steps: BootStep[] = [
    // Its unit is not ordered against that of the hooks; both come before udev.
    ...unit,
    ...(isSeen ? [] : given.pre),
    ...BEFORE.flatMap(run),
    ...(systemd ? given.pre : []),
    ...run('pre-trigger'),
    { kind: 'coldplug', beside, cause: systemd ? 'systemd-udev-trigger.service' : '/init: udevadm trigger' },
    ...given.post,
    ...AFTER.flatMap(run),
  ]
  const all = [...modprobe, ...given.blacklist]
  return { modprobe: all, steps: withInstalls(files, all, steps) }
}

const loadsArguments = ({ text }: DropIn): boolean => /\brd\.driver\.pre\b/.test(text)

interface ArgumentLine {
  cause: string
  text: string
}

function argumentLines({ path, text }: DropIn): ArgumentLine[] {
  return text.split('\n').map((line, index) => ({ cause: causeAt(path, index + 1, line), text: line }))
}

function configuredLines(config: readonly ShellFile[], variable: string): ArgumentLine[] {
  return argumentsInVariable(config, variable).map(({ token, file, line }) => ({
    cause: causeAt(file, line, config.find(({ path }) => path === file)?.text.split('\n')[line - 1] ?? token),
    text: token,
  }))
}

/** Returns what the arguments load before udev and after it, and what they keep udev from loading. */
function argumentLoads(lines: readonly ArgumentLine[]): DracutArguments {
  const all = lines.flatMap(({ text, cause }) =>
    parseCommandLine(text).flatMap(({ name, value = '' }) =>
      value.split(',').flatMap((word) => (word === '' ? [] : [{ name, word, cause }])),
    ),
  )
  const loads = (...names: string[]): LoadStep[] =>
    all.filter(({ name }) => names.includes(name)).flatMap(({ word, cause }) => loadStep(word, false, cause))
  const post = loads('rd.driver.post', 'rdinsmodpost')
  const kept = [...loads('rd.driver.blacklist', 'rdblacklist'), ...post]
  return {
    pre: loads('rd.driver.pre', 'rdloaddriver'),
    post,
    blacklist: kept.map(({ module, cause }): Directive => {
      const [, file = cause, line] = /^(.*?):(\d+):/.exec(cause) ?? []
      return { file, line: Number(line ?? 0), command: 'blacklist', module, rest: '' }
    }),
  }
}

/** Returns the hooks of an image: by folder, of which the first has precedence, and by name. */
function hooksOf(image: Reader, stage: string): DropIn[] {
  const paths = new Map<string, string>()
  for (const folder of HOOKS)
    for (const path of filesEndingIn(image, `${folder}/${stage}`, '.sh'))
      if (!paths.has(lastPart(path))) paths.set(lastPart(path), path)
  return textFiles(image, [...paths.values()])
}

/**
 * Returns the hooks that dracut's modules install by plain commands, by name: those of modules that are in no image
 * unless they are named, and are not, are left out.
 */
function hooksOfModules(files: Reader, stage: string, added: readonly string[], omitted: readonly string[]): DropIn[] {
  const found = listFolder(files, MODULES).flatMap((folder) => {
    const name = folder.replace(/^\d\d/, '')
    const setup = rawText(files, `${MODULES}/${folder}/module-setup.sh`) ?? ''
    const installs = [...setup.matchAll(/^[^#\n]*?\binst_hook\s+(\S+)\s+(\S+)\s+"?\$\{?moddir\}?\/([\w.-]+)"?/gm)]
    const own = installs.filter(([, at]) => at === stage)
    const onlyNamed = /\bcheck\(\)\s*\{\s*return\s+(255|1)\b/.test(setup)
    if (own.length === 0 || omitted.includes(name) || (onlyNamed && !added.includes(name))) return []
    return own.map(([, , order = '', file = '']) => ({
      name: `${order}-${file}`,
      path: `${MODULES}/${folder}/${file}`,
    }))
  })
  const sorted = found.sort((one, other) => (one.name < other.name ? -1 : 1))
  return textFiles(
    files,
    sorted.map(({ path }) => path),
  )
}

/** Does dracut make images for this machine alone? Newer versions do unless told; older ones if told. */
function isHostOnly(files: Reader, word: string | undefined, options: readonly string[]): boolean {
  const program = rawText(files, files.resolve('/usr/bin/dracut') ?? '/usr/sbin/dracut') ?? ''
  const last = options.filter((option) => /^(-H|-N|--(no-)?host-?only)$/.test(option)).at(-1)
  if (last !== undefined) return !/^(-N|--no-)/.test(last)
  return /\[\[ \$\{hostonly-?\} == "?no"? \]\]/.test(program) ? word !== 'no' : word === 'yes' || word === '-h'
}

/** Returns the values of an option on dracut's command line: `--install=A`, or `--install A`. */
function valuesOf(options: readonly string[], name: string): string[] {
  return options.flatMap((option, index) => {
    if (option === `--${name}`) return options[index + 1] ?? []
    return option.startsWith(`--${name}=`) ? option.slice(name.length + 3) : []
  })
}

const lastPart = (path: string): string => path.replace(/.*\//, '')
