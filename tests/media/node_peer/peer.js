// libwebrtc in Node as a peer. The same commands over standard input and output as `peers/commands.py` describes.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

import wrtc from '@roamhq/wrtc';

const { RTCPeerConnection, nonstandard } = wrtc;
const { RTCAudioSink, RTCAudioSource, RTCVideoSink, RTCVideoSource } = nonstandard;
const { version } = createRequire(import.meta.url)('@roamhq/wrtc/package.json');

const WIDTH = 640;
const HEIGHT = 480;
const FRAME_MS = 66;
const SOUND_MS = 10; // what an RTCAudioSource takes at a time
const RATE_HZ = 48000;
const AUDIBLE = 500; // of 32767
const sessions = [];

async function exchange(pc, url, token) {
  await pc.setLocalDescription(await pc.createOffer());
  const answer = await fetch(url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/sdp', Authorization: `Bearer ${token}` },
    body: pc.localDescription.sdp,
  });
  const text = await answer.text();
  if (answer.status !== 201) throw new Error(`${answer.status} ${text}`);
  await pc.setRemoteDescription({ type: 'answer', sdp: text });
  return { pc, token, location: answer.headers.get('Location') };
}

function movingBar() {
  const source = new RTCVideoSource();
  // I420: a plane of brightness, two of colour at half the size.
  const data = new Uint8ClampedArray((WIDTH * HEIGHT * 3) / 2).fill(90);
  let number = 0;
  const timer = setInterval(() => {
    const left = (number++ * 8) % (WIDTH - 40);
    data.fill(100, 0, WIDTH * HEIGHT);
    for (let row = 0; row < HEIGHT; row++) data.fill(235, row * WIDTH + left, row * WIDTH + left + 40);
    source.onFrame({ width: WIDTH, height: HEIGHT, data });
  }, FRAME_MS);
  return { track: source.createTrack(), timer };
}

function tone() {
  const source = new RTCAudioSource();
  const count = (RATE_HZ * SOUND_MS) / 1000;
  let at = 0;
  const timer = setInterval(() => {
    const samples = new Int16Array(count);
    for (let i = 0; i < count; i++) samples[i] = 8000 * Math.sin((2 * Math.PI * 440 * at++) / RATE_HZ);
    source.onData({ samples, sampleRate: RATE_HZ, bitsPerSample: 16, channelCount: 1, numberOfFrames: count });
  }, SOUND_MS);
  return { track: source.createTrack(), timer };
}

const verbs = {
  async publish({ url, token }) {
    const pc = new RTCPeerConnection();
    const [sound, picture] = [tone(), movingBar()];
    pc.addTransceiver(sound.track, { direction: 'sendonly' });
    const sendEncodings = [{ rid: 'l', scaleResolutionDownBy: 2 }, { rid: 'h' }];
    pc.addTransceiver(picture.track, { direction: 'sendonly', sendEncodings });
    const session = await exchange(pc, url, token);
    return sessions.push({ ...session, timers: [sound.timer, picture.timer], sinks: [] }) - 1;
  },

  async play({ url, token }) {
    const pc = new RTCPeerConnection();
    const sound = new RTCAudioSink(pc.addTransceiver('audio', { direction: 'recvonly' }).receiver.track);
    const picture = new RTCVideoSink(pc.addTransceiver('video', { direction: 'recvonly' }).receiver.track);
    const seen = { pictures: 0, width: 0, sound: 0 };
    sound.ondata = ({ samples }) => {
      seen.sound += samples.some((sample) => sample > AUDIBLE) ? 1 : 0;
    };
    picture.onframe = ({ frame }) => {
      seen.pictures += 1;
      seen.width = frame.width;
    };
    const session = await exchange(pc, url, token);
    return sessions.push({ ...session, seen, timers: [], sinks: [sound, picture] }) - 1;
  },

  async seen({ peer }) {
    return sessions[peer].seen;
  },

  async stop({ peer }) {
    const { pc, location, token, timers, sinks } = sessions[peer];
    timers.forEach(clearInterval);
    sinks.forEach((sink) => sink.stop());
    await fetch(location, { method: 'DELETE', headers: { Authorization: `Bearer ${token}` } });
    pc.close();
    return null;
  },
};

const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);
say({ ready: `wrtc ${version} (libwebrtc in Node ${process.versions.node})` });
createInterface({ input: process.stdin })
  .on('line', async (line) => {
    const { id, do: verb, ...rest } = JSON.parse(line);
    try {
      say({ id, result: await verbs[verb](rest) });
    } catch (error) {
      say({ id, error: String(error) });
    }
  })
  .on('close', () => process.exit(0));
