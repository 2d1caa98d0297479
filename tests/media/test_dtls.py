"""The handshake against a plain aiortc peer, in both roles: same keys at both ends, cheapest profile chosen."""

from __future__ import annotations

import asyncio

import pytest
from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsParameters, RTCDtlsTransport
from pylibsrtp import Policy, Session

from media.dtls import MAX_WAITING_DATAGRAMS, DatagramPipe, DtlsTransport, NodeCertificate, SrtpKeys

RTP = bytes.fromhex("8060000100000000000004d2") + bytes(range(100))
LIBSRTP_PROFILES = {
    "AEAD_AES_128_GCM": Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    "AEAD_AES_256_GCM": Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
    "AES128_CM_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
}


def session(keys: SrtpKeys, *, receive: bool) -> Session:
    key = keys.rx_key + keys.rx_salt if receive else keys.tx_key + keys.tx_salt
    kind = Policy.SSRC_ANY_INBOUND if receive else Policy.SSRC_ANY_OUTBOUND
    return Session(Policy(key=key, ssrc_type=kind, srtp_profile=LIBSRTP_PROFILES[keys.profile]))


class Link:
    """Two pipes, each feeding the other through the event loop, with datagrams lost by position."""

    def __init__(self, lost: frozenset[int] = frozenset()) -> None:
        self.sent = 0
        self._lost = lost
        self.ours = DatagramPipe(lambda data: self._carry(data, self.theirs))
        self.theirs = DatagramPipe(lambda data: self._carry(data, self.ours))

    def _carry(self, data: bytes, to: DatagramPipe) -> None:
        self.sent += 1
        if self.sent not in self._lost:
            asyncio.get_running_loop().call_soon(to.feed, data)


async def shake(
    link: Link, *, we_are_server: bool, certificate: NodeCertificate, wrong_fingerprint: bool = False
) -> tuple[bool, list[SrtpKeys], RTCDtlsTransport, DtlsTransport]:
    keys: list[SrtpKeys] = []
    ours = DtlsTransport(link.ours, certificate, keys.append)
    their_certificate = RTCCertificate.generateCertificate()
    theirs = RTCDtlsTransport(link.theirs, [their_certificate])  # type: ignore[arg-type]
    theirs._set_role("client" if we_are_server else "server")
    expected = (certificate if wrong_fingerprint else their_certificate).getFingerprints()
    fingerprints = tuple((item.algorithm, item.value) for item in expected)
    local = RTCDtlsParameters(fingerprints=certificate.getFingerprints())
    done, _ = await asyncio.gather(ours.handshake(fingerprints, as_server=we_are_server), theirs.start(local))
    return done, keys, theirs, ours


@pytest.mark.parametrize("we_are_server", [True, False])
async def test_both_ends_have_the_same_keys(we_are_server: bool) -> None:
    done, (keys,), theirs, ours = await shake(
        Link(), we_are_server=we_are_server, certificate=NodeCertificate.generateCertificate()
    )
    assert done and theirs.state == "connected"
    # As server the order of profiles is ours: the cheapest first. As client the server's order decides.
    if we_are_server:
        assert keys.profile == "AEAD_AES_128_GCM"
    assert session(keys, receive=True).unprotect(theirs._tx_srtp.protect(RTP)) == RTP
    assert theirs._rx_srtp.unprotect(session(keys, receive=False).protect(RTP)) == RTP
    await ours.stop()
    await theirs.stop()


async def test_close_notify_ends_the_other_side() -> None:
    link = Link()
    _, _, theirs, ours = await shake(link, we_are_server=True, certificate=NodeCertificate.generateCertificate())
    closed = asyncio.Event()
    ours.on("statechange", lambda: closed.set() if ours.state == "closed" else None)
    await theirs.stop()
    await asyncio.wait_for(closed.wait(), 2)


@pytest.mark.parametrize("lost", [frozenset({1}), frozenset({2}), frozenset({3})])
async def test_lost_flights_are_sent_again(lost: frozenset[int]) -> None:
    done, keys, theirs, ours = await shake(
        Link(lost), we_are_server=True, certificate=NodeCertificate.generateCertificate()
    )
    assert done and len(keys) == 1
    await ours.stop()
    await theirs.stop()


async def test_another_fingerprint_gets_no_keys() -> None:
    done, keys, theirs, ours = await shake(
        Link(), we_are_server=True, certificate=NodeCertificate.generateCertificate(), wrong_fingerprint=True
    )
    assert not done and keys == []
    await ours.stop()
    await theirs.stop()


async def test_junk_in_a_handshake_is_survived_or_fails_without_an_exception() -> None:
    link = Link()
    ours = DtlsTransport(link.ours, NodeCertificate.generateCertificate(), lambda keys: None)
    task = asyncio.create_task(ours.handshake((("sha-256", "AB"),), as_server=True))
    for junk in (b"\x16" * 3, b"\x16\xfe\xfd" + bytes(60), bytes([22]) + bytes(1400), b"\x14"):
        link.ours.feed(junk)
    await asyncio.sleep(0.05)
    link.ours.close()
    assert await asyncio.wait_for(task, 2) is False


async def test_waiting_datagrams_are_bounded() -> None:
    pipe = DatagramPipe(lambda data: None)
    taken = [pipe.feed(b"\x16") for _ in range(MAX_WAITING_DATAGRAMS + 5)]
    assert taken.count(True) == MAX_WAITING_DATAGRAMS
    pipe.close()
    assert not pipe.feed(b"\x16")
