"""A Merkle root over chain heads, in the shape of RFC 6962 2.1 (domain-separated leaves and nodes)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

Head = tuple[str, int, str]  # chain, idx, hash


def leaf(head: Head) -> bytes:
    text = json.dumps(list(head), separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(b"\x00" + text.encode()).digest()


def root(heads: Sequence[Head]) -> str:
    """The root (hex) over the heads in sorted order; of no heads: the hash of nothing."""
    return _tree([leaf(head) for head in sorted(heads)]).hex()


def _tree(leaves: list[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1  # the largest power of two below the count
    return hashlib.sha256(b"\x01" + _tree(leaves[:split]) + _tree(leaves[split:])).digest()
