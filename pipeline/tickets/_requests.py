"""Requests that the configuration describes: a method, a path with names in braces, a JSON body with such names in its texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from pipeline.tickets._mapping import TicketPaths, checked

# What a body may name. The fields are those of `Note.fields`.
NAMES = (
    "ticket_id",
    "note_id",
    "note",
    "marker",
    "snapshot_id",
    "fault_class",
    "fault_subclass",
    "confidence",
    "severity",
)
_NAME = re.compile(r"\{(\w+)\}")


class ReadRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a ticket is read again: `path` with `{ticket_id}`, and where its parts are in the answer."""

    path: str
    ticket: TicketPaths

    def __post_init__(self) -> None:
        """Refuses a path that names no ticket."""
        check_names(self.path, "path", ("ticket_id",), needed="ticket_id")


class ListRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a ticket's notes are found again: `path`, and JMESPaths to the list (`items`) and within one item.

    `id` and `body` are the note's, `author` who wrote it, `private` whether only staff sees it. The list has to come whole, oldest
    first, in one answer.
    """

    path: str
    items: str = "@"
    id: str = "id"
    body: str = "body"
    author: str = ""
    private: str = ""

    def __post_init__(self) -> None:
        """Refuses what cannot be read."""
        check_names(self.path, "path", ("ticket_id",), needed="ticket_id")
        checked(self, "items", "id", "body", "author", "private")


class WriteRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a note is written, changed or deleted: `method`, `path` with `{ticket_id}` and `{note_id}`, and `body`.

    `body` is JSON, in whose texts `{note}`, `{ticket_id}`, `{note_id}`, `{marker}`, `{snapshot_id}`, `{fault_class}`,
    `{fault_subclass}`, `{severity}` and `{confidence}` stand for their values. `id` is where the answer has the note's id, `private`
    where it says that only staff sees it; `` `true` `` says so of a place that is never public.
    """

    method: Literal["POST", "PUT", "PATCH", "DELETE"] = "POST"
    path: str
    body: dict[str, Any] = {}
    id: str = "id"
    private: str = ""

    def __post_init__(self) -> None:
        """Refuses names that stand for nothing."""
        check_names(self.path, "path", ("ticket_id", "note_id"), needed="ticket_id")
        for text in _texts(self.body):
            check_names(text, "body", NAMES)
        checked(self, "id", "private")


def address(path: str, values: Mapping[str, str]) -> str:
    """`path` with its names filled in, each percent-encoded whole, so that no value can lead elsewhere.

    >>> address("/tickets/{ticket_id}/notes", {"ticket_id": "A/../7?x"})
    '/tickets/A%2F..%2F7%3Fx/notes'
    """
    return _NAME.sub(lambda name: quote(values.get(name[1], ""), safe=""), path)


def filled(body: Any, values: Mapping[str, str]) -> Any:
    """`body` with its names filled in, once: a value that holds a name in braces stays as it is.

    >>> filled({"text": "{note}", "to": ["{fault_class}"], "internal": True}, {"note": "{marker}", "fault_class": "interface"})
    {'text': '{marker}', 'to': ['interface'], 'internal': True}
    """
    if isinstance(body, str):
        return _NAME.sub(lambda name: values.get(name[1], ""), body)
    if isinstance(body, dict):
        return {name: filled(value, values) for name, value in body.items()}
    return [filled(value, values) for value in body] if isinstance(body, list) else body


def check_names(text: str, where: str, known: Iterable[str], needed: str = "") -> None:
    """Raises `ValueError` where a text names something that does not exist, or not what it has to."""
    known, named = tuple(known), _NAME.findall(text)
    if unknown := [name for name in named if name not in known]:
        raise ValueError(
            f"{where}: {{{unknown[0]}}} stands for nothing; there are {', '.join(f'{{{one}}}' for one in known)}"
        )
    if needed and needed not in named:
        raise ValueError(f"{where}: {text!r} has no {{{needed}}}")


def _texts(body: Any) -> list[str]:
    if isinstance(body, str):
        return [body]
    inner = body.values() if isinstance(body, dict) else body if isinstance(body, list) else ()
    return [text for value in inner for text in _texts(value)]
