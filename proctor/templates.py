"""Face templates at rest: one sealed file each, the key kept elsewhere.

A template is biometric data (GB/T 35273-2020 6.3: store it apart from identity). A file here is named by an opaque key
and sealed with AES-256-GCM under a key of its own, derived from the master key and a random salt (R-140); without the
master key's file it says nothing, and its name says nothing about whose it is.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import struct
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAGIC = b"ankeT1\x00\x00"
SALT_BYTES = 16
NONCE_BYTES = 12  # NIST SP 800-38D 8.2: 96-bit IV
KEY_BYTES = 32
TEMPLATE_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


class TemplateError(Exception):
    """`code`: template_missing, template_unreadable (tampered with, or sealed under another key), bad_key."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True)
class Template:
    """A person's face as the mean direction of several shots. `model` names network and alignment."""

    model: str
    vector: tuple[float, ...]
    shots: int = 1

    def to_bytes(self) -> bytes:
        head = json.dumps({"model": self.model, "shots": self.shots}, sort_keys=True).encode()
        numbers = struct.pack(f">{len(self.vector)}f", *self.vector)
        return struct.pack(">HH", len(head), len(self.vector)) + head + numbers

    @classmethod
    def from_bytes(cls, data: bytes) -> Template:
        """The inverse of `to_bytes` (numbers in single precision). Raises ValueError."""
        try:
            head_bytes, numbers = struct.unpack_from(">HH", data)
            head = json.loads(data[4 : 4 + head_bytes])
            vector = struct.unpack(f">{numbers}f", data[4 + head_bytes :])
            return cls(model=str(head["model"]), shots=int(head["shots"]), vector=vector)
        except (struct.error, KeyError, TypeError) as error:
            raise ValueError(f"not a template: {error}") from error


class TemplateBox:
    """A folder of sealed templates. Every method takes the opaque template key: letters, digits, `_`, `-`."""

    def __init__(self, folder: Path, master_key: bytes) -> None:
        if len(master_key) != KEY_BYTES:
            raise TemplateError("bad_key", f"a template key of {len(master_key)} bytes, wanted {KEY_BYTES}")
        self._folder = folder
        self._master_key = master_key

    def seal(self, template_key: str, template: Template) -> None:
        """Writes or replaces the file in one step: a crash leaves the old one or the new one."""
        path = self._path(template_key)
        salt = secrets.token_bytes(SALT_BYTES)
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = self._cipher(salt).encrypt(nonce, template.to_bytes(), MAGIC + template_key.encode())
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        arriving = self._folder / f".{template_key}.{secrets.token_hex(4)}"
        _write(arriving, MAGIC + salt + nonce + sealed)
        os.replace(arriving, path)
        _sync_folder(self._folder)

    def open(self, template_key: str) -> Template:
        """Raises TemplateError: template_missing, or template_unreadable when one bit of it (or its name) changed."""
        try:
            data = self._path(template_key).read_bytes()
        except FileNotFoundError as error:
            raise TemplateError("template_missing", f"no template {template_key}") from error
        start = len(MAGIC)
        salt = data[start : start + SALT_BYTES]
        nonce = data[start + SALT_BYTES : start + SALT_BYTES + NONCE_BYTES]
        sealed = data[start + SALT_BYTES + NONCE_BYTES :]
        if data[:start] != MAGIC or len(nonce) != NONCE_BYTES:
            raise TemplateError("template_unreadable", f"template {template_key} is no template file")
        try:
            return Template.from_bytes(self._cipher(salt).decrypt(nonce, sealed, MAGIC + template_key.encode()))
        except (InvalidTag, ValueError) as error:
            raise TemplateError("template_unreadable", f"template {template_key} does not open") from error

    def delete(self, template_key: str) -> bool:
        """Overwrites, then unlinks; False when there was none.

        On copying file systems and flash the old block may outlive the overwrite; it is sealed, and its salt goes with
        it. Whoever needs more destroys the master key.
        """
        path = self._path(template_key)
        try:
            with path.open("r+b") as file:
                file.write(secrets.token_bytes(path.stat().st_size))
                file.flush()
                os.fsync(file.fileno())
        except FileNotFoundError:
            return False
        path.unlink(missing_ok=True)
        _sync_folder(self._folder)
        return True

    def _path(self, template_key: str) -> Path:
        if TEMPLATE_KEY.match(template_key) is None:
            raise TemplateError("bad_key", "a template key has 1 to 64 letters, digits, _ or -")
        return self._folder / f"{template_key}.template"

    def _cipher(self, salt: bytes) -> AESGCM:
        derive = HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=salt, info=b"anke face template v1")
        return AESGCM(derive.derive(self._master_key))


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """The directory entry is durable only after this (fsync(2))."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
