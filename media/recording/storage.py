"""Where recordings are kept: objects that grow until they are sealed. Files here; S3 can follow."""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path
from typing import IO, Protocol

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}\Z")


class Storage(Protocol):
    """Objects by (recording, name). Raises OSError; FileNotFoundError for what is not there."""

    def append(self, recording: str, name: str, data: bytes) -> None:
        """Adds to an object that may be read while it grows."""

    def seal(self, recording: str, name: str) -> None:
        """Returns when everything written to the object outlives a power failure."""

    def cut(self, recording: str, name: str, size: int) -> None:
        """Takes away what follows the first `size` bytes: after a crash, of an object that was growing."""

    def read(self, recording: str, name: str, offset: int = 0, size: int = -1) -> bytes: ...

    def size(self, recording: str, name: str) -> int: ...

    def recordings(self) -> list[str]: ...

    def claim(self, recording: str) -> Claim | None:
        """The right to write this recording, None while another process has it; it ends with the process."""


class Claim(Protocol):
    def release(self) -> None: ...


class _FileClaim:
    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def release(self) -> None:
        self._file.close()


class FolderStorage:
    """One folder a recording under `root`. Several recorders share it when its file system has locks."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def _path(self, recording: str, name: str) -> Path:
        # Names come out of addresses: nothing that is not a plain name is looked for.
        if not _NAME.match(recording) or not _NAME.match(name):
            raise FileNotFoundError(f"{recording[:80]}/{name[:80]}")
        return self.root / recording / name

    def append(self, recording: str, name: str, data: bytes) -> None:
        path = self._path(recording, name)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.open("ab") as file:
            file.write(data)

    def seal(self, recording: str, name: str) -> None:
        for path in (self._path(recording, name), self.root / recording):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def cut(self, recording: str, name: str, size: int) -> None:
        os.truncate(self._path(recording, name), size)

    def read(self, recording: str, name: str, offset: int = 0, size: int = -1) -> bytes:
        with self._path(recording, name).open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def size(self, recording: str, name: str) -> int:
        return self._path(recording, name).stat().st_size

    def recordings(self) -> list[str]:
        return sorted(path.name for path in self.root.iterdir() if path.is_dir()) if self.root.exists() else []

    def claim(self, recording: str) -> Claim | None:
        path = self._path(recording, "writer.lock")
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = path.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return None
        return _FileClaim(file)
