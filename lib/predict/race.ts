import type { Cause } from '../system/boot.ts'

/** A driver that is offered a device, and by which line. */
export interface Offer {
  module: string
  cause: Cause
}

/** Returns whether one module is loaded before another, in whatever order these chains run beside each other. */
export function orderOf(chains: readonly (readonly { module: string }[])[]): (one: string, other: string) => boolean {
  return (one, other) =>
    chains.every((chain) => {
      const at = chain.findIndex(({ module }) => module === other)
      return at < 0 || chain.slice(0, at).some(({ module }) => module === one)
    })
}

/** Returns the offers in their order as far as one is certain, and the rest, which nothing orders. */
export function orderOffers(
  offers: readonly Offer[],
  isBefore: (one: string, other: string) => boolean,
): { ordered: Offer[]; racing: Offer[] } {
  const ordered: Offer[] = []
  const racing = [...offers]
  for (;;) {
    const at = racing.findIndex((one) => racing.every((other) => one === other || isBefore(one.module, other.module)))
    if (at < 0) return { ordered, racing }
    ordered.push(...racing.splice(at, 1))
  }
}
