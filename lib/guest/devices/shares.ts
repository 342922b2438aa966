import { UserError } from '../../core/error.ts'
import { supportsElseNote } from '../../core/versions.ts'
import { findProgram } from '../../host/find-program.ts'
import { checkPath, listOption } from '../guest-arguments.ts'
import { xmlElement } from '../libvirt/xml-element.ts'
import { splitProperties } from '../proxmox/vm-config.ts'
import { escapeCommas, STATE_DIR, shellQuote } from '../qemu/qemu-words.ts'
import type { GuestDevice } from './guest-device.ts'

// Folders of the host, by virtiofs. Source: https://libvirt.org/kbase/virtiofs.html

interface SharedFolder {
  path: string
  tag: string
}

const SINCE = { libvirt: '6.2.0', qemu: '4.2.0' }

export const sharedFolders: GuestDevice<object, { shares: SharedFolder[] }> = {
  options: [listOption('share', 'DIR[:TAG]', 'a folder of the host, by virtiofs')],
  decide(given, { versions }, remarks) {
    const shares = given.list('share').map(parseShare)
    return { shares: shares.length > 0 && supportsElseNote(versions, SINCE, 'virtiofs', remarks) ? shares : [] }
  },
  sharesMemory: ({ shares }) => shares.length > 0,
  files: (given) => ({ others: given.list('share').map((text) => parseShare(text).path) }),
  warnings: ({ files, running }, given) =>
    running && given.list('share').length > 0 && findProgram(files, 'virtiofsd') === undefined
      ? ['virtiofsd is not installed, and the guest shares folders']
      : [],
  xml: ({ shares }) =>
    shares.map(({ path, tag }) =>
      xmlElement(
        'filesystem',
        { type: 'mount', accessmode: 'passthrough' },
        xmlElement('driver', { type: 'virtiofs' }),
        xmlElement('source', { dir: path }),
        xmlElement('target', { dir: tag }),
      ),
    ),
  match: { filesystem: ['target@dir'] },
  proxmox: ({ shares }, { host }) =>
    shares.map(({ path, tag }) => {
      const known = host.folderMappings.find((mapping) => mapping.path === path)
      if (known === undefined)
        throw new UserError(
          'usage',
          `--share ${path}: Proxmox shares folders that a mapping names; make one: pvesh create /cluster/mapping/dir --id ${tag} --map node=${host.node},path=${path}`,
        )
      const isSame = (value: string): boolean => splitProperties(value, 'dirid')[''] === known.name
      return { name: 'virtiofs', when: 'asked', value: { '': known.name }, list: { most: 10, isSame } }
    }),
  qemu: ({ shares }) =>
    shares.flatMap(({ tag }, index) => [
      ['-chardev', `socket,id=share${index},path=${STATE_DIR}/share${index}.sock`],
      ['-device', `vhost-user-fs-pci,chardev=share${index},tag=${escapeCommas(tag)}`],
    ]),
  start: ({ shares }) =>
    shares.length === 0
      ? ''
      : VIRTIOFSD + shares.map(({ path }, index) => startVirtiofsd(`"$dir/share${index}.sock"`, path)).join(''),
}

function parseShare(text: string): SharedFolder {
  const [, folder = '', tag] = /^(.*?)(?::([A-Za-z0-9_.-]{1,36}))?$/s.exec(text) ?? []
  const path = checkPath('share', folder)
  const name =
    tag ??
    path
      .replace(/\/+$/, '')
      .replace(/^.*\//, '')
      .replace(/[^A-Za-z0-9_.-]/g, '_')
  return { path, tag: name.slice(0, 36) || 'root' }
}

/** Shell lines that find virtiofsd, which is on nobody's PATH. The one of QEMU until 7.2 calls the folder otherwise. */
const VIRTIOFSD = `PATH=$PATH:/usr/libexec:/usr/lib/qemu:/usr/lib:/usr/lib/virtiofsd
shared=--shared-dir=
virtiofsd --help 2>&1 | grep -q -e --shared-dir || shared=-osource=
`

/** Returns lines that start virtiofsd and wait for its socket, for QEMU; if virtiofsd ends, so does the program. */
function startVirtiofsd(socket: string, path: string): string {
  return `rm -f ${socket}
virtiofsd --socket-path=${socket} "$shared"${shellQuote(path)} &
until [ -S ${socket} ]; do sleep 0.1; kill -0 $!; done
`
}
