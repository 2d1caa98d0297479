"""Writes `protocol.ts` for the page from the pydantic models of `signaling/protocol.py`.

    python -m signaling.typescript web/ui/src/protocol.ts

The page compiles against the generated file, so an event or a field that changes here breaks the page's build and
not a class. A test keeps the committed file current.
"""

from __future__ import annotations

import inspect
import sys
import types
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from signaling import protocol

_SCALARS: dict[object, str] = {str: "string", int: "number", float: "number", bool: "boolean", Any: "unknown"}


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def typescript_type(annotation: object) -> str:
    """The TypeScript type of a payload field's annotation. `TypeError` for one that the contract may not use."""
    if annotation is type(None):
        return "null"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel | StrEnum):
        return annotation.__name__
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return typescript_type(arguments[0])
    if origin is Literal:
        return " | ".join(_quoted(value) for value in arguments)
    if origin in (Union, types.UnionType):
        return " | ".join(typescript_type(argument) for argument in arguments)
    if origin is list:
        inner = typescript_type(arguments[0])
        return f"({inner})[]" if " " in inner else f"{inner}[]"
    if origin is dict:
        return f"Record<{typescript_type(arguments[0])}, {typescript_type(arguments[1])}>"
    raise TypeError(f"the contract uses {annotation!r}, which has no TypeScript counterpart here")


def _comment(owner: type) -> list[str]:
    own = owner.__dict__.get("__doc__")
    return [f"/** {' '.join(inspect.cleandoc(own).split())} */"] if own else []


def _enumeration(enumeration: type[StrEnum]) -> list[str]:
    constant = "".join("_" + c if c.isupper() else c.upper() for c in enumeration.__name__).lstrip("_") + "_VALUES"
    values = ", ".join(_quoted(member.value) for member in enumeration)
    return [
        *_comment(enumeration),
        f"export const {constant} = [{values}] as const;",
        f"export type {enumeration.__name__} = (typeof {constant})[number];",
        "",
    ]


def _interface(model: type[BaseModel], *, sent_by_page: bool) -> list[str]:
    lines = [*_comment(model)]
    if not model.model_fields:
        return [*lines, f"export type {model.__name__} = Record<never, never>;", ""]
    lines.append(f"export interface {model.__name__} {{")
    for name, field in model.model_fields.items():
        # The server sends every field; the page may leave out one that has a default.
        optional = "?" if sent_by_page and not field.is_required() else ""
        lines.append(f"  {name}{optional}: {typescript_type(field.annotation)};")
    return [*lines, "}", ""]


def _envelope() -> list[str]:
    return [
        *_comment(protocol.Envelope),
        "export interface EnvelopeOf<T extends TellType> {",
        "  seq: number;",
        "  at_ms: number;",
        "  type: T;",
        "  to: string;",
        "  data: Tells[T];",
        "}",
        '/** Narrowed by `type`: `if (envelope.type === "chat.posted") envelope.data.message`. */',
        "export type Envelope = { [T in TellType]: EnvelopeOf<T> }[TellType];",
        "",
    ]


def typescript() -> str:
    """The whole text of `protocol.ts`."""
    own = [
        value
        for value in vars(protocol).values()
        if isinstance(value, type) and value.__module__ == protocol.__name__ and value is not protocol.Payload
    ]
    called = {payload for payload, _ in protocol.CALLS.values()}
    lines = [
        "// Generated from signaling/protocol.py by `python -m signaling.typescript`; edit that file instead.",
        "",
        f"export const LESSON_NAMESPACE = {_quoted(protocol.LESSON_NAMESPACE)};",
        f"export const ENVELOPE_EVENT = {_quoted(protocol.ENVELOPE_EVENT)};",
        f"export const SEAT_ENDED_EVENT = {_quoted(protocol.SEAT_ENDED_EVENT)};",
        f"export const MEDIA_MOVED_EVENT = {_quoted(protocol.MEDIA_MOVED_EVENT)};",
        "",
    ]
    for value in own:
        if issubclass(value, StrEnum):
            lines += _enumeration(value)
    for value in own:
        if issubclass(value, BaseModel) and value is not protocol.Envelope:
            lines += _interface(value, sent_by_page=value in called)
    lines += ["/** What the page calls: event name → payload and result. */", "export interface Calls {"]
    for event, (payload, result) in protocol.CALLS.items():
        lines.append(f"  {_quoted(event)}: {{ payload: {payload.__name__}; result: {result.__name__} }};")
    lines += ["}", "export type CallName = keyof Calls;", ""]
    lines += ["/** What the server tells: envelope type → payload. */", "export interface Tells {"]
    lines += [f"  {_quoted(name)}: {payload.__name__};" for name, payload in protocol.TELLS.items()]
    lines += ["}", "export type TellType = keyof Tells;", ""]
    lines += _envelope()
    lines += [
        "/** The acknowledgement of a call. */",
        "export type Answer<C extends CallName> =",
        '  | ({ ok: true } & Calls[C]["result"])',
        "  | { ok: false; error: ErrorBody };",
        "",
    ]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m signaling.typescript OUT", file=sys.stderr)
        return 2
    Path(arguments[0]).write_text(typescript(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
