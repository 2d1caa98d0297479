"""Runs one recorder as a process of its own, for tests and figures: `recorder_process.py '{"redis_url": …}'`.

Which lessons are live it reads from the Redis set `{prefix}test:live`; what it tells the record it pushes on the list
`{prefix}test:told`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path

from redis.asyncio import Redis

from media.recording.recorder import Closed, RecorderConfig, run_recorder
from media.recording.storage import FolderStorage


async def main(fields: dict[str, str]) -> None:
    redis, prefix = Redis.from_url(fields["redis_url"]), fields["redis_prefix"]

    async def wanted() -> list[str]:
        return [member.decode() for member in await redis.smembers(f"{prefix}test:live")]

    async def told(**what: object) -> None:
        await redis.rpush(f"{prefix}test:told", json.dumps(what))

    async def interrupted(lesson_id: str, from_ms: int, to_ms: int, reason: str) -> None:
        await told(what="interrupted", lesson=lesson_id, from_ms=from_ms, to_ms=to_ms, reason=reason)

    async def closed(recording: Closed) -> None:
        await told(what="closed", lesson=recording.lesson_id, seal=recording.seal)

    await run_recorder(
        RecorderConfig(
            redis_url=fields["redis_url"],
            redis_prefix=prefix,
            control_secret=fields["control_secret"],
            token_secret=fields["token_secret"],
            storage=FolderStorage(Path(fields["root"])),
            wanted=wanted,
            on_interrupted=interrupted,
            on_closed=closed,
        )
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    asyncio.run(main(json.loads(sys.argv[1])))
