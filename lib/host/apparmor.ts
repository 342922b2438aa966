import type { Reader } from './reader.ts'

const RULES = '/etc/apparmor.d/abstractions/libvirt-qemu'

/**
 * Does AppArmor keep this file from a QEMU that libvirt starts? libvirt has AppArmor allow a guest's disks, but not the
 * ROMs of its cards. `files` is the system, `reader` the machine.
 * Source: libvirt, src/security/virt-aa-helper.c; apparmor.d(5).
 */
export function hiddenFromQemu(files: Reader, reader: Reader, path: string): boolean {
  const text = files.optionalText(RULES)
  if (text === undefined || reader.text('/sys/module/apparmor/parameters/enabled')?.trim() === 'N') return false
  const added = (files.list(`${RULES}.d`) ?? []).map((name) => `${RULES}.d/${name}`)
  const more = [...added, '/etc/apparmor.d/local/abstractions/libvirt-qemu'].map((each) => files.optionalText(each))
  const rules = [text, ...more].join('\n').split('\n')
  const allows = (words: string): boolean => rules.some((rule) => rule.trim().replaceAll('"', '').startsWith(words))
  const folders = path.split('/').map((_, index, parts) => parts.slice(0, index).join('/'))
  return !allows(`${path} r`) && !folders.some((folder) => folder !== '' && allows(`${folder}/** r`))
}
