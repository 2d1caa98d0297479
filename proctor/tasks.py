"""The face jobs: a worker's only way into this house.

A job may be given twice (a worker died, a broker repeated itself), so each answers from what it left behind. A job that
breaks answers NOT_JUDGED with a reason: what is our fault must never look like the learner's.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from proctor.frames import drop, take
from proctor.templates import Template, TemplateBox, TemplateError
from proctor.thresholds import DEFAULT_THRESHOLDS, Thresholds
from proctor.verdict import Liveness, Outcome, Reason, Verdict

if TYPE_CHECKING:
    from celery import Celery
    from redis import Redis

    from proctor.engine import Engine

log = structlog.get_logger("proctor")

JUDGE_FACE = "proctor.judge_face"
ENROL_FACE = "proctor.enrol_face"
FORGET_FACE = "proctor.forget_face"
WARM = "proctor.warm"

ANSWER_TTL_S = 3600
"""How long a repeated job is answered from its first answer; far longer than any redelivery takes."""
MAX_ATTEMPTS = 3
"""A frame that kills its worker is given again by the broker; after this many it is let go, not judged."""
SOFT_TIME_LIMIT_S = 20
TIME_LIMIT_S = 30
MAX_MEMORY_KB = 700_000
"""A worker process above this is replaced after its job. One warm engine takes 175 to 220 MB, and DeepFace's users
report memory that grows with each call."""


@dataclass(frozen=True)
class ProctorContext:
    """What the jobs are given by whoever starts the worker."""

    redis_url: str
    templates_folder: Path
    master_key: bytes = field(repr=False)
    weights_home: Path
    operator_models: Path | None = None
    thresholds: Thresholds = field(default=DEFAULT_THRESHOLDS)
    key_prefix: str = "proctor:"
    max_memory_kb: int = MAX_MEMORY_KB


def register(app: Celery, context: ProctorContext) -> None:
    """Defines this house's tasks on `app`. Loads no model: that happens in the worker process, at its first job.

    * `proctor.judge_face(check_id, frame_key, template_key) -> Verdict.to_dict()`
    * `proctor.enrol_face(subject, shot_keys) -> {"enrolled", "template_key", "model", "shots": [{"ok", "problem"}]}`
    * `proctor.forget_face(template_key) -> bool`
    * `proctor.warm() -> Engine.snapshot()`
    """
    jobs = FaceJobs(context)
    if app.conf.worker_max_memory_per_child is None:
        app.conf.worker_max_memory_per_child = context.max_memory_kb
    # Given back to the queue when the worker dies under it; a second run finds the first one's answer.
    redeliverable = {
        "acks_late": True,
        "reject_on_worker_lost": True,
        "soft_time_limit": SOFT_TIME_LIMIT_S,
        "time_limit": TIME_LIMIT_S,
    }
    app.task(name=JUDGE_FACE, **redeliverable)(jobs.judge_face)
    app.task(name=ENROL_FACE, **redeliverable)(jobs.enrol_face)
    app.task(name=FORGET_FACE, **redeliverable)(jobs.forget_face)
    app.task(name=WARM, **redeliverable)(jobs.warm)


class FaceJobs:
    """The bodies of the tasks, with what they keep open between two jobs of one process."""

    def __init__(self, context: ProctorContext) -> None:
        self._context = context
        self._redis: Redis | None = None
        self._box: TemplateBox | None = None

    def judge_face(self, check_id: str, frame_key: str, template_key: str) -> dict[str, Any]:
        """One check. The frame is forgotten as soon as there is an answer."""
        attempt_key = f"{self._context.key_prefix}attempts:{check_id}"
        answer_key = f"{self._context.key_prefix}verdict:{check_id}"
        try:
            given = self._answered(answer_key)
            if given is not None:
                return given
            attempt = self._attempt(attempt_key)
            if attempt > MAX_ATTEMPTS:
                log.error("face check given up", check_id=check_id, attempts=attempt)
                verdict = Verdict(Outcome.NOT_JUDGED, reason=Reason.WORKER_DIED)
            else:
                verdict = self._judge(frame_key, template_key)
                self._remember_spoof(template_key, verdict)
            drop(self._connection(), frame_key)
            log.info("face check", check_id=check_id, outcome=str(verdict.outcome), distance=verdict.distance)
            return self._answer(answer_key, verdict.to_dict())
        except Exception:
            # Whatever broke (Redis, the model, a time limit), the conductor needs an answer that blames nobody.
            log.exception("face check failed", check_id=check_id)
            return Verdict(Outcome.NOT_JUDGED, reason=Reason.ENGINE_FAILED).to_dict()

    def _judge(self, frame_key: str, template_key: str) -> Verdict:
        from proctor.judge import judge_frame

        try:
            template: Template = self._templates().open(template_key)
        except TemplateError as error:
            log.error("face check without template", template_key=template_key, code=error.code, sentence=str(error))
            missing = error.code == "template_missing"
            return Verdict(Outcome.NOT_JUDGED, reason=Reason.NO_TEMPLATE if missing else Reason.TEMPLATE_UNREADABLE)
        frame = take(self._connection(), frame_key)
        votes = self._connection().get(self._spoof_key(template_key))
        return judge_frame(self._engine(), frame, template, self._context.thresholds, int(votes or 0))

    def _spoof_key(self, template_key: str) -> str:
        return f"{self._context.key_prefix}spoofs:{template_key}"

    def _remember_spoof(self, template_key: str, verdict: Verdict) -> None:
        """Counts looks in a row that seemed spoofed; a look that seemed alive starts over."""
        from proctor.judge import seems_spoofed

        redis = self._connection()
        if seems_spoofed(verdict, self._context.thresholds):
            redis.incr(self._spoof_key(template_key))
            redis.expire(self._spoof_key(template_key), ANSWER_TTL_S)
        elif verdict.liveness is Liveness.REAL:
            redis.delete(self._spoof_key(template_key))

    def enrol_face(self, subject: str, shot_keys: list[str]) -> dict[str, Any]:
        """Three JPEG shots waiting in Redis → a sealed template, or what was wrong with each shot.

        `subject` is opaque. Unlike a check this one raises when it breaks: someone is waiting for the answer.
        """
        from proctor.enrol import enrol

        template_key = self._template_key(subject, shot_keys)
        answer_key = f"{self._context.key_prefix}enrolment:{template_key}"
        given = self._answered(answer_key)
        if given is not None:
            return given
        redis = self._connection()
        jpegs = []
        for key in shot_keys:
            frame = take(redis, key)
            jpegs.append(b"" if frame is None else frame.data)
        enrolment = enrol(self._engine(), jpegs, self._context.thresholds)
        if enrolment.template is not None:
            self._templates().seal(template_key, enrolment.template)
        drop(redis, *shot_keys)
        log.info("face enrolment", subject=subject, enrolled=enrolment.template is not None)
        return self._answer(
            answer_key,
            {
                "enrolled": enrolment.template is not None,
                "template_key": None if enrolment.template is None else template_key,
                "model": None if enrolment.template is None else enrolment.template.model,
                "shots": [shot.to_dict() for shot in enrolment.shots],
            },
        )

    def forget_face(self, template_key: str) -> bool:
        """Deletes a template; False when it was gone already."""
        return self._templates().delete(template_key)

    def warm(self) -> dict[str, Any]:
        """Loads the models now rather than at the first check; says which ones they are."""
        return self._engine().snapshot()

    def _template_key(self, subject: str, shot_keys: list[str]) -> str:
        """The same job always names the same file, so a repeated one leaves no second template behind."""
        named = hmac.new(
            self._context.master_key, json.dumps([subject, shot_keys]).encode(), hashlib.sha256
        ).hexdigest()
        return f"t_{named[:24]}"

    def _answered(self, answer_key: str) -> dict[str, Any] | None:
        value = self._connection().get(answer_key)
        return None if value is None else json.loads(value)

    def _answer(self, answer_key: str, answer: dict[str, Any]) -> dict[str, Any]:
        self._connection().set(answer_key, json.dumps(answer), ex=ANSWER_TTL_S)
        return answer

    def _attempt(self, attempt_key: str) -> int:
        redis = self._connection()
        attempt = redis.incr(attempt_key)
        redis.expire(attempt_key, ANSWER_TTL_S)
        return int(attempt)

    def _engine(self) -> Engine:
        from proctor.engine import warm_engine

        return warm_engine(self._context.weights_home, self._context.operator_models)

    def _templates(self) -> TemplateBox:
        if self._box is None:
            self._box = TemplateBox(self._context.templates_folder, self._context.master_key)
        return self._box

    def _connection(self) -> Redis:
        """Opened in the worker process itself: a connection must not be shared across a fork."""
        if self._redis is None:
            from redis import Redis
            from redis.backoff import ExponentialBackoff
            from redis.exceptions import ConnectionError as RedisAway
            from redis.exceptions import TimeoutError as RedisSlow
            from redis.retry import Retry

            self._redis = Redis.from_url(
                self._context.redis_url,
                retry=Retry(ExponentialBackoff(cap=1.0, base=0.1), retries=8),
                retry_on_error=[RedisAway, RedisSlow],
                socket_timeout=5,
            )
        return self._redis
