"""Secrets that are made once, on first need, as files only their owner may read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

OWNER_ONLY = 0o600
KEY_BYTES = 32  # AES-256, HMAC-SHA-256 and an Ed25519 seed (RFC 8032 5.1.5) are all 32 octets


class KeyFileError(RuntimeError):
    """A secret file cannot be made or has the wrong size; the text names the file."""


class KeyFiles:
    """The platform's secrets under one directory (0700), each 32 random octets in a 0600 file."""

    def __init__(
        self,
        directory: Path,
        template_key_file: Path | None = None,
        turn_secret_file: Path | None = None,
        *,
        media_token: str = "",
        control: str = "",
    ) -> None:
        """`media_token`, `control`: given by the environment (hex), for machines that have no files."""
        self._directory = directory
        self._media_token = media_token
        self._control = control
        self._template_key_file = template_key_file or directory / "template.key"
        self._turn_secret_file = turn_secret_file or directory / "turn.key"

    @property
    def media_token(self) -> str:
        """Signs the tokens a browser shows to WHIP and WHEP (JWT, HS256)."""
        return self._media_token or _read_or_make(self._directory / "media-token.key").hex()

    @property
    def control(self) -> str:
        """Bearer secret between web and media nodes."""
        return self._control or _read_or_make(self._directory / "control.key").hex()

    def missing_for_media(self) -> list[str]:
        """The secrets of a media node that are neither given nor here; a node that joins must not make its own."""
        needed = {"media-token.key": self._media_token, "control.key": self._control}
        return [
            str(self._directory / name)
            for name, given in needed.items()
            if not given and not (self._directory / name).exists()
        ]

    @property
    def redis_password(self) -> str:
        return _read_or_make(self._directory / "redis.key").hex()

    @property
    def turn(self) -> str:
        """Shared with coturn: who has it makes TURN credentials."""
        return _read_or_make(self._turn_secret_file).hex()

    @property
    def ledger_signing(self) -> bytes:
        """Ed25519 private key (seed) that signs the ledger's checkpoints."""
        return _read_or_make(self._directory / "ledger-signing.key")

    @property
    def templates(self) -> bytes:
        """AES-256-GCM key of the face templates."""
        return _read_or_make(self._template_key_file)


def _read_or_make(path: Path) -> bytes:
    """Several processes may come here at once at the first start: `link` lets exactly one of them win."""
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)
        except FileExistsError:
            # Another process made it in the meantime; its key is the one.
            key = path.read_bytes()
        else:
            key = path.read_bytes()
        finally:
            fresh.unlink()
    if len(key) != KEY_BYTES:
        raise KeyFileError(f"secret file {path} holds {len(key)} octets instead of {KEY_BYTES}")
    return key
