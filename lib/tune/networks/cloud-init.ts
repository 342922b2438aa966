import type { Setting } from '../../change/settings.ts'
import type { Reader } from '../../host/reader.ts'
import { configText, ownFile } from './network-config.ts'

const CONFIG = '/etc/cloud/cloud.cfg'
const FOLDER = `${CONFIG}.d`
const DISABLED = /^\s*network:\s*(\{\s*|\n\s+)["']?config["']?:\s*["']?disabled\b/m

/**
 * cloud-init writes its network file anew, with the card's addresses, when it sees a new instance or is told to: they
 * would stand on the card and on the bridge. `undefined`: this file is not its, or it does not write any.
 * Source: cloud-init, "Network configuration", "Disabling network configuration".
 */
export function withoutCloudInit(files: Reader, path: string, reason: string): Setting | undefined {
  const made =
    /cloud-init/.test(path) || /^\s*[#;].*(cloud-init|provided by the datasource)/im.test(configText(files, path))
  if (!made || !files.exists(CONFIG) || files.exists('/etc/cloud/cloud-init.disabled')) return undefined
  const names = (files.list(FOLDER) ?? []).filter((name) => name.endsWith('.cfg'))
  const paths = [CONFIG, ...names.map((name) => `${FOLDER}/${name}`)]
  if (paths.some((one) => DISABLED.test(configText(files, one)))) return undefined
  return ownFile(
    files,
    `${FOLDER}/99-vfio-scripts.cfg`,
    'network: {config: disabled}\n',
    `${reason}; cloud-init would write ${path} anew, with the card's addresses`,
  )
}
