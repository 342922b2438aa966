import { requestUsageError, valueOption } from '../guest-arguments.ts'
import { xmlElement } from '../libvirt/xml-element.ts'
import type { GuestDevice } from './guest-device.ts'

// Shared memory for Looking Glass's frames. Source: https://looking-glass.io/docs (Installation, IVSHMEM)

interface DecidedFrames {
  /** The shared memory of Looking Glass, and the device that holds it; `null`: not asked for. */
  frames: { mib: number; device: 'kvmfr' | 'shm' } | null
}

const KVMFR = '/dev/kvmfr0'

export const lookingGlass: GuestDevice<object, DecidedFrames> = {
  options: [valueOption('looking-glass', 'WxH', 'shared memory for Looking Glass at this resolution')],
  // The size is two frames of four bytes a pixel and 10 MiB for the rest, rounded up to a power of two.
  decide(given, { hypervisor }, { reasons }) {
    const text = given.value('looking-glass')
    if (text === undefined) return { frames: null }
    const [width, height] = (/^(\d{3,5})x(\d{3,5})$/.exec(text) ?? []).slice(1).map(Number)
    if (width === undefined || height === undefined) throw requestUsageError(`--looking-glass ${text}: write 2560x1440`)
    const needed = (width * height * 4 * 2) / 1024 / 1024 + 10
    const mib = 2 ** Math.ceil(Math.log2(needed))
    const device = hypervisor.kvmfr ? 'kvmfr' : 'shm'
    reasons.push(
      `Looking Glass: ${width}×${height}×4×2 bytes and 10 MiB are ${needed.toFixed(1)} MiB, so ${mib} MiB, in ${device === 'kvmfr' ? `${KVMFR}, which is there` : `shared memory: ${KVMFR} is not there`}`,
    )
    return { frames: { mib, device } }
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
  passedOn({ frames }) {
    if (frames?.device !== 'kvmfr') return []
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
    const path = frames.device === 'kvmfr' ? KVMFR : '/dev/shm/looking-glass'
    return [
      ['-object', `memory-backend-file,id=frames,share=on,size=${frames.mib}M,mem-path=${path}`],
      ['-device', 'ivshmem-plain,memdev=frames'],
    ]
  },
}
