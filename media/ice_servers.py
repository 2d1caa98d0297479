"""STUN and TURN servers that clients are told of, and credentials that are good for hours instead of for ever."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass

# Long enough for the longest lesson: an allocation is refreshed with the credentials it was made with (RFC 8656 7.1).
CREDENTIAL_LIFETIME_S = 6 * 3600


@dataclass(frozen=True, slots=True)
class IceServer:
    """One STUN or TURN server for clients (`Link: …; rel="ice-server"`, RFC 9725 4.6)."""

    url: str
    username: str = ""
    credential: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """TURN servers that share `secret` with us: coturn's `use-auth-secret`, draft-uberti-behave-turn-rest-00 2.2."""

    urls: tuple[str, ...]
    secret: str

    def credentials(self, holder: str, now_ms: int) -> tuple[str, str]:
        """Username and password of one person. The name they go by there says nothing and lets coturn count them."""
        opaque = hashlib.sha256(f"{self.secret}:{holder}".encode()).hexdigest()[:16]
        username = f"{now_ms // 1000 + CREDENTIAL_LIFETIME_S}:{opaque}"
        digest = hmac.digest(self.secret.encode(), username.encode(), "sha1")
        return username, base64.b64encode(digest).decode()

    def servers(self, holder: str, now_ms: int) -> tuple[IceServer, ...]:
        username, credential = self.credentials(holder, now_ms)
        return tuple(IceServer(url, username, credential) for url in self.urls)
