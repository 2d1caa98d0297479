"""The face jobs with real Redis: through a real Celery worker, repeated, expired, broken."""

from __future__ import annotations

import secrets

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from proctor.frames import put, take
from proctor.tasks import ENROL_FACE, FORGET_FACE, JUDGE_FACE, MAX_ATTEMPTS, WARM, FaceJobs, ProctorContext, register
from proctor.templates import TemplateBox


@pytest.fixture
def context(redis_url, redis_prefix, tmp_path, weights_home):
    return ProctorContext(
        redis_url=redis_url,
        templates_folder=tmp_path / "templates",
        master_key=secrets.token_bytes(32),
        weights_home=weights_home,
        key_prefix=redis_prefix,
    )


@pytest.fixture
def box(context):
    return TemplateBox(context.templates_folder, context.master_key)


@pytest.fixture
async def keep(redis_url, redis_prefix):
    """keep(bytes, codec) -> key: a frame put where a job finds it, as the conductor does."""
    redis = AsyncRedis.from_url(redis_url)

    async def run(frame: bytes, codec: str = "vp8", ttl_s: int = 120) -> str:
        key = f"{redis_prefix}frame:{secrets.token_hex(4)}"
        await put(redis, key, frame, codec, ttl_s)
        return key

    yield run
    await redis.aclose()


async def test_a_frame_waits_in_redis_and_expires_by_itself(redis_url, keep):
    redis = Redis.from_url(redis_url)
    key = await keep(b"\x00\n\xff" * 5, "vp8", 120)
    frame = take(redis, key)
    assert frame is not None and (frame.codec, frame.data) == ("vp8", b"\x00\n\xff" * 5)
    assert 100 < redis.ttl(key) <= 120
    assert take(redis, "nothing:here") is None
    redis.close()


async def test_through_a_real_worker_enrol_match_mismatch_and_forget(
    context, box, keep, encode, carphone, astronaut, engine
):
    app = Celery("proctor-test", broker=context.redis_url, backend=context.redis_url, set_as_current=False)
    app.conf.task_default_queue = f"{context.key_prefix}jobs"
    register(app, context)
    assert {JUDGE_FACE, ENROL_FACE, FORGET_FACE, WARM} <= set(app.tasks)
    assert app.conf.worker_max_memory_per_child == context.max_memory_kb
    shots = [await keep(encode(carphone[at], "jpeg"), "jpeg") for at in (0, 4, 8)]
    his = await keep(encode(carphone[2], "vp8"))
    hers = await keep(encode(astronaut, "h264"), "h264")
    with start_worker(app, pool="solo", perform_ping_check=False, loglevel="error"):
        enrolled = app.send_task(ENROL_FACE, ("person", shots)).get(timeout=20)
        assert enrolled["enrolled"] and all(shot["ok"] for shot in enrolled["shots"])
        key = enrolled["template_key"]
        assert box.open(key).shots == 3
        match = app.send_task(JUDGE_FACE, ("c1", his, key)).get(timeout=20)
        mismatch = app.send_task(JUDGE_FACE, ("c2", hers, key)).get(timeout=20)
        assert (match["outcome"], mismatch["outcome"]) == ("MATCH", "MISMATCH")
        assert app.send_task(WARM).get(timeout=20)["detector"] == "dlib-hog"
        assert app.send_task(FORGET_FACE, (key,)).get(timeout=20) is True
        after = app.send_task(JUDGE_FACE, ("c3", his, key)).get(timeout=20)
        assert (after["outcome"], after["reason"]) == ("NOT_JUDGED", "no_template")
    app.close()


@pytest.fixture
def jobs(context):
    return FaceJobs(context)


@pytest.fixture
def sealed(box, carphone_template):
    box.seal("t_1", carphone_template)
    return "t_1"


async def test_a_repeated_check_answers_the_same_and_the_frame_is_gone(jobs, sealed, keep, encode, carphone, redis_url):
    key = await keep(encode(carphone[2]))
    first = jobs.judge_face("c1", key, sealed)
    assert first["outcome"] == "MATCH"
    redis = Redis.from_url(redis_url)
    assert redis.get(key) is None
    assert jobs.judge_face("c1", key, sealed) == first
    # Another check of the same frame finds none: a frame answers one question.
    again = jobs.judge_face("c2", key, sealed)
    assert (again["outcome"], again["reason"]) == ("NO_FRAME", "frame_expired")
    redis.close()


async def test_a_repeated_enrolment_names_the_same_template(jobs, keep, encode, carphone, context):
    shots = [await keep(encode(carphone[at], "jpeg"), "jpeg") for at in (0, 4, 8)]
    first = jobs.enrol_face("person", shots)
    assert jobs.enrol_face("person", shots) == first
    assert len(list(context.templates_folder.iterdir())) == 1


async def test_a_refused_enrolment_keeps_nothing(jobs, keep, encode, carphone, nobody, context):
    shots = [await keep(encode(picture, "jpeg"), "jpeg") for picture in (carphone[0], nobody, carphone[8])]
    answer = jobs.enrol_face("person", shots)
    assert not answer["enrolled"] and answer["template_key"] is None
    assert [shot["problem"] for shot in answer["shots"]] == [None, "no_face", None]
    assert not context.templates_folder.exists()


async def test_a_tampered_template_is_our_fault_not_the_learners(jobs, sealed, keep, encode, carphone, context):
    path = context.templates_folder / f"{sealed}.template"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    answer = jobs.judge_face("c1", await keep(encode(carphone[2])), sealed)
    assert (answer["outcome"], answer["reason"]) == ("NOT_JUDGED", "template_unreadable")


async def test_broken_weights_are_not_judged_and_logged(context, keep, encode, carphone, carphone_template, tmp_path):
    home = tmp_path / "home"
    folder = home / ".deepface" / "weights"
    folder.mkdir(parents=True)
    (folder / "dlib_face_recognition_resnet_model_v1.dat").write_bytes(b"untrained")
    jobs = FaceJobs(ProctorContext(context.redis_url, context.templates_folder, context.master_key, home))
    TemplateBox(context.templates_folder, context.master_key).seal("t_1", carphone_template)
    answer = jobs.judge_face(secrets.token_hex(4), await keep(encode(carphone[2])), "t_1")
    assert (answer["outcome"], answer["reason"]) == ("NOT_JUDGED", "engine_failed")


async def test_a_frame_that_kills_its_worker_is_given_up(jobs, sealed, keep, encode, carphone, context, redis_url):
    redis = Redis.from_url(redis_url)
    # So many workers took this check and never answered.
    redis.set(f"{context.key_prefix}attempts:c1", MAX_ATTEMPTS)
    key = await keep(encode(carphone[2]))
    answer = jobs.judge_face("c1", key, sealed)
    assert (answer["outcome"], answer["reason"]) == ("NOT_JUDGED", "worker_died")
    assert redis.get(key) is None
    redis.close()


async def test_liveness_votes_are_counted_over_checks_of_one_learner(
    context, operator_models, press_photos, tmp_path, keep
):
    home = tmp_path / "home"
    jobs = FaceJobs(
        ProctorContext(
            context.redis_url,
            context.templates_folder,
            context.master_key,
            home,
            operator_models,
            key_prefix=context.key_prefix,
        )
    )
    box = TemplateBox(context.templates_folder, context.master_key)
    from proctor.engine import warm_engine
    from proctor.enrol import look
    from proctor.templates import Template
    from proctor.thresholds import DEFAULT_THRESHOLDS

    engine = warm_engine(home, operator_models)
    photo = (press_photos / "spoof_sample_2.jpg").read_bytes()
    vector = look(engine, photo, DEFAULT_THRESHOLDS).vector
    assert vector is not None
    box.seal("t_1", Template(engine.embedder.model, vector))
    outcomes = [jobs.judge_face(f"c{at}", await keep(photo, "jpeg"), "t_1")["outcome"] for at in range(4)]
    assert outcomes == ["MATCH", "MATCH", "SPOOF_SUSPECTED", "SPOOF_SUSPECTED"]
