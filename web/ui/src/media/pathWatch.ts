/**
 * Notices that the way to a node may be another one now, before the browser gives the old one up: the machine came
 * online, Wi-Fi became mobile, or packets that came all the time stopped coming. A false alarm costs one ICE restart,
 * a request and a few checks, while media go on as they were; a missed one costs about five seconds of picture.
 */

const SAMPLE_EVERY_MS = 400
/** Where something came in every sample, sound or pictures flow, many packets a second. */
const DENSE_SAMPLES = 5
const DENSE_QUIET_MS = 1200
/** Elsewhere only reports come, one a second, and one may be lost. */
const SPARSE_SAMPLES = 3
const SPARSE_QUIET_MS = 2600

interface NetworkInformation extends EventTarget {
  readonly type?: string
}

function networkInformation(): NetworkInformation | undefined {
  return (globalThis.navigator as (Navigator & { connection?: NetworkInformation }) | undefined)?.connection
}

/** Calls `suspect` when the path may have changed, until the answer is called. */
export function watchPath(peer: RTCPeerConnection, suspect: () => void): () => void {
  const ends: (() => void)[] = []
  const listen = (target: EventTarget | undefined, event: string, act: () => void): void => {
    target?.addEventListener(event, act)
    ends.push(() => target?.removeEventListener(event, act))
  }
  listen(globalThis.window, 'online', suspect)
  const information = networkInformation()
  let kind = information?.type
  // The event also tells of new estimates of speed, many times a minute; only another kind of network is news.
  listen(information, 'change', () => {
    if (information?.type === kind) return
    kind = information?.type
    suspect()
  })
  const silence = new Silence(suspect)
  const sampler = setInterval(() => {
    if (peer.connectionState !== 'connected') return
    void peer.getStats().then((reports) => silence.sample(bytesReceived(reports), performance.now()), () => undefined)
  }, SAMPLE_EVERY_MS)
  ends.push(() => clearInterval(sampler))
  return () => ends.forEach((end) => end())
}

/** Payload bytes over all candidate pairs; connectivity checks do not count, and a closed pair may take its bytes along. */
function bytesReceived(reports: RTCStatsReport): number {
  let bytes = 0
  for (const report of reports.values()) {
    const one = report as Record<string, unknown>
    if (one['type'] === 'candidate-pair') bytes += Number(one['bytesReceived'] ?? 0)
  }
  return bytes
}

export class Silence {
  private bytes = -1
  /** Samples that brought something, since the last alarm; and how many of them came running, up to the last one. */
  private heard = 0
  private running = 0
  private interrupted = false
  private heard_ms = 0

  constructor(private readonly suspect: () => void) {}

  sample(bytes: number, now_ms: number): void {
    if (bytes !== this.bytes) {
      this.bytes = bytes
      this.heard += 1
      this.running = this.interrupted ? 1 : this.running + 1
      this.interrupted = false
      this.heard_ms = now_ms
      return
    }
    this.interrupted = true
    const dense = this.running >= DENSE_SAMPLES
    if (now_ms - this.heard_ms < (dense ? DENSE_QUIET_MS : SPARSE_QUIET_MS)) return
    // Told once for each silence; who never sent steadily is not missed.
    const missed = dense || this.heard >= SPARSE_SAMPLES
    this.heard = this.running = 0
    if (missed) this.suspect()
  }
}
