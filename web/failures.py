"""Which failures of a command a person can do something about, and the sentence that says what."""

from __future__ import annotations

from redis.exceptions import ConnectionError as RedisAway
from sqlalchemy.exc import OperationalError

from classroom import ClassroomError
from web.join import JoinRefused
from web.supervisor import StartRefused


def expected_failure(error: BaseException) -> str | None:
    """One line for the terminal, or None for what is a fault of ours and deserves its trace."""
    if isinstance(error, StartRefused | JoinRefused):
        return str(error)
    if isinstance(error, ClassroomError):
        return f"{error.message} {error.message_en}"
    if isinstance(error, RedisAway):
        return f"Redis does not answer ({error}); is the platform up?"
    if isinstance(error, OperationalError):
        return f"the database cannot be used ({error.orig}); run `anke db upgrade`, or see ANKE_DATABASE_URL"
    if isinstance(error, PermissionError | FileNotFoundError | IsADirectoryError):
        return f"{error.strerror}: {error.filename}"
    return None
