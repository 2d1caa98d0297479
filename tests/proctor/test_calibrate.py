"""The calibration command on real photos: the measured numbers still hold."""

from __future__ import annotations

from proctor.calibrate import calibrate, main, report


def test_thresholds_hold_on_the_press_photos_at_320x240(engine, press_photos):
    found = calibrate(engine, press_photos, (320, 240))
    assert (len(found.same), len(found.different), found.not_found) == (20, 23, ())
    assert found.false_accepts(0.07) == 0
    # Single shots instead of the mean of three: none is called another person, few are called unsure.
    assert found.false_rejects(0.09) == 0
    assert found.false_rejects(0.07) <= 0.10


def test_the_command_prints_both_rates(press_photos, capsys, engine, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for name in ("p01_1.jpg", "p01_2.jpg", "p11_1.jpg"):
        (few / name).write_bytes((press_photos / name).read_bytes())
    (few / "pairs.csv").write_text("fileA,fileB,same\np01_1.jpg,p01_2.jpg,1\np01_1.jpg,p11_1.jpg,0\n")
    main([str(few)])
    printed = capsys.readouterr().out
    assert "probe 640x480: 1 same, 1 different pairs" in printed
    assert "probe 320x240" in printed
    assert "FRR" in printed and "FAR" in printed and "<- MATCH up to" in printed
    assert report(calibrate(engine, few, (640, 480))) in printed
