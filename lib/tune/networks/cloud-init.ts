import type { Setting } from '../../change/settings.ts'
import type { Reader } from '../../host/reader.ts'
import { configText, ownFile } from './network-config.ts'

const CONFIG = '/etc/cloud/cloud.cfg'
const FOLDER = `${CONFIG}.d`
const DISABLED = /^\s*network:\s*(\{\s*|\n\s+)["']?config["']?:\s*["']?disabled\b/m

/**
 * Returns the setting that keeps cloud-init from writing its network file anew, for a new instance or on request: the
 * addresses would be on both card and bridge. `undefined`: the file is not cloud-init's, or it writes none.
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
