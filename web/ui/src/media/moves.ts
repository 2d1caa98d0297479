/** Connections of this page that are open, so that those on a node that is to be left can be told so. */

import type { MediaMoved } from '../protocol'

export interface Movable {
  isAt: (public_url: string) => boolean
  /** `gone`: nothing is left there to go on with until the new connection is up. */
  move: (gone: boolean) => Promise<void>
}

const open = new Set<Movable>()

/** Returns how to take it off the list. */
export function listMovable(link: Movable): () => void {
  open.add(link)
  return () => open.delete(link)
}

export function moveLinks(moved: MediaMoved): void {
  for (const link of open) {
    if (!link.isAt(moved.public_url)) continue
    // A whole class shall not arrive at the other node in one moment.
    setTimeout(() => {
      if (open.has(link) && link.isAt(moved.public_url)) void link.move(moved.reason === 'gone')
    }, Math.random() * moved.within_ms)
  }
}
