"""The demo's cameras: what they show must be judged as the demo claims, through the codec and size it sends."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from aiortc.codecs.vpx import Vp8Encoder, vp8_depayload

from proctor.engine import Engine, load_engine
from proctor.enrol import enrol
from proctor.frames import EncodedFrame
from proctor.judge import judge, judge_frame
from proctor.templates import Template
from proctor.verdict import Outcome
from web.demo.cast import Player, players
from web.demo.footage import (
    CAMERA_FPS,
    CAMERA_SIZE,
    LOOP_S,
    WALK_OUT_S,
    Camera,
    FootageMissing,
    camera_for,
    empty_room,
    enrolment_shots,
    package_file,
    write_fake_capture,
)

BITRATE_BPS = 150_000
LEAVES_AT_S = 20.0
PLAYERS = players()


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with tempfile.TemporaryDirectory(prefix="anke-weights-") as home:
        yield load_engine(Path(home))


def camera_of(player: Player) -> Camera:
    leaves_at_s = LEAVES_AT_S if player.behaviour == "absentee" else None
    return camera_for(player.behaviour, player.index, leaves_at_s=leaves_at_s)


def template_of(engine: Engine, player: Player) -> Template:
    enrolment = enrol(engine, enrolment_shots(player.behaviour, player.index))
    assert enrolment.template is not None, [shot.problem for shot in enrolment.shots]
    return enrolment.template


def key_frames(camera: Camera, at_s: list[float]) -> list[bytes]:
    """What a key-frame request at those times would have fetched from a running aiortc sender."""
    encoder = Vp8Encoder()
    encoder._Vp8Encoder__target_bitrate = BITRATE_BPS  # its setter refuses less than 250 kbit/s
    wanted = {round(t_s * camera.fps) for t_s in at_s}
    found = []
    for count in range(max(wanted) + 1):
        frame = camera.video_frame_at(count / camera.fps)
        frame.pts, frame.time_base = count, Fraction(1, camera.fps)
        payloads, _ = encoder.encode(frame, force_keyframe=count in wanted)
        if count in wanted:
            found.append(b"".join(vp8_depayload(payload) for payload in payloads))
    return found


@pytest.mark.parametrize("player", PLAYERS, ids=lambda player: f"{player.index}-{player.behaviour}")
def test_every_player_is_judged_as_what_they_play(engine, player):
    template = template_of(engine, player)
    frames = key_frames(camera_of(player), [1.2, 4.6])
    verdicts = [judge_frame(engine, EncodedFrame("vp8", frame), template) for frame in frames]
    expected = Outcome.MISMATCH if player.behaviour == "impostor" else Outcome.MATCH
    assert [verdict.outcome for verdict in verdicts] == [expected] * 2, verdicts
    for verdict in verdicts:
        assert (verdict.width, verdict.height) == CAMERA_SIZE
        # Far from either threshold, or the demo would hang on the encoder's mood.
        assert verdict.distance is not None
        assert verdict.distance > 0.15 if player.behaviour == "impostor" else verdict.distance < 0.04


def test_who_walked_away_leaves_nobody(engine):
    absentee = next(player for player in PLAYERS if player.behaviour == "absentee")
    template = template_of(engine, absentee)
    gone_s = LEAVES_AT_S + WALK_OUT_S
    before, *after = key_frames(camera_of(absentee), [LEAVES_AT_S - 1, gone_s + 0.2, gone_s + 30])
    assert judge_frame(engine, EncodedFrame("vp8", before), template).outcome is Outcome.MATCH
    for frame in after:
        assert judge_frame(engine, EncodedFrame("vp8", frame), template).outcome is Outcome.NO_FACE


@pytest.mark.parametrize("size", [(320, 240), CAMERA_SIZE, (640, 480)])
def test_the_empty_room_has_nobody_at_any_size(engine, size):
    nobody = Template(engine.embedder.model, (1.0,) * 128)
    assert judge(engine, empty_room(size), nobody).outcome is Outcome.NO_FACE


def test_the_loop_moves_and_has_no_cut():
    for index in (0, 1):
        camera = camera_for("honest", index)
        pictures = [camera.frame_at(count / CAMERA_FPS).astype(int) for count in range(round(LOOP_S * CAMERA_FPS) + 1)]
        assert np.array_equal(pictures[0], pictures[-1])
        steps = [np.abs(b - a).mean() for a, b in zip(pictures, pictures[1:], strict=False)]
        assert min(steps) > 0.3, "the picture stands still"
        assert steps[-1] <= max(steps[:-1]), "the loop jumps where it closes"


def test_no_two_learners_show_the_same_picture():
    shown = [camera_of(player).frame_at(3.0).astype(int) for player in PLAYERS]
    nearest = min(np.abs(shown[a] - shown[b]).mean() for a in range(len(shown)) for b in range(a + 1, len(shown)))
    assert nearest > 5


def test_a_camera_is_the_same_in_every_process():
    assert np.array_equal(camera_for("honest", 3).frame_at(2.2), camera_for("honest", 3).frame_at(2.2))
    assert enrolment_shots("honest", 3) == enrolment_shots("honest", 3)


def test_frames_and_video_frames_show_what_frame_at_shows():
    camera = camera_for("absentee", 11, leaves_at_s=2.0)
    for count, picture in zip(range(20), camera.frames(1.0), strict=False):
        t_s = 1.0 + count / CAMERA_FPS
        assert np.array_equal(picture, camera.frame_at(t_s))
        decoded = camera.video_frame_at(t_s).to_ndarray(format="bgr24")
        assert np.abs(decoded.astype(int) - picture).mean() < 4


@pytest.mark.parametrize(("behaviour", "leaves_at_s"), [("honest", 5.0), ("impostor", 5.0), ("absentee", None)])
def test_only_an_absentee_leaves(behaviour, leaves_at_s):
    with pytest.raises(ValueError, match="absentee"):
        camera_for(behaviour, 0, leaves_at_s=leaves_at_s)


@pytest.mark.parametrize("suffix", ["mjpeg", "y4m"])
def test_the_fake_capture_file_shows_a_face_all_along(engine, tmp_path, suffix):
    path = write_fake_capture(tmp_path / f"camera.{suffix}", fps=5)
    template = template_of(engine, PLAYERS[0])
    with av.open(str(path)) as film:
        pictures = [frame.to_ndarray(format="bgr24") for frame in film.decode(video=0)]
    assert len(pictures) == LOOP_S * 5 and pictures[0].shape == (480, 640, 3)
    for picture in pictures[::8]:
        assert judge(engine, picture, template).outcome is Outcome.MATCH


def test_other_capture_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\.webm"):
        write_fake_capture(tmp_path / "camera.webm")


def test_a_missing_package_is_named():
    with pytest.raises(FootageMissing, match="no_such_package"):
        package_file("no_such_package", "film.mp4")
    with pytest.raises(FootageMissing):
        package_file("skimage", "data", "no_such.png")
