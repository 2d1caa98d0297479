"""The numbers a verdict depends on, in one place, each with its source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Thresholds:
    """Cosine distances between a probe and a template, for the Dlib network on 150-px dlib chips.

    Source: 84 press photos of 24 people re-framed as webcam views (157 same, 3329 different pairs), enrolled at
    640x480 with the mean of three shots, probed at 320x240. At .07: 0 % false rejects, 0.09 % false accepts; at .08:
    0 % / 0.3 %. They were well-lit adults: run `proctor.calibrate` on site before trusting these.
    """

    match_up_to: float = 0.07
    """At or below: the same person."""
    mismatch_from: float = 0.09
    """At or above: another person. Between the two nobody should decide on one picture: UNSURE, look again."""
    min_long_side_px: int = 320
    min_short_side_px: int = 240
    """Frames below 320x240 (either way round) are not judged: at 160x120 one shot gives 26 % false rejects."""
    min_face_px: int = 56
    """Width of the face box. The measured faces fill 38 % of a frame's height: 91 px at 320x240 where the thresholds
    hold, 46 px at 160x120 where they do not."""
    bystander_share: float = 0.4
    """Faces narrower than this share of the widest one are people far behind or pictures on the wall, not a second
    person at the desk."""
    dark_mean: float = 35.0
    """Mean luminance (0..255) under which a missing face is put down to darkness. A covered camera reads below 20."""
    spoof_score: float = 0.70
    spoof_votes: int = 3
    """So many looks in a row, each at least that sure, make SPOOF_SUSPECTED. One look proves nothing: of 23 re-framed
    genuine press photos the networks call 7 spoofed at .70 (6 at .80, four of them above .98), and of the two
    genuine spoofs at hand they are .72 and 1.00 sure."""

    def __post_init__(self) -> None:
        if not 0.0 < self.match_up_to <= self.mismatch_from:
            raise ValueError("match_up_to must be positive and not above mismatch_from")


DEFAULT_THRESHOLDS = Thresholds()
