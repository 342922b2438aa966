// npm run messages: every text of the sources that a person can see, file by file, to be read in one go.
import { allMessages } from './source-texts.ts'

for (const [path, texts] of allMessages()) {
  console.log(path)
  for (const text of texts) console.log(`  ${text.replaceAll('\n', '\n  ')}`)
}
