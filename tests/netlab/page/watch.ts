/**
 * The page's own player (web/ui/src/media) without the page around it: `watch(grant)` plays, `seen()` says when each
 * picture was decoded and by which way it came. Times are Date.now(), which the measuring process shares.
 */

import { WhepPlayer } from '../../../web/ui/src/media/whep'
import type { MediaGrant } from '../../../web/ui/src/protocol'

const SAMPLE_EVERY_MS = 25

type Report = Record<string, string | number | boolean>

let player: WhepPlayer | null = null
let peers = 0
let frames = 0
const pictures_ms: number[] = []
let way: Report | null = null
let last: RTCPeerConnection | null = null

async function sample(): Promise<void> {
  const peer = player?.connection
  if (!peer) return
  if (peer !== last) {
    last = peer
    peers += 1
    frames = 0
  }
  const reports = new Map([...(await peer.getStats()).values()].map((one) => [(one as Report)['id'] as string, one as Report]))
  let decoded = 0
  for (const one of reports.values()) {
    if (one['type'] === 'inbound-rtp' && one['kind'] === 'video') decoded += Number(one['framesDecoded'] ?? 0)
    if (one['type'] === 'transport') {
      const pair = reports.get(String(one['selectedCandidatePairId']))
      const local = pair && reports.get(String(pair['localCandidateId']))
      const remote = pair && reports.get(String(pair['remoteCandidateId']))
      if (local && remote) {
        way = {
          type: local['candidateType']!,
          protocol: local['protocol']!,
          relay: local['relayProtocol'] ?? '',
          local: local['address'] ?? '',
          remote: remote['address'] ?? '',
        }
      }
    }
  }
  if (decoded > frames) pictures_ms.push(Date.now())
  frames = decoded
}

Object.assign(window, {
  watch(grant: MediaGrant): number {
    player = new WhepPlayer(grant, () => Promise.resolve(grant))
    const began_ms = Date.now()
    void player.open()
    setInterval(() => void sample(), SAMPLE_EVERY_MS)
    return began_ms
  },
  seen() {
    return { pictures_ms, way, peers, status: { ...player?.status }, state: last?.connectionState ?? '' }
  },
})
