"""A web node's live side as a process of its own, for tests that kill one: `python web_node.py JSON`."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import uvicorn
from celery import Celery

import classroom
from classroom import Actor, open_record
from media import MediaControl
from signaling.context import Context, connect_redis
from signaling.server import make_server


async def nothing_here(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def make_context(settings: dict[str, Any]) -> Context:
    """`settings`: database_url, redis_url, prefix, node_id."""
    record = open_record(settings["database_url"], signing_key=b"k" * 32)
    redis = connect_redis(settings["redis_url"])

    async def find(token: str) -> Actor | None:
        return await classroom.find_actor(record, token)

    jobs = Celery("test", broker=settings["redis_url"], set_as_current=False)
    jobs.conf.update(task_default_queue=f"{settings['prefix']}jobs", task_ignore_result=True)
    return Context(
        record=record,
        redis=redis,
        redis_url=settings["redis_url"],
        media=MediaControl(redis, "c" * 40, prefix=settings["prefix"]),
        celery=jobs,
        media_token_key="m" * 40,
        find_actor=find,
        prefix=settings["prefix"],
        node_id=settings["node_id"],
    )


async def main(settings: dict[str, Any]) -> None:
    live = make_server(make_context(settings))
    config = uvicorn.Config(
        live.asgi(nothing_here), host="127.0.0.1", port=settings["port"], log_level="error", lifespan="off"
    )
    await live.start()
    await uvicorn.Server(config).serve()
    await live.stop()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
