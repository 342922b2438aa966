import { expectCode } from '../expect.ts'
import { intel } from '../machines.ts'
import type { Scenario } from '../scenario.ts'

const timed = ['node -e 0', 'list-iommu', 'list-iommu --json', 'check-reset']

/** The best of three in the guest, in milliseconds of its clock. */
const measure = `best() {
  local least=999999 began taken
  for _ in 1 2 3; do
    began=$(date +%s%N); "$@" >/dev/null; taken=$(( ($(date +%s%N) - began) / 1000000 ))
    [ $taken -lt $least ] && least=$taken
  done
  echo $least "$@"
}
${timed.map((command) => `best ${command}`).join('\n')}`

export const startUp: Scenario = {
  name: 'start-up',
  slow: true,
  about: 'what the scripts cost in the guest, beside a bare node',
  async run(lab) {
    const guest = await lab.start(intel)
    const result = await lab.step('best of three', () => guest.run(measure, { seconds: 240 }))
    expectCode('the measurement', result, 0)
    const times = result.stdout.trim().split('\n').map(Number.parseFloat)
    const bare = times[0] ?? 1
    timed.forEach((command, index) => {
      lab.note(`${String(times[index]).padStart(6)} ms  ${((times[index] ?? 0) / bare).toFixed(2)} × node  ${command}`)
    })
  },
}
