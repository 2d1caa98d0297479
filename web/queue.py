"""The job queue both ends agree on: Celery on Redis. The web process only sends; `web.worker` defines and runs."""

from __future__ import annotations

from celery import Celery

from web.settings import Settings

QUEUE = "anke"
SOFT_TIME_LIMIT_S = 30
HARD_TIME_LIMIT_S = 45
# A job a killed worker held comes back after this long (acks_late on Redis: the unacknowledged are re-queued).
# Face checks are re-asked by the conductor much sooner; this bounds everything else.
VISIBILITY_TIMEOUT_S = 60
RESULT_TTL_S = 300


def make_queue(settings: Settings) -> Celery:
    """A Celery application that can send; no connection is made before the first job."""
    queue = Celery("anke", broker=settings.redis, backend=settings.redis, set_as_current=False)
    queue.conf.update(
        task_default_queue=QUEUE,
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        result_expires=RESULT_TTL_S,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_soft_time_limit=SOFT_TIME_LIMIT_S,
        task_time_limit=HARD_TIME_LIMIT_S,
        task_track_started=False,
        task_ignore_result=False,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        worker_concurrency=settings.worker_concurrency,
        worker_max_memory_per_child=settings.worker_max_memory_kib,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_TIMEOUT_S,
            "socket_timeout": 5,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "retry_on_timeout": True,
        },
        redis_socket_timeout=5,
        redis_socket_connect_timeout=2,
        redis_retry_on_timeout=True,
        timezone="UTC",
        enable_utc=True,
    )
    return queue
