"""Templates at rest: sealed, bound to their name, written in one step, wiped (R-140)."""

from __future__ import annotations

import secrets
import struct

import pytest

from proctor.templates import Template, TemplateBox, TemplateError

VECTOR = tuple(float(f"{value / 128:.3f}") for value in range(128))
TEMPLATE = Template("dlib-resnet-v1/chip150-0.25", tuple(struct.unpack("128f", struct.pack("128f", *VECTOR))), 3)


@pytest.fixture
def box(tmp_path):
    return TemplateBox(tmp_path / "templates", secrets.token_bytes(32))


def file_of(tmp_path, key):
    return tmp_path / "templates" / f"{key}.template"


def test_what_was_sealed_opens(box):
    box.seal("t_1", TEMPLATE)
    assert box.open("t_1") == TEMPLATE


def test_nothing_on_the_disk_reads_as_the_template(box, tmp_path):
    box.seal("t_1", TEMPLATE)
    data = file_of(tmp_path, "t_1").read_bytes()
    assert b"dlib" not in data and b"shots" not in data
    assert struct.pack(">4f", *VECTOR[10:14]) not in data
    assert struct.pack("<4f", *VECTOR[10:14]) not in data


def test_two_sealings_share_no_bytes_but_the_magic(box, tmp_path):
    box.seal("t_1", TEMPLATE)
    first = file_of(tmp_path, "t_1").read_bytes()
    box.seal("t_1", TEMPLATE)
    second = file_of(tmp_path, "t_1").read_bytes()
    assert first[:8] == second[:8] and first[8:24] != second[8:24] and first[24:36] != second[24:36]


def test_every_flipped_byte_is_found(box, tmp_path):
    box.seal("t_1", TEMPLATE)
    path = file_of(tmp_path, "t_1")
    data = path.read_bytes()
    for at in range(0, len(data), 7):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(TemplateError) as caught:
            box.open("t_1")
        assert caught.value.code == "template_unreadable"
    for length in (0, 7, 20, 36, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(TemplateError) as caught:
            box.open("t_1")
        assert caught.value.code == "template_unreadable"


def test_a_template_under_another_persons_name_does_not_open(box, tmp_path):
    box.seal("t_1", TEMPLATE)
    file_of(tmp_path, "t_1").rename(file_of(tmp_path, "t_2"))
    with pytest.raises(TemplateError) as caught:
        box.open("t_2")
    assert caught.value.code == "template_unreadable"


def test_another_key_does_not_open(box, tmp_path):
    box.seal("t_1", TEMPLATE)
    with pytest.raises(TemplateError):
        TemplateBox(tmp_path / "templates", secrets.token_bytes(32)).open("t_1")


def test_deleting_wipes_and_says_whether_there_was_one(box, tmp_path):
    box.seal("t_1", TEMPLATE)
    path = file_of(tmp_path, "t_1")
    linked = tmp_path / "linked"
    linked.hardlink_to(path)
    before = linked.read_bytes()
    assert box.delete("t_1") is True
    assert not path.exists()
    assert linked.read_bytes() != before and linked.read_bytes()[8:40] != before[8:40]
    assert box.delete("t_1") is False
    with pytest.raises(TemplateError) as caught:
        box.open("t_1")
    assert caught.value.code == "template_missing"


def test_only_the_owner_may_read_and_no_half_file_stays(box, tmp_path):
    box.seal("t_1", TEMPLATE)
    assert file_of(tmp_path, "t_1").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "templates").iterdir()] == ["t_1.template"]


@pytest.mark.parametrize("key", ["", "../t", "a/b", "t 1", "t\n", "t\x00", "x" * 65, "甲"])
def test_names_that_could_leave_the_folder_are_refused(box, key):
    for action in (lambda: box.seal(key, TEMPLATE), lambda: box.open(key), lambda: box.delete(key)):
        with pytest.raises(TemplateError) as caught:
            action()
        assert caught.value.code == "bad_key"


def test_a_short_master_key_is_refused(tmp_path):
    with pytest.raises(TemplateError) as caught:
        TemplateBox(tmp_path, b"short")
    assert caught.value.code == "bad_key"
