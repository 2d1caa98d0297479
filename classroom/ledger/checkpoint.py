"""Signed checkpoints: an Ed25519 signature over the Merkle root of a class's chain heads at one moment."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from classroom.ledger.merkle import Head, root


@dataclass(frozen=True)
class Checkpoint:
    lesson_id: str
    seq: int
    at_ms: int
    heads: tuple[Head, ...]
    root: str
    public_key: str | None  # hex; None when no key was configured
    signature: str | None  # hex


def _statement(lesson_id: str, seq: int, at_ms: int, root_hex: str) -> bytes:
    text = json.dumps(["anke checkpoint 1", lesson_id, seq, at_ms, root_hex], separators=(",", ":"), ensure_ascii=True)
    return text.encode()


def public_key_of(signing_key: bytes) -> str:
    """The public half (hex) of a raw Ed25519 private key."""
    return Ed25519PrivateKey.from_private_bytes(signing_key).public_key().public_bytes_raw().hex()


def signed(lesson_id: str, seq: int, at_ms: int, heads: Sequence[Head], signing_key: bytes | None) -> Checkpoint:
    """A checkpoint over `heads`; without a key it still pins the root, but proves no author."""
    root_hex = root(heads)
    public_key = signature = None
    if signing_key is not None:
        key = Ed25519PrivateKey.from_private_bytes(signing_key)
        signature = key.sign(_statement(lesson_id, seq, at_ms, root_hex)).hex()
        public_key = public_key_of(signing_key)
    return Checkpoint(lesson_id, seq, at_ms, tuple(sorted(heads)), root_hex, public_key, signature)


def problem(checkpoint: Checkpoint, trusted_key: str | None) -> str | None:
    """What is wrong with a checkpoint, or None. `trusted_key` is the public key (hex) to insist on, when known."""
    if root(checkpoint.heads) != checkpoint.root:
        return "its heads do not give its root"
    if checkpoint.public_key is None or checkpoint.signature is None:
        return None if trusted_key is None else "it is not signed"
    if trusted_key is not None and checkpoint.public_key != trusted_key:
        return "it is signed by another key"
    statement = _statement(checkpoint.lesson_id, checkpoint.seq, checkpoint.at_ms, checkpoint.root)
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(checkpoint.public_key))
        key.verify(bytes.fromhex(checkpoint.signature), statement)
    except (InvalidSignature, ValueError):
        return "its signature does not fit"
    return None
