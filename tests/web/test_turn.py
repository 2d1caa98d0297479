"""coturn as we run it: it relays to the media node for who holds a fresh credential, and to nobody else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from media._router import Router
from media.ice_servers import CREDENTIAL_LIFETIME_S, IceServer, Turn
from media.listening import interface_addresses
from media.relay_check import RelayFailed, relayed_check, turn_address
from web.demo.headless import free_ports
from web.settings import Settings
from web.turn import runs_turn, turn_binary, turn_plan, turn_urls, with_turn, write_turn_configuration

UFRAG, PWD = "ufragof8", "a password of twenty-two"
installed = pytest.mark.skipif(turn_binary() is None, reason="coturn's turnserver is not installed")


def turn_settings(folder: Path, **changes: object) -> Settings:
    plain, tls, media, *_ = free_ports(3)
    first = 50_000 + time.time_ns() // 1000 % 10_000
    values: dict[str, object] = {
        "data_dir": folder,
        "turn_port": plain,
        "turn_tls_port": tls,
        "media_udp_port": media,
        "turn_first_relay_port": first,
        "turn_last_relay_port": first + 99,
    }
    return Settings.model_validate(values | changes)


def _listens(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        return probe.connect_ex((host, port)) == 0


@contextmanager
def running(settings: Settings) -> Iterator[None]:
    plan = turn_plan(settings)
    log = settings.data_dir / "turn.log"
    with log.open("wb") as output:
        process = subprocess.Popen(plan.command, stdout=output, stderr=output)
    try:
        deadline_s = time.monotonic() + 20
        for port in (settings.turn_port, settings.turn_tls_port):
            while not _listens(settings.reached_at, port):
                assert process.poll() is None and time.monotonic() < deadline_s, log.read_text()[-3000:]
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def media_port(host: str, port: int) -> Iterator[tuple[str, int]]:
    """The router as a media node runs it, answering checks with our credentials."""
    router = Router([(host, port)])
    router.add_transport(1, UFRAG, PWD)
    yield router.local_addresses()[0]
    router.close()


def server(settings: Settings, transport: str, now_ms: int | None = None) -> IceServer:
    urls = {item.rsplit("=", 1)[1]: item for item in turn_urls(settings)}
    turn = Turn((urls[transport],), settings.keys.turn)
    return turn.servers("p_learner", now_ms or time.time_ns() // 1_000_000)[0]


def test_a_credential_is_what_coturn_computes_from_the_shared_secret() -> None:
    turn = Turn(("turn:192.0.2.1:3478",), "secret")
    username, credential = turn.credentials("p_1", 1_700_000_000_000)
    expiry, person = username.split(":")
    assert int(expiry) == 1_700_000_000 + CREDENTIAL_LIFETIME_S
    assert "p_1" not in person and person != turn.credentials("p_2", 1_700_000_000_000)[0].split(":")[1]
    assert base64.b64decode(credential) == hmac.new(b"secret", username.encode(), hashlib.sha1).digest()


def test_turn_urls_are_read_as_rfc_7065_writes_them() -> None:
    at = turn_address("turn:192.0.2.1:8083?transport=tcp")
    assert (at.host, at.port, at.transport, at.tls) == ("192.0.2.1", 8083, "tcp", False)
    at = turn_address("turns:[2001:db8::1]?transport=tcp")
    assert (at.host, at.port, at.transport, at.tls) == ("2001:db8::1", 5349, "tcp", True)
    assert turn_address("turn:turn.example.org").port == 3478
    for wrong in ("stun:192.0.2.1", "turn:", "turn:a b", "turn:host:x"):
        with pytest.raises(ValueError, match="RFC 7065"):
            turn_address(wrong)


def test_only_the_media_addresses_may_be_relayed_to(tmp_path: Path) -> None:
    settings = turn_settings(tmp_path, host="0.0.0.0", media_public_ips=["192.0.2.7", "2001:db8::7"])
    path = write_turn_configuration(settings)
    lines = path.read_text().splitlines()
    assert [line for line in lines if line.startswith("allowed-peer-ip=")] == [
        "allowed-peer-ip=192.0.2.7",
        "allowed-peer-ip=2001:db8::7",
    ]
    assert "denied-peer-ip=0.0.0.0-255.255.255.255" in lines and "allow-loopback-peers" not in lines
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert turn_urls(settings)[0] == f"turn:192.0.2.7:{settings.turn_port}?transport=udp"


@installed
def test_children_are_told_of_our_own_server_only_where_we_run_it(tmp_path: Path) -> None:
    settings = turn_settings(tmp_path)
    assert runs_turn(settings) and with_turn(settings).turn_urls == turn_urls(settings)
    assert settings.ice_turn is None and with_turn(settings).ice_turn is not None
    elsewhere = settings.model_copy(update={"turn_urls": ["turn:turn.example.org"]})
    assert not runs_turn(elsewhere) and with_turn(elsewhere) is elsewhere
    assert not runs_turn(settings.model_copy(update={"turn": False}))


@installed
async def test_a_packet_is_relayed_to_the_media_port_and_nowhere_else(tmp_path: Path) -> None:
    settings = turn_settings(tmp_path)
    with running(settings), media_port("127.0.0.1", settings.media_udp_port) as media:
        for transport in ("udp", "tcp"):
            assert await relayed_check(server(settings, transport), media, UFRAG, PWD) > 0
        with pytest.raises(RelayFailed, match="no allocation"):
            await relayed_check(server(settings, "udp", now_ms=1_000), media, UFRAG, PWD)
        good = server(settings, "tcp")
        forged = IceServer(good.url, good.username, "AAAA")
        with pytest.raises(RelayFailed, match="no allocation"):
            await relayed_check(forged, media, UFRAG, PWD)
        with media_port("127.0.0.2", 0) as other, pytest.raises(RelayFailed, match="nothing comes back"):
            await relayed_check(good, other, UFRAG, PWD)


@installed
async def test_tls_is_carried_with_a_certificate_that_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = turn_settings(tmp_path)
    with running(settings), media_port("127.0.0.1", settings.media_udp_port) as media:
        username, credential = Turn((), settings.keys.turn).credentials("p_learner", time.time_ns() // 1_000_000)
        url = f"turns:127.0.0.1:{settings.turn_tls_port}?transport=tcp"
        with pytest.raises(RelayFailed, match="TLS"):
            await relayed_check(IceServer(url, username, credential), media, UFRAG, PWD)
        monkeypatch.setenv("SSL_CERT_FILE", str(settings.data_dir / "turn" / "self-signed.pem"))
        assert await relayed_check(IceServer(url, username, credential), media, UFRAG, PWD) > 0


async def test_a_server_that_is_not_there_is_named_as_that(tmp_path: Path) -> None:
    settings = turn_settings(tmp_path)
    with media_port("127.0.0.1", 0) as media, pytest.raises(RelayFailed, match="no allocation"):
        await relayed_check(server(settings, "tcp"), media, UFRAG, PWD)


@installed
async def test_an_ipv6_host_relays_over_ipv6(tmp_path: Path) -> None:
    settings = turn_settings(tmp_path, host="::1")
    with running(settings), media_port("::1", 0) as media:
        assert turn_urls(settings)[0] == f"turn:[::1]:{settings.turn_port}?transport=udp"
        for transport in ("udp", "tcp"):
            assert await relayed_check(server(settings, transport), media, UFRAG, PWD) > 0


def test_every_address_that_a_wildcard_announces_may_be_relayed_to(tmp_path: Path) -> None:
    text = write_turn_configuration(turn_settings(tmp_path, host="::")).read_text()
    for version in (4, 6):
        for address in interface_addresses(version):
            assert f"allowed-peer-ip={address}\n" in text
    assert "listening-ip" not in text
