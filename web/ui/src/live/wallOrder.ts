/**
 * Where learners stand on the wall. A new alarm moves exactly one tile to the front (it trades places with the first
 * tile that has none); everyone else stays put, so that the eye does not lose people.
 */

/** The order after people came, went or raised alarms. Newcomers go to the end, in the order given. */
export function placeTiles(order: string[], present: string[], alarmed: Set<string>): string[] {
  const here = new Set(present)
  const known = new Set(order)
  const next = [...order.filter((id) => here.has(id)), ...present.filter((id) => !known.has(id))]
  for (let at = 0; at < next.length; at += 1) {
    const id = next[at]
    if (id === undefined || !alarmed.has(id)) continue
    const free = next.findIndex((other) => !alarmed.has(other))
    if (free < 0 || free > at) continue
    next[at] = next[free] ?? id
    next[free] = id
  }
  return next
}

/** Which slot shows whom: who stays visible keeps the slot, newcomers take the free ones, the rest show nobody. */
export function assignSlots(before: Record<string, string | null>, visible: string[], slots: string[]): Record<string, string | null> {
  const wanted = new Set(visible)
  const next: Record<string, string | null> = {}
  const placed = new Set<string>()
  for (const slot of slots) {
    const held = before[slot] ?? null
    const keeps = held !== null && wanted.has(held) && !placed.has(held)
    next[slot] = keeps ? held : null
    if (keeps) placed.add(held)
  }
  const coming = visible.filter((id) => !placed.has(id))
  for (const slot of slots) {
    if (coming.length === 0) break
    if (next[slot] === null) next[slot] = coming.shift() ?? null
  }
  return next
}

/** The slots in which `after` differs from `before`: what has to be said to the server. */
export function changedSlots(before: Record<string, string | null>, after: Record<string, string | null>): Record<string, string | null> {
  return Object.fromEntries(Object.entries(after).filter(([slot, id]) => (before[slot] ?? null) !== id))
}
