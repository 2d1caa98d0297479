/** Every peer connection of this page under a label, so that its numbers can be read from outside: `window.__anke`. */

interface NamedPeer {
  label: string
  peer: RTCPeerConnection
}

const open = new Set<NamedPeer>()

/** Lists `peer` as `label` (`publish:<id>` or `play:<id>`) until the answer is called. */
export function listPeer(label: string, peer: RTCPeerConnection): () => void {
  const entry = { label, peer }
  open.add(entry)
  return () => open.delete(entry)
}

declare global {
  interface Window {
    __anke?: {
      /** Labels of the open peer connections. */
      labels(): string[]
      /** getStats() of each open peer connection whose label begins with `prefix`, as plain objects. */
      stats(prefix?: string): Promise<{ label: string; state: string; reports: Record<string, unknown>[] }[]>
    }
  }
}

export function exposePeers(): void {
  window.__anke = {
    labels: () => [...open].map((entry) => entry.label),
    stats: (prefix = '') =>
      Promise.all(
        [...open]
          .filter((entry) => entry.label.startsWith(prefix))
          .map(async ({ label, peer }) => {
            const reports: Record<string, unknown>[] = []
            for (const report of (await peer.getStats()).values()) reports.push({ ...(report as Record<string, unknown>) })
            return { label, state: peer.connectionState, reports }
          }),
      ),
  }
}
