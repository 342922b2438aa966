import { expectSame } from '../expect.ts'
import type { Guest } from '../guest.ts'
import type { Lab } from '../scenario.ts'

/** wiki.archlinux.org, PCI passthrough via OVMF, "Passing through a device that does not support resetting". */
const guide = `for group in $(find /sys/kernel/iommu_groups/ -maxdepth 1 -mindepth 1 -type d | sort -V); do
  echo "IOMMU group $(basename "$group")"
  for device in $(ls -1 "$group"/devices/); do
    if [[ -e "$group"/devices/"$device"/reset ]]; then echo -n "[RESET]"; fi
    echo -n $'\\t'; lspci -nns "$device"
  done
done`

/** check-reset agrees with the [RESET] listing of the guide, byte for byte. */
export async function compareCheckReset(lab: Lab, guest: Guest): Promise<void> {
  await lab.step('check-reset --format guide is the listing of the guide', async () => {
    const listing = await guest.run(guide)
    const ours = await guest.run('check-reset --format guide')
    expectSame('check-reset --format guide', ours.stdout, listing.stdout)
    const able = listing.stdout.match(/^\[RESET\]/gm)?.length ?? 0
    lab.note(`${able} of ${listing.stdout.match(/^(\[RESET\])?\t/gm)?.length} functions can be reset`)
  })
}
