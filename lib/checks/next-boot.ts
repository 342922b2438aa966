import { boundFunctions } from '../bind/claimed-requirements.ts'
import { claimsOf } from '../change/journal.ts'
import { type CheckResult, okResult, problemResult, unknownResult } from '../core/finding.ts'
import { isVfio } from '../host/pci.ts'
import { changesHands, type PredictedBoot, predictionLine, usualBoot } from '../predict/predicted-boot.ts'
import type { AsyncCheck } from './check.ts'
import type { CheckFacts } from './check-facts.ts'

/** Would a reboot change who has which device, and is there anything in files that no image or entry holds yet? */
export const nextBootCheck: AsyncCheck<Pick<CheckFacts, 'foreseen' | 'journal' | 'bootloader' | 'initramfs'>> = {
  code: 'next-boot',
  askedBy: ['host'],
  async run({ foreseen, journal, bootloader, initramfs }) {
    const boots = await foreseen()
    const boot = usualBoot(boots.now)
    if (boot === undefined || boot.devices === null)
      return unknownResult('Who has each device after a reboot is not known', boot?.reason ? [boot.reason] : [])
    const claimed = new Set(boundFunctions(claimsOf(journal)).map(({ address }) => address))
    const changed = boot.devices.filter(changesHands)
    const open = boot.devices.filter(({ certainty, or }) => certainty === 'undecided' && or.some(isVfio))
    const results: CheckResult[] = []
    // What a guest has now, or was bound at once, goes back to the host as it should.
    const surprising = changed.filter(({ address, driver }) => isVfio(driver) && !claimed.has(address))
    if (surprising.length > 0)
      results.push(
        problemResult(
          `A reboot now would change who has ${countOf(surprising.length)}`,
          surprising.map(predictionLine),
          'reboot if that is what you want; else take these lines out. bind-vfio --predict shows all of it',
        ),
      )
    else if (changed.length > 0)
      results.push(okResult('The next boot changes who has some devices', changed.map(predictionLine)))
    if (open.length > 0)
      results.push(unknownResult('Not known who has some devices after a reboot', open.map(predictionLine)))
    const commands = [...(initramfs.adapter?.commands() ?? []), ...(bootloader.adapter?.commands() ?? [])]
    const unmade = notMade(boot, usualBoot(boots.made))
    if (unmade.length > 0)
      results.push(
        problemResult(
          'Files say what no image or boot entry holds yet',
          unmade,
          commands.map(({ argv }) => argv.join(' ')).join(' && ') || null,
        ),
      )
    return results.length > 0 ? results : okResult('A reboot now would leave every device where it is')
  },
}

const countOf = (count: number): string => (count === 1 ? 'a device' : `${count} devices`)

/** Returns the devices that would have another holder if images and entries were made of the present files. */
function notMade(boot: PredictedBoot, made: PredictedBoot | undefined): string[] {
  const after = new Map(made?.devices?.map((one) => [one.address, one]))
  return (boot.devices ?? []).flatMap((one) => {
    const next = after.get(one.address)
    const differs =
      next?.certainty === 'certain' && one.certainty === 'certain' && isVfio(next.driver) !== isVfio(one.driver)
    return differs ? [predictionLine(next)] : []
  })
}
