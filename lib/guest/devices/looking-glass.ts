import { supports } from '../../core/versions.ts'
import { configLines, dropInFolders, readDropIns } from '../../host/drop-ins.ts'
import { requestUsageError, valueOption } from '../guest-arguments.ts'
import { xmlElement } from '../libvirt/xml-element.ts'
import type { GuestDevice } from './guest-device.ts'

// Shared memory for Looking Glass's frames. Source: https://looking-glass.io/docs (Installation, IVSHMEM)

interface DecidedFrames {
  /** The shared memory of Looking Glass, and the device that holds it; `null`: not asked for. */
  frames: { mib: number; device: 'kvmfr' | 'shm' } | null
}

/** The device of kvmfr, and the file in shared memory that stands in for it. */
export const KVMFR = '/dev/kvmfr0'
export const SHARED_FRAMES = '/dev/shm/looking-glass'

/** libvirt writes its devices as JSON, which QEMU gives their slots behind those that are no JSON. */
const JSON_SINCE = { libvirt: '7.9.0', qemu: '6.2.0' }

/**
 * Returns the size for a resolution, in MiB: two frames of four bytes a pixel and 10 MiB for the rest (`needed`), up to a
 * power of two (`mib`). Throws a UserError with code `usage`. Source: Looking Glass, "Determining memory".
 */
export function framesSize(
  option: string,
  text: string,
): { width: number; height: number; needed: number; mib: number } {
  const [width, height] = (/^(\d{3,5})x(\d{3,5})$/.exec(text) ?? []).slice(1).map(Number)
  if (width === undefined || height === undefined) throw requestUsageError(`--${option} ${text}: write 2560x1440`)
  const needed = (width * height * 4 * 2) / 1024 / 1024 + 10
  return { width, height, needed, mib: 2 ** Math.ceil(Math.log2(needed)) }
}

export const lookingGlass: GuestDevice<object, DecidedFrames> = {
  options: [valueOption('looking-glass', 'WxH', 'shared memory for Looking Glass at this resolution')],
  decide(given, { hypervisor }, { reasons }) {
    const text = given.value('looking-glass')
    if (text === undefined) return { frames: null }
    const { width, height, needed, mib } = framesSize('looking-glass', text)
    const device = hypervisor.kvmfr ? 'kvmfr' : 'shm'
    reasons.push(
      `Looking Glass: ${width}×${height}×4×2 bytes and 10 MiB are ${needed.toFixed(1)} MiB, so ${mib} MiB, in ${device === 'kvmfr' ? `${KVMFR}, which is there` : `shared memory: ${KVMFR} is not there`}`,
    )
    return { frames: { mib, device } }
  },
  warnings({ files, reader, running }, given) {
    const text = given.value('looking-glass')
    if (text === undefined) return []
    const { mib } = framesSize('looking-glass', text)
    const own = files.access(KVMFR)
    const options = configLines(readDropIns(files, dropInFolders('modprobe.d'), /\.conf$/)).flatMap(
      ({ path, line, text: said }) => {
        const size = Number(/^options\s+kvmfr\s.*\bstatic_size_mb=(\d+)/.exec(said)?.[1] ?? mib)
        return size === mib
          ? []
          : [
              `${path}:${line}: kvmfr has ${size} MiB, and the guest asks for ${mib}: tune-host --looking-glass ${text} sets both`,
            ]
      },
    )
    return [
      ...(running && own !== undefined && reader.text('/sys/module/kvmfr/refcnt') === undefined
        ? [
            `${KVMFR}: the module kvmfr is not loaded, so that this is a file which QEMU made: rm ${KVMFR}, then modprobe kvmfr`,
          ]
        : []),
      ...(own === undefined ? [] : options),
    ]
  },
  xml: ({ frames }) =>
    frames?.device === 'shm'
      ? [
          xmlElement(
            'shmem',
            { name: 'looking-glass' },
            xmlElement('model', { type: 'ivshmem-plain' }),
            xmlElement('size', { unit: 'M' }, String(frames.mib)),
          ),
        ]
      : [],
  match: { shmem: ['@name'] },
  passedOn({ frames }, versions) {
    if (frames?.device !== 'kvmfr') return []
    if (supports(versions, JSON_SINCE)) {
      const backend = { 'qom-type': 'memory-backend-file', id: 'looking-glass', 'mem-path': KVMFR }
      return [
        ...['-device', JSON.stringify({ driver: 'ivshmem-plain', id: 'shmem0', memdev: 'looking-glass' })],
        ...['-object', JSON.stringify({ ...backend, size: frames.mib * 1024 ** 2, share: true })],
      ]
    }
    const memory = `memory-backend-file,id=looking-glass,mem-path=${KVMFR},size=${frames.mib}M,share=on`
    return ['-device', 'ivshmem-plain,id=shmem0,memdev=looking-glass', '-object', memory]
  },
  proxmox({ frames }, { notes }) {
    if (frames === null) return []
    notes.push('Proxmox calls the shared memory /dev/shm/pve-shm-looking-glass: tell the client so, with -f')
    return [{ name: 'ivshmem', when: 'asked', value: `size=${frames.mib},name=looking-glass` }]
  },
  qemu({ frames }) {
    if (frames === null) return []
    const path = frames.device === 'kvmfr' ? KVMFR : SHARED_FRAMES
    return [
      ['-object', `memory-backend-file,id=frames,share=on,size=${frames.mib}M,mem-path=${path}`],
      ['-device', 'ivshmem-plain,memdev=frames'],
    ]
  },
}
