/** The instructor's own devices: camera and microphone picked, joined to one stream, muted, shared screen beside it. */

import { computed, onScopeDispose, ref, shallowRef, type ComputedRef, type Ref, type ShallowRef } from 'vue'
import { DeviceError, LECTURE_SHAPE, listDevices, openCamera, openMicrophone, openScreen, stopStream, type DeviceProblem } from './devices'

export interface Lectern {
  camera: ShallowRef<MediaStream | null>
  microphone: ShallowRef<MediaStream | null>
  screen: ShallowRef<MediaStream | null>
  /** Camera and microphone as one stream; null while neither is open. */
  stream: ComputedRef<MediaStream | null>
  cameraProblem: Ref<DeviceProblem | null>
  microphoneProblem: Ref<DeviceProblem | null>
  muted: Ref<boolean>
  pickCamera: (device_id?: string) => Promise<void>
  pickMicrophone: (device_id?: string) => Promise<void>
  shareScreen: () => Promise<void>
  stopScreen: () => void
  toggleMute: () => void
  release: () => void
}

export function useLectern(): Lectern {
  const camera = shallowRef<MediaStream | null>(null)
  const microphone = shallowRef<MediaStream | null>(null)
  const screen = shallowRef<MediaStream | null>(null)
  const cameraProblem = ref<DeviceProblem | null>(null)
  const microphoneProblem = ref<DeviceProblem | null>(null)
  const muted = ref(false)

  const stream = computed(() => {
    const tracks = [...(microphone.value?.getAudioTracks() ?? []), ...(camera.value?.getVideoTracks() ?? [])]
    return tracks.length > 0 ? new MediaStream(tracks) : null
  })

  async function pickCamera(device_id?: string): Promise<void> {
    const before = camera.value
    try {
      camera.value = await openCamera(LECTURE_SHAPE, device_id)
      cameraProblem.value = null
      for (const track of camera.value.getVideoTracks()) track.addEventListener('ended', () => (cameraProblem.value = 'busy'))
      stopStream(before)
      await listDevices()
    } catch (error) {
      cameraProblem.value = error instanceof DeviceError ? error.problem : 'unknown'
    }
  }

  async function pickMicrophone(device_id?: string): Promise<void> {
    const before = microphone.value
    try {
      microphone.value = await openMicrophone(device_id)
      microphoneProblem.value = null
      for (const track of microphone.value.getAudioTracks()) track.enabled = !muted.value
      stopStream(before)
      await listDevices()
    } catch (error) {
      microphoneProblem.value = error instanceof DeviceError ? error.problem : 'unknown'
    }
  }

  async function shareScreen(): Promise<void> {
    screen.value = await openScreen()
    // The browser's own "stop sharing" bar ends the track.
    for (const track of screen.value.getVideoTracks()) track.addEventListener('ended', stopScreen)
  }

  function stopScreen(): void {
    stopStream(screen.value)
    screen.value = null
  }

  function toggleMute(): void {
    muted.value = !muted.value
    for (const track of microphone.value?.getAudioTracks() ?? []) track.enabled = !muted.value
  }

  function release(): void {
    stopStream(camera.value)
    stopStream(microphone.value)
    camera.value = null
    microphone.value = null
    stopScreen()
  }

  onScopeDispose(release)
  return {
    camera, microphone, screen, stream, cameraProblem, microphoneProblem, muted,
    pickCamera, pickMicrophone, shareScreen, stopScreen, toggleMute, release,
  }
}
