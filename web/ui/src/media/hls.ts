/** HLS on a <video>: hls.js where there is Media Source Extensions, the browser's own player where not (iPhone). */

import type { default as HlsClass } from 'hls.js'

export interface HlsOptions {
  /** Low-latency live: stays near the end. Without it, playback begins at `start_s` and goes where it is led. */
  live: boolean
  start_s?: number
  /** A request was refused for good: the playlist or a segment is not ours any more. */
  failed?: (status: number) => void
}

export interface HlsHandle {
  /** Wall clock of the picture that is shown, where the playlist says. */
  wall_ms: () => number | null
  /** Seconds behind the newest moment that there is; null when that is not known. */
  latency_s: () => number | null
  close: () => void
}

/** A player that fell behind by this much (a tab in the background) jumps to the end again. */
const LIVE_MAX_BEHIND_S = 20

/** Plays `url` on `video` until `close`. The library is fetched only when somebody needs it. */
export async function playHls(video: HTMLVideoElement, url: string, options: HlsOptions): Promise<HlsHandle> {
  const { default: Hls } = await import('hls.js/light')
  if (Hls.isSupported()) return withLibrary(Hls, video, url, options)
  video.src = url
  if (options.start_s) video.currentTime = options.start_s
  return {
    wall_ms: () => startOf(video) && startOf(video)! + video.currentTime * 1000,
    latency_s: () => null,
    close: () => {
      video.removeAttribute('src')
      video.load()
    },
  }
}

/** Safari tells the date of time 0. */
function startOf(video: HTMLVideoElement): number | null {
  const date = (video as HTMLVideoElement & { getStartDate?: () => Date }).getStartDate?.()
  return date && !Number.isNaN(date.getTime()) ? date.getTime() : null
}

function withLibrary(Hls: typeof HlsClass, video: HTMLVideoElement, url: string, options: HlsOptions): HlsHandle {
  const hls = new Hls({
    lowLatencyMode: options.live,
    enableWorker: false, // nothing is remuxed: the segments are what the browser plays
    backBufferLength: options.live ? 10 : 60,
    maxBufferLength: options.live ? 10 : 20,
    startPosition: options.live ? -1 : (options.start_s ?? 0),
    liveMaxLatencyDuration: options.live ? LIVE_MAX_BEHIND_S : Number.POSITIVE_INFINITY,
    liveSyncDuration: options.live ? 4 : 1e6,
    // Pauses in a lecture (a camera that was changed) are holes in the time line; they are stepped over.
    maxBufferHole: 0.5,
    nudgeMaxRetry: 10,
  })
  hls.on(Hls.Events.ERROR, (_, problem) => {
    if (!problem.fatal) return
    const status = problem.response?.code ?? 0
    if (problem.type === Hls.ErrorTypes.MEDIA_ERROR) hls.recoverMediaError()
    else if (status >= 400 && status < 500 && status !== 425) options.failed?.(status)
    else setTimeout(() => hls.loadSource(url), 1000)
  })
  hls.loadSource(url)
  hls.attachMedia(video)
  return {
    wall_ms: () => hls.playingDate?.getTime() ?? null,
    latency_s: () => (options.live && Number.isFinite(hls.latency) ? hls.latency : null),
    close: () => hls.destroy(),
  }
}
