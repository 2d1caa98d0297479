/** Cameras, microphones, screens: asked for with the shapes we publish, failing with a coded reason. */

import { ref } from 'vue'

/** `insecure` (no mediaDevices: http page or old WebView), `denied`, `missing`, `busy`, `unsuitable`, `unknown`. */
export type DeviceProblem = 'insecure' | 'denied' | 'missing' | 'busy' | 'unsuitable' | 'unknown'

export class DeviceError extends Error {
  constructor(readonly problem: DeviceProblem) {
    super(problem)
  }
}

const PROBLEMS: Record<string, DeviceProblem> = {
  NotAllowedError: 'denied',
  SecurityError: 'denied',
  NotFoundError: 'missing',
  NotReadableError: 'busy',
  AbortError: 'busy',
  OverconstrainedError: 'unsuitable',
}

function problemOf(error: unknown): DeviceError {
  const name = error instanceof DOMException ? error.name : ''
  return new DeviceError(PROBLEMS[name] ?? 'unknown')
}

export interface CameraShape {
  width: number
  height: number
  framerate: number
}

export const LEARNER_SHAPE: CameraShape = { width: 640, height: 480, framerate: 10 }
export const LECTURE_SHAPE: CameraShape = { width: 1280, height: 720, framerate: 30 }

async function userMedia(constraints: MediaStreamConstraints): Promise<MediaStream> {
  // Missing in http pages and in in-app browsers without WebRTC, whatever the type says.
  const devices = navigator.mediaDevices as MediaDevices | undefined
  if (!devices?.getUserMedia) throw new DeviceError('insecure')
  try {
    return await devices.getUserMedia(constraints)
  } catch (error) {
    throw problemOf(error)
  }
}

export function openCamera(shape: CameraShape, device_id?: string): Promise<MediaStream> {
  return userMedia({
    video: {
      width: { ideal: shape.width },
      height: { ideal: shape.height },
      frameRate: { ideal: shape.framerate, max: shape.framerate },
      facingMode: device_id ? undefined : 'user',
      deviceId: device_id ? { exact: device_id } : undefined,
    },
  })
}

export function openMicrophone(device_id?: string): Promise<MediaStream> {
  return userMedia({
    audio: {
      echoCancellation: true,
      noiseSuppression: true,
      autoGainControl: true,
      deviceId: device_id ? { exact: device_id } : undefined,
    },
  })
}

/** The screen, a window or a tab, as the person picks it. Throws `DeviceError`; `denied` also when one cancels. */
export async function openScreen(): Promise<MediaStream> {
  const devices = navigator.mediaDevices as MediaDevices | undefined
  if (!devices?.getDisplayMedia) throw new DeviceError('insecure')
  try {
    const stream = await devices.getDisplayMedia({ video: { frameRate: { ideal: 15, max: 15 } }, audio: false })
    // Slides and text: sharp edges before smooth motion.
    for (const track of stream.getVideoTracks()) track.contentHint = 'detail'
    return stream
  } catch (error) {
    throw problemOf(error)
  }
}

export function stopStream(stream: MediaStream | null | undefined): void {
  for (const track of stream?.getTracks() ?? []) track.stop()
}

export const cameras = ref<MediaDeviceInfo[]>([])
export const microphones = ref<MediaDeviceInfo[]>([])

/** Reads the device lists; names are only known after a permission was given. */
export async function listDevices(): Promise<void> {
  const devices = navigator.mediaDevices as MediaDevices | undefined
  const all = devices?.enumerateDevices ? await devices.enumerateDevices() : []
  cameras.value = all.filter((one) => one.kind === 'videoinput')
  microphones.value = all.filter((one) => one.kind === 'audioinput')
}

/** Draws the camera's present picture as a JPEG, base64 without the data-URL prefix. */
export function snapshotJpeg(video: HTMLVideoElement, quality = 0.92): string {
  const canvas = document.createElement('canvas')
  canvas.width = video.videoWidth
  canvas.height = video.videoHeight
  canvas.getContext('2d')?.drawImage(video, 0, 0)
  return canvas.toDataURL('image/jpeg', quality).split(',')[1] ?? ''
}
