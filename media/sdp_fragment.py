"""SDP fragments (RFC 8840 9): what a PATCH of a WHIP or WHEP session carries, and what answers an ICE restart."""

from __future__ import annotations

import re
from dataclasses import dataclass

from media.errors import MediaError
from media.rtp_parameters import LocalTransport
from media.sdp_answer import candidate_lines

MAX_FRAGMENT_BYTES = 32 * 1024
# As `sdp.py` takes them in an offer: RFC 8839 5.4, with more characters than its ice-char.
_UFRAG = re.compile(r"[!-~]{4,256}\Z")
_PWD = re.compile(r"[!-~]{22,256}\Z")


@dataclass(frozen=True, slots=True)
class Fragment:
    """The ICE credentials that a fragment names; both None in one that only trickles candidates."""

    ice_ufrag: str | None
    ice_pwd: str | None


def parse_fragment_untrusted(data: bytes) -> Fragment:
    """Reads the credentials of one bundled transport; candidates are left unread, an ICE-lite end needs none.

    Raises MediaError, and nothing else: `too_large`, `bad_fragment`.
    """
    if len(data) > MAX_FRAGMENT_BYTES:
        raise MediaError("too_large", f"{len(data)} bytes, at most {MAX_FRAGMENT_BYTES}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise MediaError("bad_fragment", "not UTF-8") from None
    found: dict[str, set[str]] = {"ice-ufrag": set(), "ice-pwd": set()}
    for line in text.splitlines():
        name, _, value = line.removeprefix("a=").partition(":")
        if line.startswith("a=") and name in found:
            found[name].add(value.strip())
    ufrags, pwds = found["ice-ufrag"], found["ice-pwd"]
    if len(ufrags) > 1 or len(pwds) > 1:
        raise MediaError("bad_fragment", "more than one pair of ICE credentials for one bundled transport")
    ufrag, pwd = next(iter(ufrags), None), next(iter(pwds), None)
    if (ufrag is None) is not (pwd is None):
        raise MediaError("bad_fragment", "a=ice-ufrag and a=ice-pwd come together (RFC 8840 4.1)")
    if (ufrag is not None and not _UFRAG.match(ufrag)) or (pwd is not None and not _PWD.match(pwd)):
        raise MediaError("bad_fragment", "malformed ICE credentials")
    return Fragment(ufrag, pwd)


def write_fragment(local: LocalTransport, kind: str, mid: str) -> str:
    """Our half of an ICE restart (RFC 9725 4.3.3): new credentials and all candidates, under the bundle's m-line."""
    lines = [
        "a=ice-lite",
        f"a=group:BUNDLE {mid}",
        f"m={kind} 9 UDP/TLS/RTP/SAVPF 0",
        f"a=mid:{mid}",
        f"a=ice-ufrag:{local.ice_ufrag}",
        f"a=ice-pwd:{local.ice_pwd}",
        *candidate_lines(local),
    ]
    return "\r\n".join(lines) + "\r\n"
