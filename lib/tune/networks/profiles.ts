import { globPattern } from '../../core/glob.ts'
import { dropInPaths } from '../../host/drop-ins.ts'
import type { Reader } from '../../host/reader.ts'
import { configText, type IniSections, lastValue, parseSections, sectionValues, unmovable } from './network-config.ts'

// NetworkManager's profiles, and the devices it leaves alone. Source: nm-settings-keyfile(5), NetworkManager.conf(5).

export const PROFILES = '/etc/NetworkManager/system-connections'
/** The folders of profiles; an earlier one hides profiles of the same UUID in later ones. */
const FOLDERS = [PROFILES, '/run/NetworkManager/system-connections', '/usr/lib/NetworkManager/system-connections']
const SCRIPTS = '/etc/sysconfig/network-scripts'
const CONFIGS = ['/etc', '/run', '/usr/lib'].map((folder) => `${folder}/NetworkManager/conf.d`)

export interface Profile {
  path: string
  sections: IniSections
}

interface ProfileCard {
  name: string
  mac: string | undefined
  /** The UUID of the profile that is active on it now. */
  active: string | undefined
}

/**
 * Finds the one profile that the card gets at boot; `undefined`: there is no file, and NetworkManager makes a profile
 * that requests addresses. Throws a UserError, code `unknown-system`, if it is not certain, with all that it may be.
 */
export function findBootProfile(files: Reader, card: ProfileCard): Profile | undefined {
  const script = scriptOf(files, card)
  if (script !== undefined)
    throw unmovable(
      `${script}: sets ${card.name} up in the format of initscripts; turn it into a keyfile first (nmcli connection migrate)`,
    )
  const fitting = readProfiles(files).filter((one) => isEthernet(one) && profileFits(one, card) !== false)
  const named = (some: readonly Profile[]): string => some.map(({ path }) => path).join(', ')
  const starting = fitting.filter(
    ({ sections }) => !/^(false|no|0)$/.test(lastValue(sections, 'connection', 'autoconnect')),
  )
  if (starting.length === 0 && fitting.length > 0)
    throw unmovable(`${named(fitting)}: may set ${card.name} up, but not by itself at boot (autoconnect=false)`)
  if (starting.length === 0 && isInDeviceList(configuredValue(files, 'main', 'no-auto-default'), card) !== false)
    throw unmovable(`${card.name}: has no profile, and no-auto-default in NetworkManager.conf keeps it without one`)
  const priority = ({ sections }: Profile): number =>
    Number(lastValue(sections, 'connection', 'autoconnect-priority') || 0)
  const most = Math.max(...starting.map(priority))
  const best = starting.filter((one) => priority(one) === most)
  const active = best.filter(({ sections }) => card.active && lastValue(sections, 'connection', 'uuid') === card.active)
  const [found, ...more] = active.length === 1 ? active : best
  if (more.length > 0)
    throw unmovable(
      `${named(best)}: each may be the one that sets ${card.name} up; give one interface-name=${card.name} and autoconnect-priority=1, or take the others away`,
    )
  if (found !== undefined && profileFits(found, card) !== true)
    throw unmovable(`${found.path}: may set ${card.name} up or not; give it interface-name=${card.name}`)
  if (most >= 999) throw unmovable(`${found?.path}: has the highest autoconnect-priority there is; lower it (998)`)
  return found
}

/** Returns the person's profile for an interface of this name. */
export function profileNamed(files: Reader, name: string): string | undefined {
  return readProfiles(files).find(({ sections }) => lastValue(sections, 'connection', 'interface-name') === name)?.path
}

/** Does NetworkManager set the card up? Throws a UserError, `unknown-system`, if its configuration leaves it open. */
export function isManaged(files: Reader, card: ProfileCard): boolean {
  const unmanaged = isInDeviceList(configuredValue(files, 'keyfile', 'unmanaged-devices'), card)
  const devices = configSections(files).filter(({ name }) => /^device\b/.test(name))
  const off = devices.map((section) => {
    const value = (key: string): string => lastValue([section], section.name, key)
    if (!/^(0|no|false)$/.test(value('managed'))) return false
    return value('match-device') === '' ? true : isInDeviceList(value('match-device'), card)
  })
  if (unmanaged === true || off.includes(true)) return false
  if (unmanaged === undefined || off.includes(undefined))
    throw unmovable(`NetworkManager.conf: may leave ${card.name} alone or not; name it there by interface-name:`)
  return true
}

function isEthernet({ sections }: Profile): boolean {
  return /^(ethernet|802-3-ethernet)$/.test(lastValue(sections, 'connection', 'type'))
}

/** Reads the profiles. Throws a UserError, code `unreadable`, if only root may read one: the plan would be another. */
function readProfiles(files: Reader): Profile[] {
  const seen = new Set<string>()
  return FOLDERS.flatMap((folder) =>
    (files.list(folder) ?? []).flatMap((name): Profile[] => {
      const ours = name.startsWith('vfio-scripts-')
      const read =
        folder === PROFILES
          ? !/^\.|~$|\.(bak|orig|rej|rpmnew|rpmsave|swp|tmp)$/.test(name)
          : /\.nmconnection$/.test(name)
      if (ours || !read) return []
      const path = `${folder}/${name}`
      const bytes = files.bytes(path)
      if (bytes === undefined && files.denied.has(path))
        throw unmovable(`${path}: only root may read it; run this as root to see the plan`)
      const sections = parseSections(bytes?.toString('latin1') ?? '')
      const uuid = lastValue(sections, 'connection', 'uuid')
      if (seen.has(uuid)) return []
      if (uuid !== '') seen.add(uuid)
      return [{ path, sections }]
    }),
  )
}

function profileFits({ sections }: Profile, { name, mac }: ProfileCard): boolean | undefined {
  const own = lastValue(sections, 'connection', 'interface-name')
  if (own !== '' && own !== name) return false
  const address = (key: string): string[] =>
    ['ethernet', '802-3-ethernet']
      .flatMap((one) => sectionValues(sections, one, key))
      .flatMap((one) => one.toLowerCase().split(/[;,\s]+/))
  const [required = ''] = address('mac-address')
  if (required !== '' && mac !== undefined && required !== mac) return false
  if (mac !== undefined && [...address('mac-address-blacklist'), ...address('mac-address-denylist')].includes(mac))
    return false
  const match = sections.filter((one) => one.name === 'match').flatMap(({ lines }) => lines)
  return match.length > 0 || (required !== '' && mac === undefined && own !== name) ? undefined : true
}

/** Returns the card's file of initscripts, which NetworkManager of Fedora and its kin also reads. */
function scriptOf(files: Reader, { name, mac }: ProfileCard): string | undefined {
  return (files.list(SCRIPTS) ?? [])
    .filter((one) => /^ifcfg-/.test(one) && one !== 'ifcfg-lo' && !/~$|\.(bak|orig|rej|rpmnew|rpmsave)$/.test(one))
    .map((one) => `${SCRIPTS}/${one}`)
    .find((path) => {
      const text = configText(files, path)
      const value = (key: string): string => new RegExp(`^\\s*${key}=["']?([^"'\\s]*)`, 'm').exec(text)?.[1] ?? ''
      if (/^(wireless|wifi|vpn)$/i.test(value('TYPE'))) return false
      const [device, address] = [value('DEVICE'), value('HWADDR').toLowerCase()]
      if (device !== '') return device === name
      return address === '' || mac === undefined || address === mac
    })
}

/** Reads the main file first; later ones win. Where netplan writes for NetworkManager, it disables one at boot. */
function configSections(files: Reader): IniSections {
  const undone = netplanUsesThis(files) ? '/usr/lib/NetworkManager/conf.d/10-globally-managed-devices.conf' : ''
  const below = dropInPaths(files, CONFIGS, /\.conf$/).filter((path) => path !== undone)
  return ['/etc/NetworkManager/NetworkManager.conf', ...below].flatMap((path) => parseSections(configText(files, path)))
}

function netplanUsesThis(files: Reader): boolean {
  const names = (files.list('/etc/netplan') ?? []).filter((name) => name.endsWith('.yaml'))
  return names.some((name) => /^\s*renderer:\s*["']?NetworkManager\b/m.test(configText(files, `/etc/netplan/${name}`)))
}

function configuredValue(files: Reader, section: string, key: string): string {
  const sections = configSections(files)
  const added = sectionValues(sections, section, `${key}+`)
  return [lastValue(sections, section, key), ...added].filter(Boolean).join(';')
}

/** Is the card in a list of device specifications, where `except:` wins? `undefined`: it cannot be told. */
function isInDeviceList(list: string, card: ProfileCard): boolean | undefined {
  const specs = list
    .split(/[;,]/)
    .map((one) => one.trim())
    .filter(Boolean)
  const not = specs.filter((one) => one.startsWith('except:')).map((one) => isSpec(one.slice(7), card))
  const some = specs.filter((one) => !one.startsWith('except:')).map((one) => isSpec(one, card))
  if (not.includes(true) || specs.length === 0) return false
  const any = some.length === 0 || some.includes(true)
  if (any && !not.includes(undefined)) return true
  return any || some.includes(undefined) ? undefined : false
}

function isSpec(spec: string, { name, mac }: ProfileCard): boolean | undefined {
  if (spec === '*' || spec === name || spec === 'type:ethernet') return true
  const [, kind = '', value = ''] = /^([\w-]+):(.*)$/.exec(spec) ?? []
  if (kind === 'type') return false
  if (kind === 'interface-name') {
    if (value.startsWith('=')) return value.slice(1) === name
    return /[[\]]/.test(value) ? undefined : globPattern(value.replace(/^~/, '')).test(name)
  }
  const address = kind === 'mac' ? value : spec
  if (/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(address))
    return mac === undefined ? undefined : address.toLowerCase() === mac
  return kind === '' ? false : undefined
}
