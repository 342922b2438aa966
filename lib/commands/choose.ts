import { UserError } from '../core/error.ts'
import { readPciFacts } from '../host/machine.ts'
import { cardOf, isDisplay, type PciDevice } from '../host/pci.ts'
import type { Caller } from '../terminal/caller.ts'
import { paint, printable, type TerminalStyle } from '../terminal/text.ts'
import { addressFormatter, deviceName } from '../views/devices.ts'
import type { Answer, Context } from './run-script.ts'

/**
 * Lets a person on a terminal choose a card, see its plan, and confirm. `bind` is called twice: for the plan, and to
 * apply it. Throws a UserError with code `usage` without a terminal, `not-confirmed` for any answer but a yes.
 */
export async function chooseCard(
  context: Context,
  bind: (context: Context, apply: boolean) => Promise<Answer>,
): Promise<Answer> {
  const { terminalStyle, write } = context.caller
  const style = terminalStyle(context.arguments.flag('no-color'), 1)
  if (style.columns === undefined || !process.stdin.isTTY)
    throw new UserError('usage', '--choose needs a terminal; without one, name the device')
  const { devices } = readPciFacts(context.machine, context.warn)
  const cards = [...new Set(devices.filter(({ bridge }) => !bridge).map(cardOf))]
    .map((card) => devices.filter((device) => !device.bridge && cardOf(device) === card))
    .sort((one, other) => Number(other.some(isDisplay)) - Number(one.some(isDisplay)))
  write(1, cards.map((card, index) => cardLine(style, index + 1, card, addressFormatter(devices, false))).join(''))
  const prompt = await openPrompt(write)
  try {
    const answer = await prompt.ask(`Which card is for the guest? [1-${cards.length}] `)
    const card = /^\d+$/.test(answer) ? cards[Number(answer) - 1]?.[0] : undefined
    if (card === undefined)
      throw new UserError('not-confirmed', `${answer || 'nothing'}: no card of that number; nothing was written`)
    const selected = { ...context, arguments: { ...context.arguments, operands: [cardOf(card)] } }
    const plan = await bind(selected, false)
    write(1, `\n${plan.text(style)}`)
    if (plan.code === 0) return { ...plan, text: () => '' }
    if (!/^y(es)?$/i.test(await prompt.ask('Write this? [y/N] ')))
      throw new UserError('not-confirmed', 'nothing was written')
    return await bind(selected, true)
  } finally {
    prompt.close()
  }
}

function cardLine(
  style: TerminalStyle,
  number: number,
  functions: readonly PciDevice[],
  address: (text: string) => string,
): string {
  const [first] = functions
  if (first === undefined) return ''
  const group = first.group === null ? 'no group' : `group ${first.group}`
  const more = functions.length > 1 ? ` and ${functions.length - 1} more` : ''
  const marks = functions.some(({ bootVga }) => bootVga) ? ', boot VGA' : ''
  const what = `${deviceName(first)}${more}, ${group}, ${first.driver ?? 'no driver'}${marks}`
  return `${String(number).padStart(3)}  ${paint(style, 'bold', address(first.address))}  ${printable(what)}\n`
}

/** Opens a prompt that asks one question after another; where the input has ended, the answer is empty. */
async function openPrompt(write: Caller['write']): Promise<{ ask(question: string): Promise<string>; close(): void }> {
  const { createInterface } = await import('node:readline')
  const terminal = createInterface({ input: process.stdin, terminal: false })
  const lines = terminal[Symbol.asyncIterator]()
  return {
    async ask(question) {
      write(1, question)
      const { value } = await lines.next()
      return String(value ?? '').trim()
    },
    close: () => terminal.close(),
  }
}
