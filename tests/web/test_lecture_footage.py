"""The demo's lecture: pictures that move under a caption, and a sound that is heard."""

from __future__ import annotations

from itertools import islice

import cv2
import numpy as np

from web.demo.lecture_footage import CAPTION_S, LECTURE_FPS, LECTURE_SIZE, lecture_pictures, lecture_sound


def test_pictures_move_repeat_and_carry_a_changing_caption():
    width, height = LECTURE_SIZE
    pictures = list(islice(lecture_pictures(), 200))
    assert all(picture.shape == (height * 3 // 2, width) and picture.dtype == np.uint8 for picture in pictures)
    moved = np.abs(pictures[0][:height].astype(int) - pictures[1][:height]).mean()
    assert moved > 0.5
    first, later = pictures[0][height - 30 : height], pictures[round(CAPTION_S * LECTURE_FPS) + 1][height - 30 : height]
    assert (first > 200).sum() != (later > 200).sum()
    # 10 s and 5.3 s of film at 12 pictures a second, then from the start again.
    assert any(np.array_equal(pictures[0], picture) for picture in pictures[150:])
    assert cv2.cvtColor(pictures[5], cv2.COLOR_YUV2BGR_I420).shape == (height, width, 3)


def test_the_sound_is_heard_most_of_the_time_and_never_clips():
    pieces = list(islice(lecture_sound(), 600))
    assert all(piece.shape == (1, 1920) and piece.dtype == np.int16 for piece in pieces)
    loudness = np.array([np.sqrt((piece.astype(float) ** 2).mean()) for piece in pieces]) / 32768
    assert 20 * np.log10(np.sqrt((loudness**2).mean())) > -32, "too quiet to be noticed"
    assert (loudness > 0.01).mean() > 0.6
    assert max(int(np.abs(piece).max()) for piece in pieces) < 16_000
    left, right = pieces[100][0, 0::2], pieces[100][0, 1::2]
    assert np.array_equal(left, right)


def test_the_sound_has_no_click_where_it_repeats():
    whole = np.concatenate([piece[0, ::2] for piece in islice(lecture_sound(), 601)])
    seam = 600 * 960
    assert abs(int(whole[seam]) - int(whole[seam - 1])) < 400
