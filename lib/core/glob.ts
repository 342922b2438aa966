/**
 * Returns a pattern of glob(7) as a regular expression: `*` and `?` stop at a slash, and a bracket that is not closed
 * stands for itself. Source: fnmatch(3).
 */
export function globPattern(pattern: string): RegExp {
  const text = pattern
    .replace(/[.+^${}()|\\]/g, '\\$&')
    .replaceAll('[!', '[^')
    .replaceAll('*', '[^/]*')
    .replaceAll('?', '[^/]')
  try {
    return new RegExp(`^${text}$`)
  } catch {
    return new RegExp(`^${text.replace(/[[\]]/g, '\\$&')}$`)
  }
}
