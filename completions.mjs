// Shell completions of the built scripts, made from what they print with --help --json.
// @ts-check
import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** @typedef {import('./lib/terminal/options.ts').Script} Script */
/** @typedef {import('./lib/terminal/options.ts').Option} Option */

/** Where each shell looks for the completion of a command, by the file's name. */
const SHELLS = [
  { path: (/** @type {string} */ name) => `bash/${name}`, text: bash },
  { path: (/** @type {string} */ name) => `zsh/_${name}`, text: zsh },
  { path: (/** @type {string} */ name) => `fish/${name}.fish`, text: fish },
]

/**
 * Writes the completions of these scripts into `folder`, and removes what was there.
 * @param {readonly string[]} scripts built files
 * @param {string} folder
 */
export function writeCompletions(scripts, folder) {
  rmSync(folder, { recursive: true, force: true })
  for (const file of scripts) {
    /** @type {Script} */
    const script = JSON.parse(execFileSync(process.execPath, [file, '--help', '--json'], { encoding: 'utf8' }))
    for (const { path, text } of SHELLS) {
      const to = join(folder, path(script.name))
      mkdirSync(dirname(to), { recursive: true })
      writeFileSync(to, text(script))
    }
  }
}

/**
 * What completes an option's value.
 * @param {Option} option
 * @param {{ choices: (words: string) => string, folder: string, file: string, device: string, any: string }} actions
 */
function actionOf({ value, choices }, actions) {
  if (choices !== undefined) return actions.choices(choices.join(' '))
  if (value === 'DIR') return actions.folder
  if (value === 'FILE' || value === 'PATH') return actions.file
  return value === 'DEVICE' ? actions.device : actions.any
}

/** As one word of a shell. @param {string} text */
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`

/** @param {Script} script */
function bash({ name, operands, options }) {
  const own = `_${name.replaceAll('-', '_')}`
  const devices = `for each in /sys/bus/pci/devices/*:*; do [[ ! -e $each ]] || words+=" \${each##*/}"; done
        words=\${words// 0000:/ }`
  const actions = {
    choices: (/** @type {string} */ words) => `words=${quoted(words)}`,
    folder: 'compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$current")',
    file: 'compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$current")',
    device: devices,
    any: ':',
  }
  const cases = options
    .filter(({ kind }) => kind !== 'flag')
    .map((option) => `    --${option.name}) ${actionOf(option, actions)} ;;`)
  const flags = options.map((option) => `--${option.name}`).join(' ')
  return `# ${name} in bash: source this, or put it into /usr/share/bash-completion/completions.
${own}() {
  local typed current before each words=''
  COMPREPLY=()
  # Not COMP_WORDS: bash breaks words at = and : there.
  read -ra typed <<<"\${COMP_LINE:0:COMP_POINT}."
  current=\${typed[-1]%.}
  before=\${typed[-2]-}
  if [[ $current == --*=* ]]; then
    before=\${current%%=*}
    current=\${current#*=}
  fi
  case $before in
${cases.join('\n')}
    *)
      if [[ $current == -* ]]; then
        words=${quoted(flags)}
      else
        ${operands?.endsWith('DEVICE') ? devices : ':'}
      fi
      ;;
  esac
  [[ -z $words ]] || mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
  # bash replaces only what follows the last colon.
  [[ $COMP_WORDBREAKS != *:* ]] || COMPREPLY=("\${COMPREPLY[@]#"\${current%"\${current##*:}"}"}")
}
complete -F ${own} ${name} ${name}.mjs
`
}

/** @param {Script} script */
function zsh({ name, operands, options }) {
  const device = 'compadd -a devices'
  const actions = {
    choices: (/** @type {string} */ words) => `(${words})`,
    folder: '_files -/',
    file: '_files',
    device,
    any: '',
  }
  const specs = options.flatMap((option) => {
    const help = option.help.replaceAll(/[[\]\\]/g, '\\$&')
    const word = `${option.kind === 'list' ? '*' : ''}--${option.name}`
    if (option.kind === 'flag')
      return [word, ...(option.short === undefined ? [] : [`-${option.short}`])].map((each) => `${each}[${help}]`)
    return `${word}=[${help}]:${option.value ?? 'NAME'}:${actionOf(option, actions)}`
  })
  if (operands?.endsWith('DEVICE')) specs.push(`*:DEVICE:${device}`)
  return `#compdef ${name} ${name}.mjs
# ${name} in zsh: put this into a folder of $fpath.
local -a devices=(/sys/bus/pci/devices/*(N:t))
devices=(\${devices#0000:})
_arguments -S \\
${specs.map((spec) => `  ${quoted(spec)}`).join(' \\\n')}
`
}

/** @param {Script} script */
function fish({ name, operands, options }) {
  const device = `'(for device in /sys/bus/pci/devices/*; string replace -r "^.*/(0000:)?" "" $device; end)'`
  const actions = {
    choices: (/** @type {string} */ words) => `-x -a ${quoted(words)}`,
    folder: '-r -F',
    file: '-r -F',
    device: `-x -a ${device}`,
    any: '-x',
  }
  const rows = options.map((option) => {
    const help = `-d ${quoted(option.help).replaceAll(`'\\''`, "\\'")}`
    const value = option.kind === 'flag' ? '' : ` ${actionOf(option, actions)}`
    const short = option.short === undefined ? '' : ` -s ${option.short}`
    return `complete -c ${name}${short} -l ${option.name}${value} ${help}`
  })
  return `# ${name} in fish: put this into ~/.config/fish/completions.
complete -c ${name} -f${operands?.endsWith('DEVICE') ? ` -a ${device}` : ''}
${rows.join('\n')}
complete -c ${name}.mjs -w ${name}
`
}
