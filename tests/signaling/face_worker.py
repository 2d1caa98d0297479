"""A worker with both halves of a face check's chain, as a process of its own: `python face_worker.py JSON`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from celery import Celery

import proctor
from classroom import Record, open_record
from signaling import tasks

if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    jobs = Celery("test", broker=settings["redis_url"], set_as_current=False)
    jobs.conf.update(
        task_default_queue=f"{settings['prefix']}jobs",
        task_ignore_result=True,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
    )
    proctor.register(
        jobs,
        proctor.ProctorContext(
            redis_url=settings["redis_url"],
            templates_folder=Path(settings["folder"]) / "templates",
            master_key=b"t" * 32,
            weights_home=Path(settings["folder"]) / "weights",
            key_prefix=settings["prefix"] + "proctor:",
        ),
    )

    def make_record() -> Record:
        return open_record(settings["database_url"], signing_key=b"k" * 32)

    tasks.register(jobs, make_record, settings["redis_url"], prefix=settings["prefix"])
    jobs.worker_main(
        ["worker", "--pool=solo", "--loglevel=ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    )
