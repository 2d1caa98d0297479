/**
 * When no WebRTC path opens: the lecture over HTTP. Decided by one question only, how long there has been no connection;
 * WebRTC goes on trying meanwhile and takes the picture back as soon as it is there.
 */

import { onScopeDispose, ref, watch, type Ref } from 'vue'
import type { LinkStatus } from './link'

/** A path that opens at all is open by then; waiting longer would only be a dark picture. */
export const FALLBACK_AFTER_MS = 4000
/** A WebRTC path has to hold this long before the other one is given up. */
export const BACK_AFTER_MS = 1500

/** True while the lecture is to be shown over HTTP. `wanted`: whether there is anything to be seen at all. */
export function useFallback(status: () => LinkStatus | undefined, wanted: () => boolean): Ref<boolean> {
  const on = ref(false)
  let timer: ReturnType<typeof setTimeout> | undefined

  watch(
    // Two sources, not one of two values: a retry that changes neither must not begin the wait anew.
    [wanted, () => status()?.state === 'connected'] as const,
    ([want, connected]) => {
      clearTimeout(timer)
      if (!want) on.value = false
      else if (connected !== on.value) return
      else timer = setTimeout(() => (on.value = !connected), connected ? BACK_AFTER_MS : FALLBACK_AFTER_MS)
    },
    { immediate: true },
  )
  onScopeDispose(() => clearTimeout(timer))
  return on
}
