import { supportsElseNote } from '../../core/versions.ts'
import { findProgram } from '../../host/find-program.ts'
import type { Arguments } from '../../terminal/options.ts'
import { flagOption } from '../guest-arguments.ts'
import { xmlElement } from '../libvirt/xml-element.ts'
import { decideStorage } from '../proxmox/vm-target.ts'
import { STATE_DIR } from '../qemu/qemu-words.ts'
import type { GuestDevice } from './guest-device.ts'

// A TPM 2.0, emulated by swtpm. Source: https://qemu.readthedocs.io/en/latest/specs/tpm.html

const SINCE = { libvirt: '4.5.0', qemu: '2.12.0' }

const isWanted = (given: Arguments, preset = given.value('guest')): boolean =>
  given.flag('tpm') || preset === 'windows11'

export const tpmDevice: GuestDevice<object, { tpm: boolean }> = {
  options: [flagOption('tpm', 'a TPM 2.0 (windows11 has one)')],
  decide: (given, { preset, versions }, remarks) => ({
    tpm: isWanted(given, preset) && supportsElseNote(versions, SINCE, 'the TPM', remarks),
  }),
  warnings: ({ files, running }, given) =>
    running && isWanted(given) && findProgram(files, 'swtpm') === undefined
      ? ['swtpm is not installed, and the guest has a TPM']
      : [],
  xml: ({ tpm }) =>
    tpm ? [xmlElement('tpm', { model: 'tpm-crb' }, xmlElement('backend', { type: 'emulator', version: '2.0' }))] : [],
  match: { tpm: [] },
  proxmox: ({ tpm }, target) =>
    tpm && target.present?.has('tpmstate0') !== true
      ? [{ name: 'tpmstate0', when: 'missing', value: `${decideStorage(target)}:1,version=v2.0` }]
      : [],
  qemu: ({ tpm }) =>
    tpm
      ? [
          ['-chardev', `socket,id=tpm,path=${STATE_DIR}/tpm.sock`],
          ['-tpmdev', 'emulator,id=tpm0,chardev=tpm'],
          ['-device', 'tpm-crb,tpmdev=tpm0'],
        ]
      : [],
  start: ({ tpm }) =>
    tpm
      ? 'mkdir -p "$dir/tpm"\n' +
        'swtpm socket --daemon --tpm2 --terminate --tpmstate dir="$dir/tpm" --ctrl type=unixio,path="$dir/tpm.sock"\n'
      : '',
}
