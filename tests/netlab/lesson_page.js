// The two ends of a class for measurements: three simulcast layers and a voice out; picture and sound in, counted.
window.measure = {};

async function exchange(pc, url, token) {
  await pc.setLocalDescription(await pc.createOffer());
  const answer = await fetch(url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/sdp', Authorization: `Bearer ${token}` },
    body: pc.localDescription.sdp,
  });
  if (answer.status !== 201) throw new Error(`${answer.status} ${await answer.text()}`);
  await pc.setRemoteDescription({ type: 'answer', sdp: await answer.text() });
  return pc;
}

/** Publishes camera and voice; `layers` are sendEncodings. */
window.measure.publish = async (url, token, layers) => {
  const pc = new RTCPeerConnection();
  const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: plain, video: { width: 1280, height: 720 } });
  pc.addTransceiver(stream.getAudioTracks()[0], { direction: 'sendonly', streams: [stream] });
  pc.addTransceiver(stream.getVideoTracks()[0], { direction: 'sendonly', streams: [stream], sendEncodings: layers });
  window.measure.sender = await exchange(pc, url, token);
};

/** Layers that are being sent now: rid → { height, frames, bytes }. */
window.measure.sent = async () => {
  const found = {};
  for (const report of (await window.measure.sender.getStats()).values()) {
    if (report.type === 'outbound-rtp' && report.kind === 'video')
      found[report.rid ?? ''] = { height: report.frameHeight ?? 0, frames: report.framesEncoded ?? 0, bytes: report.bytesSent };
  }
  return found;
};

/** Plays one sound and one picture; an earlier player is closed. */
window.measure.play = async (url, token) => {
  window.measure.receiver?.close();
  document.body.replaceChildren();
  const pc = new RTCPeerConnection();
  for (const kind of ['audio', 'video']) {
    const { receiver } = pc.addTransceiver(kind, { direction: 'recvonly' });
    const element = document.createElement(kind);
    element.autoplay = true;
    element.muted = kind === 'video';
    element.srcObject = new MediaStream([receiver.track]);
    document.body.append(element);
  }
  window.measure.receiver = pc;
  await exchange(pc, url, token);
};

async function inbound() {
  const found = { audio: {}, video: {} };
  for (const report of (await window.measure.receiver.getStats()).values()) {
    if (report.type === 'inbound-rtp') found[report.kind] = report;
  }
  return found;
}

window.measure.decoded = async () => (await inbound()).video.framesDecoded ?? 0;

/** Watches for `seconds`: what changed, and twice a second whether a new picture came and how high it was. */
window.measure.watch = async (seconds) => {
  const before = await inbound();
  const heights = [];
  let last = before.video.framesDecoded ?? 0;
  const started = performance.now();
  while (performance.now() - started < seconds * 1000) {
    await new Promise((done) => setTimeout(done, 500));
    const { video } = await inbound();
    const decoded = video.framesDecoded ?? 0;
    heights.push(decoded > last ? (video.frameHeight ?? 0) : 0);
    last = decoded;
  }
  const after = await inbound();
  const grown = (kind, name) => (after[kind][name] ?? 0) - (before[kind][name] ?? 0);
  return {
    seconds: (performance.now() - started) / 1000,
    heights,
    frames: grown('video', 'framesDecoded'),
    dropped: grown('video', 'framesDropped'),
    freezes: grown('video', 'freezeCount'),
    frozen_s: grown('video', 'totalFreezesDuration'),
    video_bytes: grown('video', 'bytesReceived'),
    video_lost: grown('video', 'packetsLost'),
    nacks: grown('video', 'nackCount'),
    plis: grown('video', 'pliCount'),
    audio_packets: grown('audio', 'packetsReceived'),
    audio_bytes: grown('audio', 'bytesReceived'),
    audio_fec: grown('audio', 'fecPacketsReceived'),
    samples: grown('audio', 'totalSamplesReceived'),
    concealed: grown('audio', 'concealedSamples'),
    concealed_silent: grown('audio', 'silentConcealedSamples'),
    gaps: grown('audio', 'concealmentEvents'),
    state: window.measure.receiver.connectionState,
  };
};
