import { readPciFacts } from '../host/machine.ts'
import { isDisplay, type PciDevice } from '../host/pci.ts'
import type { Adapters } from '../system/system.ts'
import type { Arguments } from '../terminal/options.ts'
import { paint, printable, type TerminalStyle } from '../terminal/text.ts'
import { addressFormatter, deviceName } from '../views/devices.ts'
import { answerBindVfio } from './bind-vfio.ts'
import type { Answer, Context } from './run-script.ts'

/** Answers override-same-id-gpu: without a device, by the list of equal cards; else as bind-vfio does, by address. */
export async function answerOverride(context: Context, adapters: Adapters): Promise<Answer> {
  return requestsAction(context.arguments) ? answerBindVfio(context, adapters, 'address') : listEqualCards(context)
}

/** Is anything asked of devices, rather than which are alike? */
export function requestsAction(given: Arguments): boolean {
  const flags = ['status', 'undo', 'choose', 'confirm', 'kernel-config', 'now', 'apply', 'all']
  return given.operands.length > 0 || flags.some((name) => given.flag(name))
}

/** The value that override-same-id-gpu prints without a device: the devices that only their address tells apart. */
export interface EqualCards {
  schema: string
  action: 'list'
  twins: { id: string; devices: PciDevice[] }[]
}

/** Lists the devices that share an ID, graphics cards first; bridges are left out, for none goes to a guest. */
function listEqualCards({ machine, script, warn }: Context): Answer {
  const { devices } = readPciFacts(machine, warn)
  const byId = new Map<string, PciDevice[]>()
  for (const device of devices) {
    const id = `${device.vendor.id}:${device.device.id}`
    if (!device.bridge) byId.set(id, [...(byId.get(id) ?? []), device])
  }
  const display = ([one]: PciDevice[]): number => (one !== undefined && isDisplay(one) ? 0 : 1)
  const equalCards = [...byId]
    .filter(([, equal]) => equal.length > 1)
    .map(([id, equal]) => ({ id, devices: equal }))
    .sort((one, other) => display(one.devices) - display(other.devices))
  const json: EqualCards = { schema: `vfio-scripts/${script.name}/1`, action: 'list', twins: equalCards }
  const address = addressFormatter(devices, false)
  return {
    code: equalCards.length > 0 ? 0 : 1,
    json,
    text: (style) => equalCardsText(style, json, address, script.name),
  }
}

function equalCardsText(
  style: TerminalStyle,
  { twins: equalCards }: EqualCards,
  address: (text: string) => string,
  script: string,
): string {
  if (equalCards.length === 0) return 'No two devices have the same ID: bind-vfio can tell them all apart.\n'
  const blocks = equalCards.map(({ id, devices }) => {
    const [first] = devices
    const lines = devices.map(({ address: at, driver, bootVga, group }) => {
      const marks = [
        driver ?? 'no driver',
        group === null ? 'no group' : `group ${group}`,
        ...(bootVga ? ['shows the console (boot VGA)'] : []),
      ]
      return `  ${paint(style, 'bold', address(at))}  ${printable(marks.join(', '))}\n`
    })
    return `${id}  ${printable(first === undefined ? '' : deviceName(first))}\n${lines.join('')}`
  })
  return `${blocks.join('')}\nTo give one of them to a guest: ${script} ADDRESS\n`
}
