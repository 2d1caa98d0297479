/** Sounds made and measured in the page: level meter, speaker test, the ping's chime. Nothing is downloaded. */

let context: AudioContext | null = null

/** The page's one AudioContext; browsers start it only after a gesture, `resume` is tried every time. */
function audio(): AudioContext | null {
  if (typeof AudioContext === 'undefined') return null
  context ??= new AudioContext()
  if (context.state === 'suspended') void context.resume().catch(() => undefined)
  return context
}

/** Calls `level` (0 … 1, RMS on a speech-like scale) about 15 times a second; the answer stops it. */
export function meterLevel(stream: MediaStream, level: (value: number) => void): () => void {
  const running = audio()
  if (!running || stream.getAudioTracks().length === 0) return () => undefined
  const source = running.createMediaStreamSource(stream)
  const analyser = running.createAnalyser()
  analyser.fftSize = 1024
  source.connect(analyser)
  const samples = new Float32Array(analyser.fftSize)
  const timer = setInterval(() => {
    analyser.getFloatTimeDomainData(samples)
    let sum = 0
    for (const sample of samples) sum += sample * sample
    const rms = Math.sqrt(sum / samples.length)
    // −60 dBFS … −10 dBFS spans the meter; speech sits in the middle.
    level(Math.min(1, Math.max(0, (20 * Math.log10(rms + 1e-6) + 60) / 50)))
  }, 66)
  return () => {
    clearInterval(timer)
    source.disconnect()
  }
}

function tone(frequency_hz: number, from_s: number, length_s: number, gain: number): void {
  const running = audio()
  if (!running) return
  const oscillator = running.createOscillator()
  const volume = running.createGain()
  const start = running.currentTime + from_s
  oscillator.frequency.value = frequency_hz
  volume.gain.setValueAtTime(0, start)
  volume.gain.linearRampToValueAtTime(gain, start + 0.02)
  volume.gain.exponentialRampToValueAtTime(0.001, start + length_s)
  oscillator.connect(volume).connect(running.destination)
  oscillator.start(start)
  oscillator.stop(start + length_s + 0.05)
}

export function playSpeakerTest(): void {
  ;[523.25, 659.25, 783.99].forEach((note, index) => tone(note, index * 0.35, 0.6, 0.4))
}

export function playChime(): void {
  tone(880, 0, 0.35, 0.35)
  tone(1174.66, 0.22, 0.5, 0.35)
}

/** Gives the browser the gesture it wants before any sound; call from a click. */
export function wakeSound(): void {
  audio()
}
