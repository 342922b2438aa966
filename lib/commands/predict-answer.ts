import { runFilter } from '../change/run.ts'
import { readBootImage } from '../host/boot-image.ts'
import { readPciFacts } from '../host/machine.ts'
import type { Reader } from '../host/reader.ts'
import type { ReadImage } from '../predict/entry-boots.ts'
import type { Prediction } from '../predict/predict.ts'
import { readHost, readSystemFacts } from '../system/read-system.ts'
import type { Adapters } from '../system/system.ts'
import { withProgress } from '../terminal/progress.ts'
import { paint } from '../terminal/text.ts'
import { answerJson, type BindVfio } from '../views/changes.ts'
import { addressFormatter } from '../views/devices.ts'
import { isOfInterest, predictionsText } from '../views/predictions.ts'
import { requestedDevices } from './answer.ts'
import { requestedAdapters } from './change-options.ts'
import { bootSystem, predictNow } from './predict-boots.ts'
import type { Answer, Context } from './run-script.ts'

/** Returns a function that looks into the images of a system. */
export function imageReader(files: Reader): ReadImage {
  return (path) => withProgress(`reading ${path}`, () => readBootImage(files, path, runFilter))
}

/** Answers bind-vfio --predict: who has each device, or those named, after a boot by each entry, and by which line. */
export async function answerPredict(context: Context, adapters: Adapters): Promise<Answer> {
  const { machine, warn, script, arguments: given } = context
  const pci = readPciFacts(machine, warn)
  const requested = requestedDevices(pci, given).map(({ address }) => address)
  const facts = readSystemFacts(readHost(machine), adapters, requestedAdapters(given))
  const boots = await predictNow(bootSystem(facts, pci, adapters), pci, imageReader(facts.host.files))
  const none = { changes: [], settings: [], notes: [], rebootNeeded: false }
  const json: BindVfio = { ...answerJson(script, 'predict', none, [], []), boots }
  const shows = (device: Prediction): boolean =>
    requested.length > 0 ? requested.includes(device.address) : given.flag('verbose') || isOfInterest(device)
  return {
    code: 0,
    json,
    text: (style) =>
      `${paint(style, 'bold', `${script.name} --predict`)}: by the files as they are now\n\n${boots.length === 0 ? '  not known: no boot entry was found, and no kernel in /lib/modules\n' : ''}${predictionsText(style, boots, { address: addressFormatter(pci.devices, false), shows, causes: true })}`,
  }
}
