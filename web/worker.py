"""The worker: Celery's prefork pool with the face engine warm before the first check arrives.

Every child process opens its own connections after the fork and dies with its parent, so that a worker killed with
SIGKILL leaves no half-alive child holding a job.
"""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable

import structlog
from celery import Celery
from celery.platforms import SecurityWarning
from celery.signals import worker_process_init, worker_ready

import proctor
from classroom import Record
from signaling import tasks as live_tasks
from web.log import configure_log
from web.parent_death import die_with_parent
from web.parts import open_settings_record
from web.queue import make_queue
from web.settings import Settings

log = structlog.get_logger(__name__)


def make_worker(settings: Settings) -> Celery:
    """The queue with every task defined on it. Models are loaded in the pool's children, not here."""
    queue = make_queue(settings)
    proctor.register(
        queue,
        proctor.ProctorContext(
            redis_url=settings.redis,
            templates_folder=settings.templates_dir,
            master_key=settings.keys.templates,
            weights_home=settings.data_dir / "weights",
            operator_models=settings.operator_models,
        ),
    )

    def make_record() -> Record:
        return open_settings_record(settings)

    live_tasks.register(queue, make_record, settings.redis)
    return queue


def run_worker(settings: Settings, standby: Callable[[], None] | None = None) -> None:
    """Serves jobs until SIGTERM, which lets the running one finish. `standby` is called when all is imported."""
    configure_log(settings.log_level)
    # Celery warns of root because pickled jobs could run anything; ours are JSON only (web.queue).
    warnings.filterwarnings("ignore", category=SecurityWarning)
    if standby is not None:
        standby()
    queue = make_worker(settings)

    # Kept in local names: Celery's signals hold their receivers weakly.
    def child_started(**_: object) -> None:
        die_with_parent(signal.SIGKILL)
        configure_log(settings.log_level)

    def ready(**_: object) -> None:
        queue.send_task(proctor.WARM)
        log.info("worker ready", concurrency=settings.worker_concurrency)

    worker_process_init.connect(child_started)
    worker_ready.connect(ready)
    queue.worker_main(
        [
            "--quiet",
            "worker",
            "--pool=prefork",
            f"--concurrency={settings.worker_concurrency}",
            "--loglevel=WARNING",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        ]
    )
