"""The baseline: aiortc sends RTP that is encoded already to N peers, each by its own `_send_rtp` (protect + sendto).

`aiortc_sender.py PORT…`: one viewer on loopback per port. Reads lines on stdin: a number of seconds to stream for;
answers with JSON {"cpu_s", "packets"}. It receives nothing, reads no RTCP and makes no join: aiortc at its best.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from typing import Any

from aiortc.rtcdtlstransport import SRTP_AEAD_AES_128_GCM, RTCCertificate, RTCDtlsTransport, State
from pylibsrtp import Policy, Session
from stream import bursts


class Destination:
    """Where one aiortc DTLS transport sends: what `RTCIceTransport._send` comes to, one `sendto`."""

    role = "controlled"

    def __init__(self, transport: asyncio.DatagramTransport, port: int) -> None:
        self._transport = transport
        self._address = ("127.0.0.1", port)

    async def _send(self, data: bytes) -> None:
        self._transport.sendto(data, self._address)


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def main(ports: list[int]) -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
    certificate = RTCCertificate.generateCertificate()
    peers = []
    for port in ports:
        destination: Any = Destination(transport, port)
        peer = RTCDtlsTransport(destination, [certificate])
        key = os.urandom(SRTP_AEAD_AES_128_GCM.key_length + SRTP_AEAD_AES_128_GCM.salt_length)
        profile = SRTP_AEAD_AES_128_GCM.libsrtp_profile
        peer._tx_srtp = Session(Policy(key=key, ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=profile))
        peer._state = State.CONNECTED
        peers.append(peer)
    stream = bursts()
    stream_s = 0.0
    print("ready", flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        seconds = float(line)
        started_cpu_s, began_s, packets = cpu_s(), time.monotonic(), 0
        until_s = stream_s + seconds
        first_s = stream_s
        while stream_s < until_s:
            burst = next(stream)
            stream_s = burst.due_s
            await asyncio.sleep(max(0.0, began_s + stream_s - first_s - time.monotonic()))
            for peer in peers:
                for packet in burst.packets:
                    await peer._send_rtp(packet)
            packets += len(burst.packets) * len(peers)
        print(json.dumps({"cpu_s": cpu_s() - started_cpu_s, "packets": packets}), flush=True)


if __name__ == "__main__":
    asyncio.run(main([int(port) for port in sys.argv[1:]]))
