"""Offers in: a tolerant reader of what encoders and browsers send, into `Offer`. Answers are in `sdp_answer.py`.

Tolerant where real encoders differ (attributes at session level or on one line of the bundle only, no candidates, no
mids, bundle-only lines, odd H.264 profiles, letter case, unknown lines, `group:LS`), strict where a mistake would cost
a silent black picture (BUNDLE, rtcp-mux, ICE, fingerprint).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import lru_cache

from media.errors import MediaError
from media.rtp_parameters import (
    EXTENSION_NAMES,
    MAX_EXTENSION_ID,
    SUPPORTED_FEEDBACK,
    Codec,
    Direction,
    Kind,
    Media,
    Offer,
    Setup,
)

MAX_SDP_BYTES = 128 * 1024
# A wall of 49 videos, its large picture and its audio, with room for m-lines that we reject.
MAX_MEDIA = 96
# RFC 8853 sets no bound; browsers send at most three encodings.
MAX_RIDS = 4
MAX_SSRCS_PER_MEDIA = 16

# The names of the codecs that the router forwards. VP8 and H.264 first: every browser plays both (RFC 7742 5), so a
# publisher who could send either never ends up with viewers who see nothing.
CODEC_NAMES = {"opus": "opus", "vp8": "vp8", "h264": "h264", "vp9": "vp9", "av1": "av1"}
CODEC_KINDS = {"opus": Kind.AUDIO, "vp8": Kind.VIDEO, "h264": Kind.VIDEO, "vp9": Kind.VIDEO, "av1": Kind.VIDEO}
UNIVERSAL_CODECS = frozenset({"opus", "vp8", "h264"})

# RFC 8122 5 with the hash functions that OpenSSL and aiortc check; sha-1 alone is refused.
FINGERPRINT_BYTES = {"sha-256": 32, "sha-384": 48, "sha-512": 64}

# Blocks longer than this are read anew each time, so that what is remembered stays small.
MAX_REMEMBERED_CHARS = 16 * 1024
_PEERS_OWN = tuple(f"\na={name}:" for name in ("ice-ufrag", "ice-pwd", "fingerprint", "candidate", "ssrc", "msid"))

_TOKEN = re.compile(r"[!#-'*+\-.0-9A-Z^-~]{1,64}\Z")  # RFC 8866 9 `token`, bounded
_RID = re.compile(r"[A-Za-z0-9_-]{1,16}\Z")  # RFC 8851 10; 16 bytes fit a one-byte header extension
_ICE_UFRAG = re.compile(r"[!-~]{4,256}\Z")  # RFC 8839 5.4; some stacks use more than its ice-char
_ICE_PWD = re.compile(r"[!-~]{22,256}\Z")
_MEDIA_LINE = re.compile(r"([A-Za-z]{1,16}) ([0-9]{1,5})(?:/[0-9]{1,5})? ([A-Za-z/]{1,32}) (\S.*)\Z")
_HEX_PAIRS = re.compile(r"(?:[0-9A-Fa-f]{2}:)*[0-9A-Fa-f]{2}\Z")


@dataclass(slots=True)
class _Section:
    """The attributes of the session or of one m-line, in order: name → values (`""` for a bare flag)."""

    media_line: str = ""
    attributes: dict[str, list[str]] = field(default_factory=dict)

    def first(self, name: str) -> str | None:
        values = self.attributes.get(name)
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return self.attributes.get(name, [])

    def has(self, name: str) -> bool:
        return name in self.attributes


def parse_offer_untrusted(data: bytes) -> Offer:
    """Reads an SDP offer (RFC 8866, RFC 3264) for one bundled transport.

    Raises MediaError, and nothing else: `too_large`, `bad_sdp`, `no_media`, `no_bundle`, `no_rtcp_mux`, `no_ice`,
    `no_fingerprint`.
    """
    if len(data) > MAX_SDP_BYTES:
        raise MediaError("too_large", f"{len(data)} bytes, at most {MAX_SDP_BYTES}")
    session, sections = _split_untrusted(data)
    bundle = _bundle_of(session)
    mids = _mids_of(sections)
    media: list[Media] = []
    for index, section in enumerate(sections):
        media.append(_parse_media(index, section, session, mids[index], bundle))

    usable = [line for line in media if not line.rejected]
    if not usable:
        raise MediaError("no_media", "no m-line has a codec that this node forwards")
    if len(usable) > 1 and not all(line.bundled for line in usable):
        raise MediaError("no_bundle", "a=group:BUNDLE must name every audio and video m-line (RFC 8843)")
    # RFC 8843 7.3: the transport is the one of the first m-line in the group. Some encoders put it at session level;
    # where that line is one that we reject, it may be the only one that has it (bundle-only lines need none).
    bundled = [sections[line.index] for line in media if line.bundled]
    levels = [sections[usable[0].index], session, *bundled]
    # One transport, so one answer to whether RTCP shares it: some encoders say it on the first line only.
    if not any(level.has("rtcp-mux") or level.has("rtcp-mux-only") for level in levels):
        raise MediaError("no_rtcp_mux", f"m-line {usable[0].index} lacks a=rtcp-mux (RFC 5761)")
    ufrag, pwd = _ice_of(levels)
    return Offer(
        media=tuple(media),
        ice_ufrag=ufrag,
        ice_pwd=pwd,
        fingerprints=_fingerprints_of(levels),
        setup=_setup_of(levels),
    )


def _split_untrusted(data: bytes) -> tuple[_Section, list[_Section]]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise MediaError("bad_sdp", "not UTF-8") from None
    if "\x00" in text:
        raise MediaError("bad_sdp", "NUL in the text")
    head, *blocks = text.split("\nm=")
    if head.partition("\n")[0].strip() != "v=0":
        raise MediaError("bad_sdp", "the first line is not v=0 (RFC 8866 5.1)")
    if len(blocks) > MAX_MEDIA:
        raise MediaError("bad_sdp", f"more than {MAX_MEDIA} m-lines")
    session = _Section("", _attributes_of(head))
    sections = [_section_of(block) for block in blocks]
    if not sections:
        raise MediaError("no_media", "no m-line")
    return session, sections


def _section_of(block: str) -> _Section:
    """One m-line and what follows it; `block` begins after `m=`.

    What only this peer says is read apart, so that the rest is the same text for every browser of one version and is
    read once for all of them: a third of what a join costs in Python.
    """
    media_line, newline, lines = block.partition("\n")
    if len(block) > MAX_REMEMBERED_CHARS:
        return _Section(media_line.strip(), _attributes_of(lines))
    shared, own = newline + lines, []
    for start in _PEERS_OWN:
        while (at := shared.find(start)) >= 0:
            end = shared.find("\n", at + 1)
            end = len(shared) if end < 0 else end
            own.append(shared[at + 1 : end])
            shared = shared[:at] + shared[end:]
    attributes = dict(_shared_attributes(shared))
    for name, values in _attributes_of("\n".join(own)).items():
        attributes[name] = attributes.get(name, []) + values
    return _Section(media_line.strip(), attributes)


def _attributes_of(lines: str) -> dict[str, list[str]]:
    attributes: dict[str, list[str]] = {}
    for line in lines.split("\n"):
        if not line.strip():
            continue
        if len(line) < 2 or line[1] != "=":
            raise MediaError("bad_sdp", f"a line is not of the form x=…: {line[:40]!r}")
        if line[0] == "a":
            name, _, value = line[2:].partition(":")
            attributes.setdefault(name.strip().lower(), []).append(value.strip())
    return attributes


# The values are shared between offers: nobody changes them.
_shared_attributes = lru_cache(maxsize=256)(_attributes_of)


def _bundle_of(session: _Section) -> frozenset[str]:
    # Other groups (group:LS is what lip-sync minded encoders send) say nothing about transports.
    for value in session.all("group"):
        semantics, *mids = value.split() or [""]
        if semantics.upper() == "BUNDLE":
            return frozenset(mids)
    return frozenset()


def _mids_of(sections: list[_Section]) -> list[str]:
    """Each m-line's mid; a line without one is named by its place, as encoders without mids mean their BUNDLE."""
    given = [section.first("mid") for section in sections]
    named = [mid for mid in given if mid is not None]
    if not all(_TOKEN.match(mid) for mid in named):
        raise MediaError("bad_sdp", "a mid is malformed (RFC 5888 4)")
    if len(set(named)) != len(named):
        raise MediaError("bad_sdp", "two m-lines have the same mid")
    return [
        mid if mid is not None else next(name for name in (str(index), f"m{index}", f"m{index}x") if name not in named)
        for index, mid in enumerate(given)
    ]


def _parse_media(index: int, section: _Section, session: _Section, mid: str, bundle: frozenset[str]) -> Media:
    match = _MEDIA_LINE.match(section.media_line)
    if match is None:
        raise MediaError("bad_sdp", f"m-line {index} is malformed")
    kind, port, protocol, formats = match[1].lower(), int(match[2]), match[3], tuple(match[4].split())
    if port == 0 and section.has("bundle-only") and mid in bundle:
        port = 9  # RFC 8843 6: not refused, but usable inside the bundle only
    codecs: tuple[Codec, ...] = ()
    if kind in (Kind.AUDIO, Kind.VIDEO) and "SAVP" in protocol.upper():
        attributes = (tuple(section.all(name)) for name in ("rtpmap", "fmtp", "rtcp-fb"))
        codecs = _codecs_of(Kind(kind), formats, *attributes)
    extensions = _extensions_of(section, session)
    rids = _rids_of(index, section) if any(name == "rid" for name, _ in extensions) else ()
    return Media(
        index=index,
        kind=kind,
        protocol=protocol,
        formats=formats,
        port=port,
        mid=mid,
        direction=_direction_of(section, session),
        codecs=codecs,
        extensions=extensions,
        ssrcs=_ssrcs_of(index, section),
        rids=rids,
        bundled=mid in bundle,
        reduced_size_rtcp=section.has("rtcp-rsize"),
    )


def _direction_of(section: _Section, session: _Section) -> Direction:
    for level in (section, session):
        for direction in Direction:
            if level.has(direction.value):
                return direction
    return Direction.SENDRECV  # RFC 8866 6.7


def _payload_type(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 3 or int(text) > 127:
        raise MediaError("bad_sdp", f"payload type {text[:16]!r}")
    return int(text)


# A browser writes the same list into each of a wall's fifty m-lines, and so does every other browser of its version.
@lru_cache(maxsize=64)
def _codecs_of(
    kind: Kind, formats: tuple[str, ...], mappings: tuple[str, ...], fmtps: tuple[str, ...], feedbacks: tuple[str, ...]
) -> tuple[Codec, ...]:
    payload_types = [_payload_type(text) for text in formats]
    fmtp: dict[int, str] = {}
    for value in fmtps:
        number, _, parameters = value.partition(" ")
        fmtp[_payload_type(number)] = parameters.strip()
    feedback: dict[str, list[str]] = {}
    for value in feedbacks:
        number, _, what = value.partition(" ")
        feedback.setdefault(number, []).append(" ".join(what.lower().split()))

    found: dict[int, Codec] = {}
    retransmits: dict[int, int] = {}
    for value in mappings:
        number, _, mapping = value.partition(" ")
        payload_type = _payload_type(number)
        if payload_type not in payload_types:
            continue
        encoding, clock_rate_hz, channels = _parse_mapping(mapping.strip())
        if encoding.lower() == "rtx":
            apt = _parameter(fmtp.get(payload_type, ""), "apt")
            if apt is not None:
                retransmits.setdefault(_payload_type(apt), payload_type)
            continue
        name = CODEC_NAMES.get(encoding.lower())
        if name is None or CODEC_KINDS[name] is not kind:
            continue
        offered = feedback.get(number, []) + feedback.get("*", [])
        found[payload_type] = Codec(
            name=name,
            encoding=encoding,
            payload_type=payload_type,
            clock_rate_hz=clock_rate_hz,
            channels=channels,
            fmtp=fmtp.get(payload_type, ""),
            feedback=_feedback_of(offered),
        )
    # The m-line's order is the offerer's preference (RFC 3264 5.1), not the order of its rtpmap lines.
    ordered = [found[number] for number in payload_types if number in found]
    chosen: dict[str, Codec] = {}
    for codec in ordered:
        if codec.name not in chosen or _rank(codec) > _rank(chosen[codec.name]):
            chosen[codec.name] = codec
    names = sorted(chosen, key=lambda name: name not in UNIVERSAL_CODECS)
    return tuple(_with_retransmission(chosen[name], retransmits) for name in names)


def _feedback_of(offered: list[str]) -> tuple[str, ...]:
    """FIR (RFC 5104) is taken only where there is no PLI: it asks for the same and costs a repetition counter. A
    bit rate told by the peer (REMB) only where it does not report arrivals."""
    needless = {"ccm fir"} if "nack pli" in offered else set()
    if "transport-cc" in offered:
        needless.add("goog-remb")
    return tuple(item for item in SUPPORTED_FEEDBACK if item in offered and item not in needless)


def _with_retransmission(codec: Codec, retransmits: dict[int, int]) -> Codec:
    rtx = retransmits.get(codec.payload_type)
    # RFC 4588 4: retransmission is of no use without the NACK that asks for it.
    if rtx is None or "nack" not in codec.feedback:
        return codec
    return replace(codec, rtx_payload_type=rtx)


def _parse_mapping(mapping: str) -> tuple[str, int, int]:
    encoding, _, rest = mapping.partition("/")
    rate, _, channels = rest.partition("/")
    if not encoding or not rate.isascii() or not rate.isdigit() or not 0 < int(rate[:9]) <= 192_000:
        raise MediaError("bad_sdp", f"malformed rtpmap {mapping[:40]!r}")
    if channels and not (channels.isascii() and channels.isdigit() and len(channels) < 3):
        raise MediaError("bad_sdp", f"malformed rtpmap {mapping[:40]!r}")
    return encoding, int(rate), int(channels or 1)


def _parameter(fmtp: str, name: str) -> str | None:
    for item in fmtp.split(";"):
        key, _, value = item.strip().partition("=")
        if key.lower() == name:
            return value.strip()
    return None


def _rank(codec: Codec) -> tuple[int, int]:
    """Which payload type of one codec to take: the highest rank, the offerer's first among equals.

    H.264: packetization-mode 1 (RFC 6184 6.3: without it no frame above one packet), then constrained baseline
    (42e0xx), baseline (42xxxx, what many encoders write whatever they send), main, anything else: encoders lie about
    the profile, so an odd one is no reason to refuse. VP9: profile 0, which every decoder has.
    """
    if codec.name == "h264":
        mode = 1 if _parameter(codec.fmtp, "packetization-mode") == "1" else 0
        profile = (_parameter(codec.fmtp, "profile-level-id") or "420010").lower()
        ranks = (("42e0", 3), ("42", 2), ("4d", 1))
        return mode, next((rank for prefix, rank in ranks if profile.startswith(prefix)), 0)
    if codec.name == "vp9":
        return 1 if (_parameter(codec.fmtp, "profile-id") or "0") == "0" else 0, 0
    return 0, 0


def _extensions_of(section: _Section, session: _Section) -> tuple[tuple[str, int], ...]:
    found: dict[str, int] = {}
    for value in section.all("extmap") + session.all("extmap"):
        fields = value.split()
        if len(fields) < 2:
            continue
        number = fields[0].partition("/")[0]
        name = EXTENSION_NAMES.get(fields[1])
        if name is None or name in found or not (number.isascii() and number.isdigit()):
            continue
        if 1 <= int(number[:5]) <= MAX_EXTENSION_ID:
            found[name] = int(number)
    return tuple(found.items())


def _rids_of(index: int, section: _Section) -> tuple[str, ...]:
    """The rids that the offerer wants to send (RFC 8853 5.1), first alternative of each stream, paused or not."""
    declared = {fields[0] for value in section.all("rid") if len(fields := value.split()) >= 2 and fields[1] == "send"}
    simulcast = section.first("simulcast")
    if simulcast is None:
        return ()
    fields = simulcast.split()
    for direction, streams in zip(fields[::2], fields[1::2], strict=False):
        if direction == "send":
            # Before RFC 8853 the list was preceded by `rid=`.
            alternatives = streams.removeprefix("rid=").split(";")
            rids = [alternative.split(",")[0].removeprefix("~") for alternative in alternatives]
            break
    else:
        return ()
    if len(rids) > MAX_RIDS or len(set(rids)) != len(rids) or not all(_RID.match(rid) for rid in rids):
        raise MediaError("bad_sdp", f"m-line {index} has a malformed simulcast attribute (RFC 8853)")
    if not declared.issuperset(rids):
        raise MediaError("bad_sdp", f"m-line {index} names a simulcast rid without its a=rid line (RFC 8851)")
    return tuple(rids)


def _ssrcs_of(index: int, section: _Section) -> tuple[tuple[int, int | None], ...]:
    def number(text: str) -> int:
        if not text.isascii() or not text.isdigit() or len(text) > 10 or int(text) > 0xFFFFFFFF:
            raise MediaError("bad_sdp", f"m-line {index} has the SSRC {text[:16]!r}")
        return int(text)

    pairs: dict[int, int] = {}
    for value in section.all("ssrc-group"):
        semantics, *members = value.split() or [""]
        if semantics == "FID" and len(members) == 2:  # RFC 5576 4.2, RFC 4588 8.8
            pairs[number(members[0])] = number(members[1])
    retransmission = set(pairs.values())
    found: dict[int, int | None] = {}
    for value in section.all("ssrc"):
        ssrc = number(value.split(" ", 1)[0])
        if ssrc not in retransmission:
            found[ssrc] = pairs.get(ssrc)
        if len(found) > MAX_SSRCS_PER_MEDIA:
            raise MediaError("bad_sdp", f"m-line {index} has more than {MAX_SSRCS_PER_MEDIA} SSRCs")
    return tuple(found.items())


def _first_of(levels: list[_Section], name: str) -> str | None:
    return next((value for level in levels if (value := level.first(name))), None)


def _ice_of(levels: list[_Section]) -> tuple[str, str]:
    ufrag, pwd = _first_of(levels, "ice-ufrag"), _first_of(levels, "ice-pwd")
    if not ufrag or not pwd or not _ICE_UFRAG.match(ufrag) or not _ICE_PWD.match(pwd):
        raise MediaError("no_ice", "a=ice-ufrag (4 characters or more) and a=ice-pwd (22 or more) are needed")
    return ufrag, pwd


def _fingerprints_of(levels: list[_Section]) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for value in next((values for level in levels if (values := level.all("fingerprint"))), []):
        fields = value.split()
        if len(fields) != 2:
            raise MediaError("bad_sdp", "a=fingerprint is malformed (RFC 8122 5)")
        algorithm, digest = fields[0].lower(), fields[1].upper()
        size_bytes = FINGERPRINT_BYTES.get(algorithm)
        if size_bytes is None:
            continue
        if not _HEX_PAIRS.match(digest) or len(digest) != 3 * size_bytes - 1:
            raise MediaError("bad_sdp", "a=fingerprint is malformed (RFC 8122 5)")
        found.append((algorithm, digest))
    if not found:
        raise MediaError("no_fingerprint", "a sha-256, sha-384 or sha-512 fingerprint is needed")
    return tuple(found)


def _setup_of(levels: list[_Section]) -> Setup:
    value = (_first_of(levels, "setup") or Setup.ACTPASS.value).lower()
    try:
        return Setup(value)
    except ValueError:
        raise MediaError("bad_sdp", f"a=setup:{value[:16]} is not an offer's role (RFC 5763 5)") from None
