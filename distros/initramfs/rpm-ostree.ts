import type { Setting } from '../../lib/change/settings.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { Host, InitramfsAdapter, InitramfsRequirements } from '../../lib/system/system.ts'
import { keptBy } from '../boot/argument-settings.ts'
import { listFolder, readOnce } from '../boot/boot-files.ts'
import { nextDracutStage } from '../boot/dracut-stage.ts'
import { ostreeEntries } from '../boot/loader-entries.ts'
import { rootSettings } from '../boot/root-script.ts'

const PROGRAM = '/usr/bin/rpm-ostree'
const DEPLOYMENTS = '/ostree/deploy'
// Makes images on this machine, instead of taking the distribution's.
const ENABLE = '--enable'

/**
 * rpm-ostree of Fedora Atomic desktops, CoreOS, Bazzite. Each run makes a new deployment with its own image for the
 * next boot. Its arguments replace former ones, so these are given again. Given any, it always runs dracut.
 * Source: rpm-ostree(1), initramfs; initramfs_state_transaction_execute() in rpmostreed-transaction-types.cxx.
 */
export const rpmOstree: InitramfsAdapter = {
  name: 'rpm-ostree-initramfs',
  documentation: 'https://coreos.github.io/rpm-ostree/man/rpm-ostree/',
  proven: 'documentation: rpm-ostree(1), and its code, read; its unit booted by hand with dracut 059',

  detect: ({ files }) =>
    files.exists(PROGRAM) && files.exists(DEPLOYMENTS) ? `${PROGRAM}, and ${DEPLOYMENTS}` : undefined,

  // dracut makes them.
  stageOf: () => undefined,

  open(host) {
    const { files } = host
    const deployment = readOnce(host, () => findNextDeployment(host))
    const state = readOnce(host, () => readInitramfsState(files, deployment()))
    return {
      makesEntries: true,
      bootScriptLocation: () => 'image',
      settings: (requirements) => dracutArguments(host, requirements),
      externalTokens: () => (state().enabled ? [ENABLE, ...state().args] : []),

      commands({ add, remove } = { add: [], remove: [] }) {
        const rest = state().args.filter((arg) => !remove.includes(arg))
        const args = [...rest, ...add.filter((arg) => arg !== ENABLE && !rest.includes(arg))]
        const off = remove.includes(ENABLE) && args.length === 0
        const [argv, inverse] = [initramfsCommand(!off, args), initramfsCommand(state().enabled, state().args)]
        const reason = 'a new deployment, with an initramfs of its own'
        return [{ kind: 'command', argv, inverse, touches: [], reason }]
      },

      images() {
        const modules = `${deployment()}/usr/lib/modules`
        return (deployment() === undefined ? [] : listFolder(files, modules)).flatMap((release) => {
          const path = `${modules}/${release}/initramfs.img`
          return files.exists(path) ? [{ release, path }] : []
        })
      },

      nextStage(release, { add, remove } = { add: [], remove: [] }) {
        const [{ enabled, args }, ours] = [state(), (arg: string) => arg !== ENABLE]
        const given = [...args.filter((arg) => !remove.includes(arg)), ...add.filter(ours)]
        // The distribution's own image has nothing of this machine.
        const own = (enabled && !remove.includes(ENABLE)) || add.includes(ENABLE) || given.length > 0
        return nextDracutStage(files, release, own ? [...given] : ['--no-hostonly'], own)
      },

      listCommand: (image) => ['lsinitrd', image],

      steps(requirements) {
        const settings = dracutArguments(host, requirements)
        const ours = settings.flatMap((one) => (one.kind === 'external' && one.token !== ENABLE ? [one.token] : []))
        return [initramfsCommand(true, [...new Set([...state().args, ...ours])]).join(' ')]
      },
    }
  },
}

function dracutArguments(host: Host, { module, modprobe, bootScript }: InitramfsRequirements): Setting[] {
  // dracut's modules are in read-only /usr, and a unit needs none. After the initramfs the unit has no effect.
  const reason = 'runs the script in the initramfs, before udev'
  const unit = bootScript === null ? [] : rootSettings(host, bootScript, reason)
  const script = bootScript === null ? [] : [bootScript, ...new Set(unit.map(({ path }) => path))]
  const kept = (token: string, reason: string): Setting => keptBy(rpmOstree.name, { token, reason })
  return [
    kept(ENABLE, 'the initramfs is made on this machine'),
    kept(`--force-drivers=${module.replaceAll('-', '_')}`, `${module} is in it, loaded before udev`),
    ...[...modprobe, ...script].map((file) => kept(`--install=${file}`, `${file} is in it`)),
    ...unit,
  ]
}

function initramfsCommand(enabled: boolean, args: readonly string[]): string[] {
  const options = enabled ? [ENABLE, ...args.map((arg) => `--arg=${arg}`)] : ['--disable']
  return ['rpm-ostree', 'initramfs', ...options]
}

/** Reads the initramfs options that a deployment was made with. Source: rust/src/origin.rs in rpm-ostree. */
function readInitramfsState(files: Reader, deployment: string | undefined): { enabled: boolean; args: string[] } {
  const text = deployment === undefined ? '' : (files.text(`${deployment}.origin`) ?? '')
  const value = (key: string): string => new RegExp(`^${key}[ \\t]*=[ \\t]*(.*)$`, 'm').exec(text)?.[1] ?? ''
  const args = value('initramfs-args').match(/(?:\\.|[^;\\])+/g) ?? []
  return {
    enabled: value('regenerate-initramfs').trim() === 'true',
    args: args.map((arg) => arg.replace(/\\(.)/g, (_, char) => (char === 's' ? ' ' : char))),
  }
}

/** Finds the next deployment: one made in this boot, which has no entry before shutdown, else the first entry's. */
function findNextDeployment({ files, machine }: Host): string | undefined {
  const all = listFolder(files, DEPLOYMENTS).flatMap((name) =>
    listFolder(files, `${DEPLOYMENTS}/${name}/deploy`)
      .filter((each) => /\.\d+$/.test(each))
      .map((each) => `${DEPLOYMENTS}/${name}/deploy/${each}`),
  )
  const booting = ostreeEntries(files).flatMap(
    ({ line }) => files.resolve(/\bostree=(\S+)/.exec(line)?.[1] ?? '/nowhere') ?? [],
  )
  const waiting = all.filter((path) => !booting.includes(files.resolve(path) ?? path))
  if (machine.exists('/run/ostree/staged-deployment') && waiting.length === 1) return waiting[0]
  return booting[0] ?? (all.length === 1 ? all[0] : undefined)
}
