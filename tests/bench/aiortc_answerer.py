"""The baseline for joins: a stock aiortc RTCPeerConnection answers offers. One JSON offer a line on stdin → one JSON
line {"answer"} on stdout; the line `cpu` → {"cpu_s"}."""

from __future__ import annotations

import asyncio
import json
import resource
import sys

from aiortc import RTCPeerConnection, RTCSessionDescription


async def main() -> None:
    loop = asyncio.get_running_loop()
    peers: list[RTCPeerConnection] = []
    print("ready", flush=True)
    while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        if line == "cpu":
            usage = resource.getrusage(resource.RUSAGE_SELF)
            print(json.dumps({"cpu_s": usage.ru_utime + usage.ru_stime}), flush=True)
            continue
        pc = RTCPeerConnection()
        peers.append(pc)
        await pc.setRemoteDescription(RTCSessionDescription(json.loads(line)["offer"], "offer"))
        await pc.setLocalDescription(await pc.createAnswer())
        print(json.dumps({"answer": pc.localDescription.sdp}), flush=True)
    await asyncio.gather(*(pc.close() for pc in peers))


if __name__ == "__main__":
    asyncio.run(main())
