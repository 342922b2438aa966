import { describe, expect, it } from 'vitest'
import { bind } from '../support/bind.ts'
import { answer, check } from '../support/checking.ts'
import { kernelConfig, systemDir } from '../support/system.ts'

const card = '02:00'
const release = '6.6.30-gentoo'

/** A Gentoo whose kernel has nouveau built in. */
function gentoo(initramfs: boolean): string {
  const generator = initramfs ? ({ generator: 'initramfs-tools' } as const) : {}
  const images = initramfs ? { [`boot/initrd.img-${release}`]: 'initramfs' } : {}
  const files = { [`boot/config-${release}`]: kernelConfig({ DRM_NOUVEAU: 'y' }, release), ...images }
  return systemDir({ machine: 'i9-14900k-vmd', family: 'gentoo', kernels: [release], ...generator, files })
}

describe('kernel-config, which bind-vfio --kernel-config and check-host --device both tell', () => {
  it.each([
    ['an initramfs binds a card by its address', true, 'useful'],
    ['nothing does', false, 'required'],
  ])('a driver that is built in, where %s', (_, initramfs, need) => {
    const dir = gentoo(initramfs)
    const { kernels } = JSON.parse(bind(dir, card, '--kernel-config', '--json').stdout)
    expect(kernels[0].hints).toMatchObject([{ symbol: 'CONFIG_DRM_NOUVEAU', need }])
    const { findings } = answer(check(dir, '--device', card, '--json'))
    const summaries = findings.filter(({ code }) => code === 'kernel-config').map(({ summary }) => summary)
    expect(summaries).toEqual(need === 'required' ? ['CONFIG_DRM_NOUVEAU is y, wanted: m or not set'] : [])
  })

  it('what shares a group with the card is looked at by both', () => {
    const dir = gentoo(false)
    for (const named of ['02:00.0', '02:00.1']) {
      expect(bind(dir, named, '--kernel-config').stdout).toContain('CONFIG_DRM_NOUVEAU')
      expect(check(dir, '--device', named).stdout).toContain('CONFIG_DRM_NOUVEAU')
    }
  })
})
