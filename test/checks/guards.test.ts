import { describe, expect, it } from 'vitest'
import { addFiles, addInput, addLinks, addNode, addProcess, folderOf } from '../support/fake/host.ts'
import { device, idle, judge } from '../support/judge.ts'
import type { Machine } from '../support/machine.ts'

const USB = '/devices/pci0000:00/0000:00:14.0/usb1'

describe('a second GPU that nobody uses', () => {
  it('passes every guard, but shares its ID', () => {
    const { problems, found, of } = judge('twin-gpus', ['05:00'], idle)
    expect(problems).toEqual(['shared-id: problem'])
    expect(of('shared-id')).toMatchObject({
      evidence: [
        '0000:01:00.0 (nouveau) is 10de:2504, as is 0000:05:00.0',
        '0000:01:00.1 (snd_hda_intel) is 10de:228e, as is 0000:05:00.1',
      ],
      next: 'override-same-id-gpu binds by address',
    })
    expect(found.map(({ code, forceable }) => (forceable ? code : `${code}!`))).toEqual([
      ...[
        'bridge!',
        'half-group!',
        'virtual-function!',
        'unlock-device!',
        'tpm-unlock',
        'only-gpu',
        'boot-vga',
        'console',
      ],
      ...['in-use', 'storage', 'network', 'ssh', 'last-keyboard', 'partial-card', 'virtual-functions', 'no-answer'],
      ...['reserved-region', 'shared-id', 'interface-up'],
    ])
    expect(found.filter(({ state, next }) => (state === 'problem') !== (next !== null))).toEqual([])
  })
})

describe('GPUs', () => {
  it('only-gpu and boot-vga: all display controllers are chosen', () => {
    const { state } = judge('twin-gpus', ['01:00', '05:00'], idle)
    expect(state('only-gpu')).toEqual([
      'problem',
      [
        '0000:01:00.0 GA106 [GeForce RTX 3060 Lite Hash Rate] is chosen',
        '0000:05:00.0 GA106 [GeForce RTX 3060 Lite Hash Rate] is chosen',
      ],
    ])
    expect(state('boot-vga')).toEqual([
      'problem',
      ['0000:01:00.0 GA106 [GeForce RTX 3060 Lite Hash Rate] is the boot VGA'],
    ])
  })

  it('only-gpu: a GPU that guests have already does not stay', () => {
    const { state } = judge('twin-gpus', ['01:00'], (machine) => {
      idle(machine)
      device(machine, '0000:05:00.0').driver = 'vfio-pci'
    })
    expect(state('only-gpu')).toEqual([
      'problem',
      ['0000:01:00.0 GA106 [GeForce RTX 3060 Lite Hash Rate] is the only one'],
    ])
  })

  it('console: the frame buffer that fbcon draws on', () => {
    const framebuffers = (machine: Machine): void => {
      idle(machine)
      addFiles(machine, {
        '/sys/class/vtconsole/vtcon1/name': '(M) frame buffer device\n',
        '/sys/class/vtconsole/vtcon1/bind': '1\n',
      })
      for (const [name, address] of [
        ['fb0', '0000:05:00.0'],
        ['fb1', '0000:01:00.0'],
      ] as const) {
        const path = `${folderOf(machine, address)}/graphics/${name}`
        addFiles(machine, { [`${path}/dev`]: '29:0\n' })
        addLinks(machine, { [`/sys/class/graphics/${name}`]: path })
      }
    }
    expect(judge('twin-gpus', ['05:00'], framebuffers).state('console')).toEqual([
      'problem',
      ['0000:05:00.0 → /dev/fb0 carries the text console'],
    ])
    expect(judge('twin-gpus', ['01:00'], framebuffers).state('console')).toEqual(['ok', []])
    const mapped = judge('twin-gpus', ['01:00'], (machine) => {
      framebuffers(machine)
      machine.cmdline += ' fbcon=map:1'
    })
    expect(mapped.state('console')[0]).toBe('problem')
  })

  it("console: the firmware's frame buffer is the boot VGA's", () => {
    const efifb = (machine: Machine): void => {
      idle(machine)
      addFiles(machine, {
        '/sys/class/vtconsole/vtcon1/name': '(M) frame buffer device\n',
        '/sys/class/vtconsole/vtcon1/bind': '1\n',
        '/sys/devices/platform/efi-framebuffer.0/graphics/fb0/dev': '29:0\n',
      })
      addLinks(machine, { '/sys/class/graphics/fb0': '/sys/devices/platform/efi-framebuffer.0/graphics/fb0' })
    }
    expect(judge('twin-gpus', ['01:00'], efifb).state('console')).toEqual([
      'problem',
      ["0000:01:00.0 → the firmware's frame buffer (efi-framebuffer.0) carries the text console"],
    ])
    expect(judge('twin-gpus', ['05:00'], efifb).problems).toEqual(['shared-id: problem'])
  })

  it('in-use: who has its nodes open', () => {
    const { state } = judge('twin-gpus', ['05:00'], (machine) => {
      idle(machine)
      addNode(machine, '0000:05:00.0', '226:1', 'dri/card1', 'drm/card1')
      addNode(machine, '0000:01:00.0', '226:0', 'dri/card0', 'drm/card0')
      addNode(machine, '0000:05:00.1', '116:7', 'snd/controlC1', 'sound/card1/controlC1')
      addProcess(machine, 812, 'Xorg', ['/dev/dri/card1', '/dev/dri/card0', 'socket:[5]', '/dev/dri/card1'])
      addProcess(machine, 1544, 'wireplumber', ['anon_inode:[eventpoll]', '/dev/snd/controlC1'])
    })
    expect(state('in-use')).toEqual([
      'problem',
      [
        '0000:05:00.1 → /dev/snd/controlC1 is open in wireplumber[1544]',
        '0000:05:00.0 → /dev/dri/card1 is open in Xorg[812]',
      ],
    ])
  })

  it("in-use: NVIDIA's own nodes, by minor number", () => {
    const nvidia = (machine: Machine): void => {
      idle(machine)
      for (const [minor, address] of ['0000:01:00.0', '0000:05:00.0'].entries()) {
        device(machine, address).driver = 'nvidia'
        addFiles(machine, {
          [`/proc/driver/nvidia/gpus/${address}/information`]: `Model: \t RTX\nDevice Minor: \t ${minor}\n`,
        })
      }
    }
    const busy = judge('twin-gpus', ['05:00'], (machine) => {
      nvidia(machine)
      addProcess(machine, 900, 'python3', ['/dev/nvidiactl', '/dev/nvidia1'])
    })
    expect(busy.state('in-use')).toEqual([
      'problem',
      ['0000:05:00.0 → /dev/nvidia1 is open in python3[900]', '0000:05:00.0 → /dev/nvidiactl is open in python3[900]'],
    ])
    const other = judge('twin-gpus', ['05:00'], (machine) => {
      nvidia(machine)
      addProcess(machine, 900, 'python3', ['/dev/nvidia0'])
    })
    expect(other.state('in-use')).toEqual(['ok', []])
  })

  it('in-use: a guest that runs', () => {
    const { state } = judge('twin-gpus', ['05:00'], (machine) => {
      idle(machine)
      device(machine, '0000:05:00.0').driver = 'vfio-pci'
      addLinks(machine, { '/sys/dev/char/511:0': '../../devices/virtual/vfio/12' })
      addProcess(machine, 4711, 'qemu-system-x86', ['/dev/vfio/vfio', '/dev/vfio/12'])
    })
    expect(state('in-use')[1]).toEqual([
      '0000:05:00.0 → /dev/vfio/12 is open in qemu-system-x86[4711]',
      '0000:05:00.1 → /dev/vfio/12 is open in qemu-system-x86[4711]',
    ])
  })

  it('partial-card: in a group of its own, a function can be forgotten', () => {
    const apart = (machine: Machine): void => {
      idle(machine)
      device(machine, '0000:05:00.1').group = 13
    }
    expect(judge('twin-gpus', ['05:00.0'], apart).of('partial-card')).toMatchObject({
      state: 'problem',
      evidence: ['0000:05:00.1 GA106 High Definition Audio Controller is not chosen'],
      next: 'name the slot to take all functions: 0000:05:00',
    })
    expect(judge('twin-gpus', ['05:00'], apart).state('partial-card')).toEqual(['ok', []])
  })

  it('partial-card: functions of the chipset are no card', () => {
    const { state } = judge('twin-gpus', ['00:14.0'], (machine) => {
      idle(machine)
      device(machine, '0000:00:14.2').group = 99
    })
    expect(state('partial-card')).toEqual(['ok', []])
  })
})

describe('groups', () => {
  it('bridge: named itself, never', () => {
    const { of } = judge('twin-gpus', ['00:1d.0'], idle)
    expect(of('bridge')).toMatchObject({ state: 'problem', forceable: false })
    expect(of('bridge').evidence).toEqual([expect.stringMatching(/^0000:00:1d\.0 is a bridge \(class 0604\)/)])
  })

  it('half-group: a member that is no PCI device, and a bridge with a driver of its own', () => {
    const { of } = judge('twin-gpus', ['05:00'], (machine) => {
      idle(machine)
      addFiles(machine, { '/sys/devices/platform/thing.0/uevent': '' })
      addLinks(machine, { '/sys/kernel/iommu_groups/12/devices/thing.0': '/sys/devices/platform/thing.0' })
    })
    expect(of('half-group')).toMatchObject({
      state: 'problem',
      forceable: false,
      evidence: ['group 12: thing.0 (no PCI device) cannot go along'],
    })
    const isa = judge('twin-gpus', ['00:1f.3'], (machine) => {
      idle(machine)
      device(machine, '0000:00:1f.0').driver = 'lpc_ich'
    })
    expect(isa.state('half-group')).toEqual(['problem', ['group 7: 0000:00:1f.0 is a bridge and stays with lpc_ich']])
    expect(judge('twin-gpus', ['00:1f.3'], idle).state('half-group')).toEqual(['ok', []])
  })

  it('virtual-functions: of a network card, and the vGPUs of a virtual function', () => {
    const { state } = judge('sriov-nic', ['3b:00.0'], idle)
    expect(state('virtual-functions')[0]).toBe('problem')
    expect(state('virtual-functions')[1]?.[0]).toMatch(/^0000:3b:00\.0 → virtual function 0000:3b:02\.\d/)
    const vgpu = judge('sriov-nic', ['af:00.4'], idle)
    expect(vgpu.state('virtual-functions')[1]).toEqual([
      '0000:af:00.4 → mediated device 5f1c8a2e-3b7d-4c60-9e41-0a6d2f8b7c11',
    ])
    expect(judge('sriov-nic', ['af:00.6'], idle).state('virtual-functions')).toEqual(['ok', []])
  })
})

describe('keyboards', () => {
  const keyboard = (machine: Machine): void => {
    idle(machine)
    addInput(machine, 'Power Button', '/devices/LNXSYSTM:00/LNXPWRBN:00/input/input0', '10000000000000 0')
    addInput(machine, 'keyd virtual keyboard', '/devices/virtual/input/input9')
    addInput(machine, 'Dell KB216', `${USB}/1-7/1-7:1.0/0003:413C:2113.0001/input/input3`)
  }

  it('last-keyboard: its controller', () => {
    expect(judge('twin-gpus', ['00:14.0'], keyboard).state('last-keyboard')).toEqual([
      'problem',
      ['0000:00:14.0 → Dell KB216'],
    ])
  })

  it('last-keyboard: a PS/2 keyboard stays', () => {
    const { state } = judge('twin-gpus', ['00:14.0'], (machine) => {
      keyboard(machine)
      addInput(machine, 'AT keyboard', '/devices/platform/i8042/serio0/input/input1')
    })
    expect(state('last-keyboard')).toEqual(['ok', ['AT keyboard stays']])
  })

  it('last-keyboard: a tree without /proc/bus/input does not say', () => {
    expect(judge('twin-gpus', ['00:14.0'], idle).state('last-keyboard')).toEqual([
      'unknown',
      ['not seen: the keyboards (/proc/bus/input/devices)'],
    ])
  })
})
