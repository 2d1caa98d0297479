"""Answers out: one SDP text that accepts what `Offer` holds, with all our candidates in it (ICE-lite, RFC 8445 2.5)."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

from media.rtp_parameters import (
    EXTENSION_URIS,
    Codec,
    Direction,
    LocalTransport,
    Media,
    Offer,
    Sending,
)

# RFC 8445 5.1.2.1: type preference 126 for host candidates, component 1.
HOST_TYPE_PREFERENCE = 126
# RFC 6544 4.2: below UDP of the same kind, so that TCP is what remains when UDP gives no answer; 4 is passive.
TCP_TYPE_PREFERENCE = 90
PASSIVE_PREFERENCE = 4
# RFC 4588 8.6 leaves the buffer time open; browsers read nothing from it.
RTX_CLOCK_RATE_HZ = 90_000


def write_answer(
    offer: Offer, local: LocalTransport, session_number: int, version: int, sending: Mapping[int, Sending] | None = None
) -> str:
    """The answer to `offer`.

    `sending` maps an m-line's index to what we send there (playing); None means that we receive (publishing).
    M-lines without anything to send are answered inactive, unusable ones with port 0.
    """
    accepted = [line for line in offer.media if not line.rejected]
    lines = ["v=0", f"o=- {session_number} {version} IN IP4 127.0.0.1", "s=-", "t=0 0", "a=ice-lite"]
    if any(line.bundled for line in accepted):
        lines.append("a=group:BUNDLE " + " ".join(line.mid for line in accepted))
    lines.append("a=msid-semantic: WMS *")
    for line in offer.media:
        if line.rejected:
            lines += _rejected(line)
            continue
        sent = None if sending is None else sending.get(line.index)
        # Candidates belong to the transport, so to the first m-line of the bundle (RFC 8843 7.3.1). aiortc takes
        # those of the last m-line of that kind and finds no way when there are none; others overlook the repetition.
        with_candidates = line.kind == accepted[0].kind
        lines += _accepted(line, local, sent, publishing=sending is None, with_candidates=with_candidates)
    return "\r\n".join(lines) + "\r\n"


def _rejected(line: Media) -> list[str]:
    # RFC 3264 6: a rejected stream keeps its place and at least one format.
    return [
        f"m={line.kind} 0 {line.protocol} {line.formats[0]}",
        "c=IN IP4 0.0.0.0",
        "a=inactive",
        f"a=mid:{line.mid}",
    ]


def _accepted(
    line: Media, local: LocalTransport, sent: Sending | None, *, publishing: bool, with_candidates: bool
) -> list[str]:
    payload_types: list[int] = []
    for codec in line.codecs:
        payload_types.append(codec.payload_type)
        if codec.rtx_payload_type is not None:
            payload_types.append(codec.rtx_payload_type)
    lines = [
        f"m={line.kind} 9 {line.protocol} {' '.join(map(str, payload_types))}",
        "c=IN IP4 0.0.0.0",
        "a=rtcp:9 IN IP4 0.0.0.0",
        f"a=ice-ufrag:{local.ice_ufrag}",
        f"a=ice-pwd:{local.ice_pwd}",
        f"a=fingerprint:{local.fingerprint[0]} {local.fingerprint[1]}",
        f"a=setup:{local.setup.value}",
        f"a=mid:{line.mid}",
    ]
    lines += [f"a=extmap:{number} {EXTENSION_URIS[name]}" for name, number in line.extensions]
    if sent is not None:
        lines += [f"a={Direction.SENDONLY.value}", f"a=msid:{sent.stream_id} {sent.track_id}"]
    elif publishing and line.sends:
        lines.append(f"a={Direction.RECVONLY.value}")
    else:
        lines.append(f"a={Direction.INACTIVE.value}")
    lines.append("a=rtcp-mux")
    if line.reduced_size_rtcp:
        lines.append("a=rtcp-rsize")  # RFC 5506
    for codec in line.codecs:
        lines += _codec(codec, publishing=publishing)
    if publishing and line.sends and line.rids:
        lines += [f"a=rid:{rid} recv" for rid in line.rids]  # RFC 8851 6.3
        lines.append("a=simulcast:recv " + ";".join(line.rids))  # RFC 8853 5.3.2
    if sent is not None:
        if sent.rtx_ssrc is not None:
            lines.append(f"a=ssrc-group:FID {sent.ssrc} {sent.rtx_ssrc}")
        for ssrc in (sent.ssrc, sent.rtx_ssrc):
            if ssrc is not None:
                lines.append(f"a=ssrc:{ssrc} cname:{sent.cname}")
                lines.append(f"a=ssrc:{ssrc} msid:{sent.stream_id} {sent.track_id}")
    if with_candidates:
        lines += candidate_lines(local)
    return lines


def _codec(codec: Codec, *, publishing: bool) -> list[str]:
    channels = f"/{codec.channels}" if codec.channels > 1 else ""
    lines = [f"a=rtpmap:{codec.payload_type} {codec.encoding}/{codec.clock_rate_hz}{channels}"]
    answered = [item for item in codec.feedback if not (publishing and item == "goog-remb")]
    lines += [f"a=rtcp-fb:{codec.payload_type} {feedback}" for feedback in answered]
    if codec.fmtp:
        lines.append(f"a=fmtp:{codec.payload_type} {codec.fmtp}")
    if codec.rtx_payload_type is not None:
        lines.append(f"a=rtpmap:{codec.rtx_payload_type} rtx/{RTX_CLOCK_RATE_HZ}")
        lines.append(f"a=fmtp:{codec.rtx_payload_type} apt={codec.payload_type}")
    return lines


def candidate_lines(local: LocalTransport) -> list[str]:
    """All our candidates, best first, and that there will be no more (RFC 8839 5.1, RFC 8838 8.2)."""
    lines = [f"a=candidate:{_udp_candidate(place, *address)}" for place, address in enumerate(local.candidates)]
    if local.tcp:
        # After those on UDP: some encoders look at the first line only.
        lines += [f"a=candidate:{_tcp_candidate(place, *address)}" for place, address in enumerate(local.candidates)]
    return [*lines, "a=end-of-candidates"]


def _udp_candidate(place: int, ip: str, port: int) -> str:
    priority = (HOST_TYPE_PREFERENCE << 24) | ((65535 - place) << 8) | 255
    return f"{ip_address(ip).version}{place} 1 udp {priority} {ip} {port} typ host"


def _tcp_candidate(place: int, ip: str, port: int) -> str:
    # RFC 6544 4.2: three bits of the local preference are for the direction, the others to tell our addresses apart.
    local_preference = (PASSIVE_PREFERENCE << 13) | (8191 - place)
    priority = (TCP_TYPE_PREFERENCE << 24) | (local_preference << 8) | 255
    return f"{ip_address(ip).version}{place}t 1 tcp {priority} {ip} {port} typ host tcptype passive"
