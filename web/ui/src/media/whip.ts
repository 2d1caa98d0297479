/** Publishing by WHIP: which tracks go out, how big, how fast, and what may be changed while they do. */

import { shallowReactive } from 'vue'
import type { MediaGrant } from '../protocol'
import { MediaLink, type LinkStatus, type Way } from './link'

export interface VideoShape {
  max_bitrate_bps: number
  max_framerate: number
  /** What gives way first when the network or the machine is short: sharpness matters for faces and for slides. */
  keep: RTCDegradationPreference
  /** Sizes that go out at once, smallest first; the router gives each viewer the one that fits. */
  layers?: VideoLayer[]
  /** H.264 first, where the browser can send it: what is recorded plays in every browser, iPhones among them. */
  recorded?: boolean
}

export interface VideoLayer {
  rid: string
  scale_down_by: number
  max_bitrate_bps: number
}

/** A learner's camera: enough for a face check (≥ 320x240), small enough for a phone's upload. */
export const LEARNER_CAMERA: VideoShape = { max_bitrate_bps: 250_000, max_framerate: 10, keep: 'maintain-resolution' }
/** 1280x720 in three sizes: a phone on a weak network still gets the smallest. */
export const LECTURE_CAMERA: VideoShape = {
  max_bitrate_bps: 1_500_000,
  max_framerate: 30,
  keep: 'balanced',
  recorded: true,
  layers: [
    { rid: 'l', scale_down_by: 4, max_bitrate_bps: 150_000 },
    { rid: 'm', scale_down_by: 2, max_bitrate_bps: 500_000 },
    { rid: 'h', scale_down_by: 1, max_bitrate_bps: 1_500_000 },
  ],
}
export const LECTURE_SCREEN: VideoShape = { max_bitrate_bps: 2_000_000, max_framerate: 15, keep: 'maintain-resolution', recorded: true }
/** A guest's microphone: there is no picture to shape. */
export const SPEECH_ONLY: VideoShape = { max_bitrate_bps: 0, max_framerate: 0, keep: 'balanced' }
const SPEECH_MAX_BITRATE_BPS = 48_000

/** Every other frame depends on none of its kind, so the router may leave those out for a viewer who is short. */
const TEMPORAL_LAYERS = 'L1T2'

export function videoEncodings(shape: VideoShape, with_temporal_layers: boolean): RTCRtpEncodingParameters[] {
  const maxFramerate = shape.max_framerate
  if (!shape.layers) return [{ maxBitrate: shape.max_bitrate_bps, maxFramerate }]
  return shape.layers.map((layer) => ({
    rid: layer.rid,
    scaleResolutionDownBy: layer.scale_down_by,
    maxBitrate: layer.max_bitrate_bps,
    maxFramerate,
    ...(with_temporal_layers ? { scalabilityMode: TEMPORAL_LAYERS } : {}),
  }))
}

/** Asks the sender for in-band FEC and silence suppression: Opus senders obey the *receiver's* fmtp (RFC 7587 6.1). */
export function withOpusFecDtx(answer: string): string {
  const payload_type = /^a=rtpmap:(\d+) opus\/48000/im.exec(answer)?.[1]
  if (!payload_type) return answer
  const line = new RegExp(`^a=fmtp:${payload_type} (.*?)(\\r?)$`, 'm')
  const wanted = { useinbandfec: '1', usedtx: '1' }
  const found = line.exec(answer)
  if (!found) {
    return answer.replace(
      new RegExp(`^(a=rtpmap:${payload_type} opus[^\\r\\n]*)(\\r?\\n)`, 'im'),
      `$1$2a=fmtp:${payload_type} useinbandfec=1;usedtx=1$2`,
    )
  }
  const settings = new Map(
    (found[1] ?? '').split(';').filter(Boolean).map((pair) => {
      const [name = '', value = ''] = pair.trim().split('=')
      return [name, value] as const
    }),
  )
  for (const [name, value] of Object.entries(wanted)) settings.set(name, value)
  const text = [...settings].map(([name, value]) => `${name}=${value}`).join(';')
  return answer.replace(line, `a=fmtp:${payload_type} ${text}$2`)
}

/** Puts H.264 before what else the browser sends; the node answers in the same order. No H.264, no change. */
export function preferH264(transceiver: RTCRtpTransceiver): void {
  const all = globalThis.RTCRtpSender?.getCapabilities('video')?.codecs ?? []
  const first = all.filter((codec) => codec.mimeType === 'video/H264' && codec.sdpFmtpLine?.includes('packetization-mode=1'))
  if (first.length > 0) transceiver.setCodecPreferences([...first, ...all.filter((codec) => !first.includes(codec))])
}

export class WhipPublisher {
  readonly status = shallowReactive<LinkStatus>({ state: 'connecting', attempt: 0, problem: null })
  private readonly link: MediaLink

  constructor(
    grant: MediaGrant,
    renew: () => Promise<MediaGrant>,
    private stream: MediaStream,
    private readonly shape: VideoShape,
    only?: Way,
  ) {
    this.link = new MediaLink({
      label: 'publish',
      grant,
      renew,
      ...(only && { only }),
      prepare: (peer) => this.prepare(peer),
      shapeAnswer: withOpusFecDtx,
      ready: (peer) => this.limit(peer),
      status: (status) => Object.assign(this.status, status),
    })
  }

  open(): Promise<void> {
    return this.link.open()
  }

  close(): void {
    this.link.close()
  }

  get connection(): RTCPeerConnection | null {
    return this.link.connection
  }

  /** Goes on with other devices; no renegotiation, the publication stays the same. */
  async replaceStream(stream: MediaStream): Promise<void> {
    this.stream = stream
    for (const sender of this.link.connection?.getSenders() ?? []) {
      const kind = sender.track?.kind
      const fresh = stream.getTracks().find((track) => track.kind === kind)
      if (fresh && fresh !== sender.track) await sender.replaceTrack(fresh)
    }
  }

  private prepare(peer: RTCPeerConnection): void {
    for (const track of this.stream.getTracks()) {
      const add = (sendEncodings: RTCRtpEncodingParameters[]) =>
        peer.addTransceiver(track, { direction: 'sendonly', streams: [this.stream], sendEncodings })
      if (track.kind !== 'video') {
        add([{ maxBitrate: SPEECH_MAX_BITRATE_BPS }])
        continue
      }
      let transceiver: RTCRtpTransceiver
      try {
        transceiver = add(videoEncodings(this.shape, true))
      } catch {
        // An encoder without temporal layers refuses the mode (WebRTC SVC 4.2); the sizes alone are worth having.
        transceiver = add(videoEncodings(this.shape, false))
      }
      if (this.shape.recorded) preferH264(transceiver)
    }
  }

  private async limit(peer: RTCPeerConnection): Promise<void> {
    for (const sender of peer.getSenders()) {
      if (sender.track?.kind !== 'video') continue
      const parameters = sender.getParameters() as RTCRtpSendParameters & { degradationPreference?: RTCDegradationPreference }
      parameters.degradationPreference = this.shape.keep
      // Firefox and old Safari refuse the preference; the limits of the encoding hold regardless.
      await sender.setParameters(parameters).catch(() => undefined)
    }
  }
}
