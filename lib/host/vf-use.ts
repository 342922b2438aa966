import type { PciDevice } from './pci.ts'
import type { Reader } from './reader.ts'
import type { Unreadable } from './readings.ts'
import { readDeviceUsage } from './usage.ts'

/**
 * Returns who uses virtual functions that are to go or to be given away: processes with an open node (a guest has that of VFIO), interfaces
 * that are up or in another network namespace, drives in use. The kernel protects none of them: it takes an interface
 * away, and waits for ever for VFIO. Source: pci_disable_sriov() of drivers/pci/iov.c, vfio_pci_core_unregister_device().
 */
export function functionsInUse(
  machine: Reader,
  files: Reader,
  functions: readonly PciDevice[],
): { uses: { address: string; by: string }[]; unreadable: Unreadable[] } {
  if (functions.length === 0) return { uses: [], unreadable: [] }
  const { open, network, storage, mdevs } = readDeviceUsage(machine, files, functions)
  const hidden = functions.filter(
    ({ address, driver, class: { id }, path }) =>
      id.startsWith('02') &&
      driver !== null &&
      !/vfio|stub/.test(driver) &&
      !network.interfaces.some((one) => one.address === address) &&
      machine.list(`${path}/net`)?.length === 0,
  )
  return {
    uses: [
      ...open.nodes.map(({ node, address, processes }) => {
        const holders = processes.map(({ pid, name }) => `${name}[${pid}]`).join(', ')
        return { address, by: `${node} is open in ${holders}` }
      }),
      ...network.interfaces.filter(({ up }) => up).map(({ address, name }) => ({ address, by: `${name} is up` })),
      ...hidden.map(({ address }) => ({ address, by: 'its interface is in another network namespace (a container)' })),
      ...storage.disks
        .filter(({ volume }) => volume.mounts.length > 0 || volume.swap || volume.volumesOnTop.length > 0)
        .map(({ address, volume }) => ({ address, by: `${volume.node} is in use` })),
      ...mdevs.map(({ address, name }) => ({ address, by: `mediated device ${name}` })),
    ],
    unreadable: [...open.unseen, ...network.unseen, ...storage.unseen],
  }
}
