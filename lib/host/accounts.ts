import type { Reader } from './reader.ts'

/** The database of users or that of groups. */
export type AccountDatabase = 'passwd' | 'group'

const SWITCH = '/etc/nsswitch.conf'
/** The folder in which each service of nsswitch.conf reads passwd and group; other services have no such files. */
const FILES: Readonly<Record<string, string>> = { files: '/etc', compat: '/etc', altfiles: '/usr/lib' }
const FOLDERS = ['/etc/userdb', '/run/userdb', '/usr/local/lib/userdb', '/usr/lib/userdb']

/**
 * Returns all lines of passwd(5) or group(5), in the order of nsswitch.conf; `undefined` when no such file is there.
 * Images of Fedora keep the lines of their packages in /usr/lib.
 * Source: nsswitch.conf(5); nss-altfiles.
 */
export function accountText(files: Reader, database: AccountDatabase): string | undefined {
  const places = sources(files, database).flatMap((name) => FILES[name] ?? [])
  const texts = [...new Set(places)].flatMap((folder) => files.optionalText(`${folder}/${database}`) ?? [])
  return texts.length === 0 ? undefined : texts.join('\n')
}

/** Does this user or group exist? `null`: no file has it, but another service (a directory service) may. */
export function hasAccount(files: Reader, database: AccountDatabase, name: string): boolean | null {
  const text = accountText(files, database)
  if (text?.split('\n').some((line) => line.startsWith(`${name}:`))) return true
  const record = `${name}.${database === 'passwd' ? 'user' : 'group'}`
  if (FOLDERS.some((folder) => files.exists(`${folder}/${record}`))) return true
  const others = sources(files, database).some((one) => FILES[one] === undefined && one !== 'systemd')
  return text === undefined || others ? null : false
}

/** Is the group only in a file where usermod(8) does not look? */
export function isAltGroup(files: Reader, name: string): boolean {
  const own = files.optionalText('/etc/group') ?? ''
  return !own.split('\n').some((line) => line.startsWith(`${name}:`)) && hasAccount(files, 'group', name) === true
}

function sources(files: Reader, database: AccountDatabase): string[] {
  const text = files.optionalText(SWITCH) ?? ''
  const line = new RegExp(`^\\s*${database}:([^#\\n]*)`, 'm').exec(text)?.[1] ?? 'files'
  return line
    .replace(/\[[^\]]*\]/g, ' ')
    .split(/\s+/)
    .filter(Boolean)
}
