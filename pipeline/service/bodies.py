"""Bodies: of a request, read no further than it may be long, and of an answer, as JSON."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING

import msgspec
from fastapi import Response

if TYPE_CHECKING:
    from fastapi import Request

# A body has so many seconds to arrive before its sender is told to come later.
BODY_SECONDS = 10.0


class TooLong(Exception):
    """A body is longer than it may be."""


async def body_parts(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """The body as it comes, of `limit` bytes at most. Raises `TooLong`, where the length was told before anything is read."""
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > limit:
        raise TooLong
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise TooLong
        yield part


async def read_body(request: Request, limit: int) -> bytes | None:
    """The body, or None where it is longer than `limit` bytes; what is too long is not kept."""
    try:
        return b"".join([part async for part in body_parts(request, limit)])
    except TooLong:
        return None


def json_answer(status: int, value: object, headers: Mapping[str, str] | None = None) -> Response:
    """The value as JSON."""
    return Response(msgspec.json.encode(value), status, headers=headers, media_type="application/json")


def error_answer(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error as all addresses tell one: `{"error": "a sentence"}`."""
    return json_answer(status, {"error": sentence}, headers)
