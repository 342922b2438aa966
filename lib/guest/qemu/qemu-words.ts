// The words of a shell program that starts QEMU.

/** The mark that stands in a word for the guest's folder, which the program finds out when it runs. */
export const STATE_DIR = '\0dir\0'

/** Returns a value for QEMU's options, with its commas doubled. */
export function escapeCommas(text: string): string {
  return text.replaceAll(',', ',,')
}

/** Returns a word as a shell reads it, in quotes only where it must be; the mark becomes `"$dir"`. */
export function shellQuote(word: string): string {
  if (!word.includes(STATE_DIR)) return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
  return word
    .split(STATE_DIR)
    .map((text) => (text === '' ? '' : shellQuote(text)))
    .join('"$dir"')
}
