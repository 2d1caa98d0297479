/**
 * The server's clock as this page knows it. `performance.now()` carries it forward, so turning the computer's own
 * clock (or patching `Date`) moves nothing on screen; what counts is decided on the server anyway.
 */

import { onScopeDispose, ref, type Ref } from 'vue'

let offset_ms = Date.now() - performance.now()
let best_rtt_ms = Number.POSITIVE_INFINITY

/** Takes over the server's time `server_ms`, asked at `asked` and answered at `answered` (both performance.now()). */
export function setServerTime(server_ms: number, asked: number, answered: number): void {
  const rtt_ms = answered - asked
  // A slow answer says less about the time than the fast one we already have.
  if (rtt_ms > best_rtt_ms * 2 + 50) return
  best_rtt_ms = rtt_ms
  offset_ms = server_ms - (asked + answered) / 2
}

/** UTC epoch milliseconds by the server's clock. */
export function serverNow(): number {
  return performance.now() + offset_ms
}

/** A ref that ticks with the server's clock every `every_ms` while its component lives. */
export function useNow(every_ms = 1000): Ref<number> {
  const now = ref(serverNow())
  const timer = setInterval(() => (now.value = serverNow()), every_ms)
  onScopeDispose(() => clearInterval(timer))
  return now
}
