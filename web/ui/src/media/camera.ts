/** The learner's camera, opened once and handed from page to page: check, enrolment, classroom. One permission prompt. */

import { ref, shallowRef } from 'vue'
import { DeviceError, LEARNER_SHAPE, listDevices, openCamera, stopStream, type DeviceProblem } from './devices'

export const cameraStream = shallowRef<MediaStream | null>(null)
export const cameraProblem = ref<DeviceProblem | 'ended' | null>(null)
const KEY = 'anke.camera'

function remembered(): string | undefined {
  try {
    return localStorage.getItem(KEY) ?? undefined
  } catch {
    return undefined
  }
}

/** Opens (or keeps) the learner's camera; afterwards `cameraStream` or `cameraProblem` says how it went. */
export async function useCamera(device_id?: string): Promise<MediaStream | null> {
  const live = cameraStream.value?.getVideoTracks()[0]?.readyState === 'live'
  if (live && !device_id) return cameraStream.value
  releaseCamera()
  try {
    let stream: MediaStream
    try {
      stream = await openCamera(LEARNER_SHAPE, device_id ?? remembered())
    } catch (error) {
      // The remembered camera may be unplugged today: any other will do.
      if (!(error instanceof DeviceError) || error.problem !== 'unsuitable') throw error
      stream = await openCamera(LEARNER_SHAPE)
    }
    cameraStream.value = stream
    cameraProblem.value = null
    stream.getVideoTracks()[0]?.addEventListener('ended', () => {
      // A phone call or an unplugged cable: say so, nobody is called a cheat for it.
      if (cameraStream.value === stream) cameraProblem.value = 'ended'
    })
    if (device_id) remember(device_id)
    await listDevices()
  } catch (error) {
    cameraProblem.value = error instanceof DeviceError ? error.problem : 'unknown'
  }
  return cameraStream.value
}

function remember(device_id: string): void {
  try {
    localStorage.setItem(KEY, device_id)
  } catch {
    return
  }
}

export function releaseCamera(): void {
  stopStream(cameraStream.value)
  cameraStream.value = null
  cameraProblem.value = null
}
