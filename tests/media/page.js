// What a page does to publish by WHIP and to play by WHEP, with nothing but the browser's own API.
window.peers = [];

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
  window.peers.push({ pc, location: answer.headers.get('Location'), etag: answer.headers.get('ETag'), token });
  return window.peers.length - 1;
}

window.publish = async (url, token, { simulcast = false, width = 320, height = 240 } = {}) => {
  const pc = new RTCPeerConnection();
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width, height } });
  pc.addTransceiver(stream.getAudioTracks()[0], { direction: 'sendonly', streams: [stream] });
  const sendEncodings = simulcast ? [{ rid: 'l', scaleResolutionDownBy: 2 }, { rid: 'h' }] : [{}];
  pc.addTransceiver(stream.getVideoTracks()[0], { direction: 'sendonly', streams: [stream], sendEncodings });
  return exchange(pc, url, token);
};

window.play = async (url, token, kinds) => {
  const pc = new RTCPeerConnection();
  for (const kind of kinds) {
    const { receiver } = pc.addTransceiver(kind, { direction: 'recvonly' });
    const element = document.createElement(kind === 'video' ? 'video' : 'audio');
    element.autoplay = true;
    element.muted = kind === 'video';
    element.srcObject = new MediaStream([receiver.track]);
    document.body.append(element);
  }
  return exchange(pc, url, token);
};

window.stats = async (index) => {
  const { pc } = window.peers[index];
  const found = { state: pc.connectionState, video: [], audio: [], srtp: null };
  for (const report of (await pc.getStats()).values()) {
    if (report.type === 'inbound-rtp') {
      found[report.kind].push({
        mid: report.mid,
        packets: report.packetsReceived,
        decoded: report.framesDecoded,
        width: report.frameWidth,
        energy: report.totalAudioEnergy,
        lost: report.packetsLost,
        nacks: report.nackCount,
        plis: report.pliCount,
        decoder: report.decoderImplementation,
      });
    }
    if (report.type === 'outbound-rtp') {
      found[report.kind].push({ mid: report.mid, rid: report.rid, packets: report.packetsSent, plis: report.pliCount });
    }
    if (report.type === 'transport') found.srtp = report.srtpCipher;
  }
  return found;
};

window.stop = async (index) => {
  const { pc, location, token } = window.peers[index];
  const answer = await fetch(location, { method: 'DELETE', headers: { Authorization: `Bearer ${token}` } });
  pc.close();
  return answer.status;
};
