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

// New ICE credentials by PATCH; the answer of before with the node's new credentials in it goes on.
window.restart = async (index) => {
  const peer = window.peers[index];
  await peer.pc.setLocalDescription(await peer.pc.createOffer({ iceRestart: true }));
  const offer = peer.pc.localDescription.sdp;
  const line = (text, name) => text.match(new RegExp(`^a=${name}:.*$`, 'm'))[0].trim();
  const body = ['ice-ufrag', 'ice-pwd'].map((name) => `${line(offer, name)}\r\n`).join('');
  const answer = await fetch(peer.location, {
    method: 'PATCH',
    headers: {
      'Content-Type': 'application/trickle-ice-sdpfrag',
      'If-Match': '*',
      Authorization: `Bearer ${peer.token}`,
    },
    body,
  });
  const fragment = await answer.text();
  if (answer.status !== 200) throw new Error(`${answer.status} ${fragment}`);
  let sdp = peer.pc.remoteDescription.sdp;
  for (const name of ['ice-ufrag', 'ice-pwd']) {
    sdp = sdp.replace(new RegExp(`^a=${name}:.*$`, 'gm'), line(fragment, name));
  }
  await peer.pc.setRemoteDescription({ type: 'answer', sdp });
  const before = peer.etag;
  peer.etag = answer.headers.get('ETag');
  return peer.etag !== before;
};

window.stop = async (index) => {
  const { pc, location, token } = window.peers[index];
  const answer = await fetch(location, { method: 'DELETE', headers: { Authorization: `Bearer ${token}` } });
  pc.close();
  return answer.status;
};
