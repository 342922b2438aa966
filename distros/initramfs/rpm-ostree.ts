import type { Reader } from '../../lib/host/reader.ts'
import type { Host, Initramfs } from '../../lib/system/system.ts'
import { listFolder } from '../boot/boot-files.ts'
import { rootSettings } from '../boot/root-script.ts'

const PROGRAM = '/usr/bin/rpm-ostree'
const DEPLOYMENTS = '/ostree/deploy'
// On its own: images are made on this machine at all, instead of taken from the distribution.
const ENABLE = '--enable'

/**
 * Fedora Atomic desktops, CoreOS, Bazzite. Each run makes a new deployment with its own image, for the next boot; the
 * arguments given then are all that there are, so former ones are given again. Given any, it always runs dracut.
 * Source: rpm-ostree(1), initramfs; initramfs_state_transaction_execute() in src/daemon/rpmostreed-transaction-types.cxx.
 */
export const rpmOstree: Initramfs = {
  name: 'rpm-ostree-initramfs',
  documentation: 'https://coreos.github.io/rpm-ostree/man/rpm-ostree/',

  detect({ files }) {
    if (!files.exists(PROGRAM) || !files.exists(DEPLOYMENTS)) return undefined
    return `${PROGRAM}, and ${DEPLOYMENTS}`
  },

  bootScriptLocation: () => 'image',

  settings({ files }, { module, modprobe, bootScript }) {
    // dracut's modules are in /usr, which is not ours there; a unit needs none. It is of no use, and no harm, later.
    const unit =
      bootScript === null ? [] : rootSettings(files, bootScript, 'runs the script in the initramfs, before udev')
    const script = bootScript === null ? [] : [bootScript, ...new Set(unit.map(({ path }) => path))]
    const external = (token: string, reason: string) =>
      ({ kind: 'external', tool: rpmOstree.name, path: '', token, reason }) as const
    return [
      external(ENABLE, 'the initramfs is made on this machine'),
      external(`--force-drivers=${module.replaceAll('-', '_')}`, `${module} is in it, loaded before udev`),
      ...[...modprobe, ...script].map((file) => external(`--install=${file}`, `${file} is in it`)),
      ...unit,
    ]
  },

  externalTokens(host) {
    const { enabled, args } = readInitramfsState(host)
    return enabled ? [ENABLE, ...args] : []
  },

  commands(host, external = { add: [], remove: [] }) {
    const now = readInitramfsState(host)
    const rest = now.args.filter((arg) => !external.remove.includes(arg))
    const args = [...rest, ...external.add.filter((arg) => arg !== ENABLE && !rest.includes(arg))]
    const off = external.remove.includes(ENABLE) && args.length === 0
    const argv = initramfsCommand(!off, args)
    const inverse = initramfsCommand(now.enabled, now.args)
    return [{ kind: 'command', argv, inverse, touches: [], reason: 'a new deployment, with an initramfs of its own' }]
  },

  images(host) {
    const deployment = findNextDeployment(host)
    const modules = `${deployment}/usr/lib/modules`
    return (deployment === undefined ? [] : listFolder(host.files, modules)).flatMap((release) => {
      const path = `${modules}/${release}/initramfs.img`
      return host.files.exists(path) ? [{ release, path }] : []
    })
  },

  listCommand: (image) => ['lsinitrd', image],

  steps(requirements, host) {
    const ours = rpmOstree.settings(host, requirements).flatMap((one) => (one.kind === 'external' ? [one.token] : []))
    const args = [...readInitramfsState(host).args, ...ours.filter((token) => token !== ENABLE)]
    return [initramfsCommand(true, [...new Set(args)]).join(' ')]
  },
}

function initramfsCommand(enabled: boolean, args: readonly string[]): string[] {
  const options = enabled ? [ENABLE, ...args.map((arg) => `--arg=${arg}`)] : ['--disable']
  return ['rpm-ostree', 'initramfs', ...options]
}

/** What the deployment that boots next was made with. Source: rust/src/origin.rs in rpm-ostree. */
function readInitramfsState(host: Host): { enabled: boolean; args: string[] } {
  const deployment = findNextDeployment(host)
  const text = deployment === undefined ? '' : (host.files.text(`${deployment}.origin`) ?? '')
  const value = (key: string): string => new RegExp(`^${key}[ \\t]*=[ \\t]*(.*)$`, 'm').exec(text)?.[1] ?? ''
  const args = value('initramfs-args').match(/(?:\\.|[^;\\])+/g) ?? []
  return {
    enabled: value('regenerate-initramfs').trim() === 'true',
    args: args.map((arg) => arg.replace(/\\(.)/g, (_, char) => (char === 's' ? ' ' : char))),
  }
}

/** One that was made in this boot has no boot entry before the machine shuts down; else that of the first entry. */
function findNextDeployment({ files, machine }: Host): string | undefined {
  const all = listFolder(files, DEPLOYMENTS).flatMap((name) =>
    listFolder(files, `${DEPLOYMENTS}/${name}/deploy`)
      .filter((each) => /\.\d+$/.test(each))
      .map((each) => `${DEPLOYMENTS}/${name}/deploy/${each}`),
  )
  const booting = entryDeployments(files)
  const waiting = all.filter((path) => !booting.includes(files.resolve(path) ?? path))
  if (machine.exists('/run/ostree/staged-deployment') && waiting.length === 1) return waiting[0]
  return booting[0] ?? (all.length === 1 ? all[0] : undefined)
}

/** The deployments of boot entries, the first choice first. */
function entryDeployments(files: Reader): string[] {
  const folder = '/boot/loader/entries'
  const names = listFolder(files, folder).filter((name) => /^ostree-.*\.conf$/.test(name))
  const entries = names.map((name) => files.optionalText(`${folder}/${name}`) ?? '')
  const version = (text: string): number => Number(/^version\s+(\d+)/m.exec(text)?.[1] ?? 0)
  return entries
    .sort((one, other) => version(other) - version(one))
    .flatMap((text) => files.resolve(/\bostree=(\S+)/.exec(text)?.[1] ?? '/nowhere') ?? [])
}
