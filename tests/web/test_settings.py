"""Settings and secrets: what the environment says, what is made once, what a mistake answers."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from media.listening import datagram_addresses, listen_on
from web.key_files import KEY_BYTES, KeyFileError, KeyFiles
from web.settings import Settings


def control_key(folder: str) -> str:
    return KeyFiles(Path(folder)).control


def test_secrets_are_made_once_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    keys = KeyFiles(tmp_path / "secrets")
    first = (keys.media_token, keys.control, keys.redis_password, keys.ledger_signing, keys.templates)
    assert len(set(map(str, first))) == 5
    again = KeyFiles(tmp_path / "secrets")
    assert first == (
        again.media_token,
        again.control,
        again.redis_password,
        again.ledger_signing,
        again.templates,
    )
    for path in (tmp_path / "secrets").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_processes_that_start_at_once_agree_on_a_secret(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4) as pool:
        seen = set(pool.map(control_key, [str(tmp_path / "secrets")] * 12))
    assert len(seen) == 1


def test_a_damaged_secret_is_named_and_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.key"
    path.write_bytes(b"short")
    with pytest.raises(KeyFileError, match="control.key"):
        _ = KeyFiles(tmp_path).control
    assert path.read_bytes() == b"short"


def test_the_template_key_can_be_kept_apart(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", template_key_file=tmp_path / "elsewhere" / "template.key")
    assert len(settings.keys.templates) == KEY_BYTES
    assert (tmp_path / "elsewhere" / "template.key").exists()
    assert not (tmp_path / "data" / "secrets" / "template.key").exists()


def test_children_read_the_same_settings_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(
        data_dir=tmp_path, web_port=9001, demo=True, allowed_origins="https://a.example, https://b.example"
    )
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings
    assert settings.origins[-2:] == ["https://a.example", "https://b.example"]


@pytest.mark.parametrize(
    ("variable", "value"), [("ANKE_WEB_PORT", "99999"), ("ANKE_LOG_LEVEL", "loud"), ("ANKE_CLOCK_FACTOR", "zero")]
)
def test_a_wrong_setting_is_told_in_one_line(variable: str, value: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "web.cli", "up"],
        env={**os.environ, variable: value},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"anke: setting {variable}: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("module", ["web.app", "web.cli"])
def test_a_web_node_starts_without_what_it_does_not_need(module: str) -> None:
    heavy = ("numpy", "cv2", "av", "dlib", "deepface", "onnxruntime", "aiortc", "openpyxl")
    command = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_a_wildcard_host_is_listened_on_but_never_connected_to(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, host="0.0.0.0")
    assert settings.own_url == "http://127.0.0.1:8080"
    assert settings.media_control == "http://127.0.0.1:8081"
    assert settings.media_ips == [], "the node then offers every interface's address"
    public = Settings(
        data_dir=tmp_path, host="0.0.0.0", media_public_url="https://m.example/", media_public_ips="1.2.3.4"
    )
    assert (public.media_url, public.media_ips) == ("https://m.example", ["1.2.3.4"])
    assert public.media_control == "http://127.0.0.1:8081"


def test_an_ipv6_host_stands_in_brackets_in_urls(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, host="::1")
    assert (settings.own_url, settings.media_url) == ("http://[::1]:8080", "http://[::1]:8081")
    assert "http://[::1]:8080" in settings.origins and settings.media_ips == ["::1"]
    both = Settings(data_dir=tmp_path, host="::")
    assert (both.own_url, both.media_ips) == ("http://127.0.0.1:8080", [])
    assert datagram_addresses("::", 1) == (("0.0.0.0", 1), ("::", 1))
    assert datagram_addresses("::1", 1) == (("::1", 1),)


def test_the_wildcard_listens_for_both_families() -> None:
    with listen_on("::", 0) as listener:
        port = listener.getsockname()[1]
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.socket(family) as client:
                client.connect((host, port))
