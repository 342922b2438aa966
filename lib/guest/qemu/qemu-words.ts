// The words of a shell program that starts QEMU.

/** In a word, the guest's folder, which the program finds out when it runs. */
export const STATE_DIR = '\0dir\0'

/** A value among QEMU's options: commas are doubled. */
export function escapeCommas(text: string): string {
  return text.replaceAll(',', ',,')
}

/** As a shell takes it: in quotes only where it must be. */
export function shellQuote(word: string): string {
  if (!word.includes(STATE_DIR)) return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
  return word
    .split(STATE_DIR)
    .map((text) => (text === '' ? '' : shellQuote(text)))
    .join('"$dir"')
}
