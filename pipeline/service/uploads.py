"""The addresses by which a customer's machine hands over what was asked of it.

    GET /uploads/key                   what the desk signs its manifests with
    GET /collect?key=...               the page that a customer opens: who asks for what, and the command that does it
    GET /collect/manifest?key=...      the manifest
    GET /uploads/{collection}          where it stands
    POST /uploads/{collection}/consent the customer's decision
    PATCH /uploads/{collection}        the bundle from an offset on (tus 1.0.0); HEAD tells the offset
    PUT /uploads/{collection}          the bundle in one go

The key of the link goes in `Authorization`, so that no proxy's log has it; only what a browser opens has it in its address.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Annotated, Any

import msgspec
from fastapi import FastAPI, Path, Request, Response
from starlette.requests import ClientDisconnect

from pipeline.remote.receipt import Consent
from pipeline.service.bodies import BODY_SECONDS, json_answer, read_body
from pipeline.service.collect_page import collect_page
from pipeline.service.receiving import Closed, Place, Receiver, told_no_room
from snapshots.model import Text

if TYPE_CHECKING:
    from pipeline.service.metrics import Meters

Collection = Annotated[str, Path(description="The id of what was asked for, as its manifest has it.")]
_TUS = "1.0.0"
# Bytes that are written at once; so much of each upload is in memory.
_PIECE = 1 << 20
# A sender that is silent for so long is gone, in seconds.
SILENCE = 30.0
# Whoever sent all waits so long for what became of it before he is told to ask again.
PATIENCE = 20.0
_CONSENT_BYTES = 1 << 16
_DIGEST = re.compile(r"sha-256=:[A-Za-z0-9+/]{43}=:")
_STREAM = {
    "requestBody": {
        "required": True,
        "content": {"application/offset+octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_JSON_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    400: {"description": "The headers do not say what is sent."},
    401: {"description": "Not a link of ours."},
    403: {"description": "The customer refused."},
    404: {"description": "Nothing of that name was asked for."},
    409: {"description": "Not from there on, not before consent, or sent already."},
    410: {"description": "The link is too old, or was withdrawn."},
}
_SENDING: dict[int | str, dict[str, Any]] = {
    **_RESPONSES,
    202: {"description": "All of it is here and is being looked through."},
    204: {"description": "A part of it is here."},
    408: {"description": "Nothing came for a while; go on from the offset."},
    413: {"description": "More than may be sent."},
    415: {"description": "Not application/offset+octet-stream."},
    422: {"description": "Looked through, and not what was asked for."},
    423: {"description": "It is being sent already."},
    507: {"description": "No room on the disk."},
}


def add_uploads(app: FastAPI, receiver: Receiver, meters: Meters) -> None:
    """Adds the addresses."""
    door = _Door(receiver, meters)

    @app.get("/uploads/key", summary="What manifests are signed with", response_class=Response)
    async def key() -> Response:
        return _json(200, {"key": receiver.signed_by})

    @app.get("/collect", summary="What is asked of a customer", response_class=Response, responses=_RESPONSES)
    async def page(request: Request, key: str = "") -> Response:
        # The program asks for JSON where a browser asks for a page.
        wanted = door.manifest if "application/json" in request.headers.get("accept", "") else door.page
        return await door.answered(request, lambda: _thread(wanted, key))

    @app.get("/collect/manifest", summary="The manifest", response_class=Response, responses=_RESPONSES)
    async def manifest(request: Request, key: str = "") -> Response:
        return await door.answered(request, lambda: _thread(door.manifest, key))

    @app.get("/uploads/{collection}", summary="Where it stands", response_class=Response, responses=_RESPONSES)
    async def state(request: Request, collection: Collection) -> Response:
        return await door.answered(request, lambda: _thread(door.state, collection, _key(request)))

    @app.head("/uploads/{collection}", include_in_schema=False)
    async def offset(request: Request, collection: Collection) -> Response:
        return await door.answered(request, lambda: _thread(door.head, collection, _key(request)))

    @app.post(
        "/uploads/{collection}/consent",
        summary="The customer's decision",
        response_class=Response,
        responses={
            **_RESPONSES,
            408: {"description": "The body did not arrive in time."},
            413: _SENDING[413],
            422: {"description": "On another text, or no decision."},
        },
        openapi_extra=_JSON_BODY,
    )
    async def consent(request: Request, collection: Collection) -> Response:
        return await door.answered(request, lambda: door.consent(request, collection))

    sending: dict[str, Any] = {"response_class": Response, "responses": _SENDING, "openapi_extra": _STREAM}

    @app.patch("/uploads/{collection}", summary="A bundle from an offset on", **sending)
    async def patch(request: Request, collection: Collection) -> Response:
        return await door.answered(request, lambda: door.patch(request, collection))

    @app.put("/uploads/{collection}", summary="A bundle in one go", **sending)
    async def put(request: Request, collection: Collection) -> Response:
        return await door.answered(request, lambda: door.put(request, collection))


async def _thread(work: Callable[..., Response], *given: Any) -> Response:
    return await asyncio.to_thread(work, *given)


class _Door:
    """What each address does."""

    def __init__(self, receiver: Receiver, meters: Meters) -> None:
        self._receiver = receiver
        self._meters = meters

    async def answered(self, request: Request, work: Callable[[], Awaitable[Response]]) -> Response:
        """The answer of `work`, or why there is none, in the language that the request asks for."""
        try:
            return await work()
        except Closed as error:
            self._meters.refused("uploads", error.reason, error.text.en)
            spoken = request.headers.get("accept-language", "").lower()
            told = error.text.zh if spoken.startswith("zh") else error.text.en
            if "text/html" in request.headers.get("accept", ""):
                both = f"{error.text.en}\n{error.text.zh}\n"
                return Response(both, error.status, headers=_no_store(), media_type="text/plain; charset=utf-8")
            # What is still to come of a body is not waited for.
            close = {"Connection": "close"} if request.method in {"PATCH", "PUT"} else {}
            said = {"error": told, "reason": error.reason, "en": error.text.en, "zh": error.text.zh}
            return _json(error.status, said, close)

    def page(self, key: str) -> Response:
        place = self._receiver.place("", key)
        return collect_page(
            place, key, self._receiver.signed_by, self._receiver.public_url, self._receiver.options.install
        )

    def manifest(self, key: str) -> Response:
        row = self._receiver.named("", key)
        named = {"Content-Disposition": f'attachment; filename="collect-{row.id}.json"'}
        return Response(row.manifest, headers={**_no_store(), **named}, media_type="application/json")

    def state(self, collection: str, key: str) -> Response:
        return _json(200, _told(self._receiver.place(collection, key)))

    def head(self, collection: str, key: str) -> Response:
        place = self._receiver.place(collection, key)
        length = {"Upload-Length": str(place.row.length)} if place.row.length else {"Upload-Defer-Length": "1"}
        return Response(headers={**_no_store(), "Upload-Offset": str(place.offset), **length})

    async def consent(self, request: Request, collection: str) -> Response:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await read_body(request, _CONSENT_BYTES)
        except TimeoutError:
            raise Closed(408, Text(en="nothing came for a while", zh="长时间没有数据"), "slow_body") from None
        if body is None:
            raise Closed(413, Text(en="too large", zh="内容过大"), "too_large")
        try:
            decision = msgspec.json.decode(body, type=Consent)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            # Who holds no link learns nothing of what a decision looks like.
            await asyncio.to_thread(self._receiver.named, collection, _key(request))
            raise Closed(422, Text(en=f"no decision: {error}", zh="不是有效的决定"), "malformed") from error
        row = await asyncio.to_thread(self._receiver.decide, collection, _key(request), decision)
        return _json(200, {"state": row.state})

    async def patch(self, request: Request, collection: str) -> Response:
        place = await asyncio.to_thread(self._receiver.place, collection, _key(request))
        if request.headers.get("content-type", "").partition(";")[0] != "application/offset+octet-stream":
            raise Closed(415, Text(en="send application/offset+octet-stream", zh="内容类型不正确"), "malformed")
        offset, length = _number(request, "upload-offset"), _number(request, "upload-length", place.row.length)
        return await self._taken(request, place, offset, length)

    async def put(self, request: Request, collection: str) -> Response:
        place = await asyncio.to_thread(self._receiver.place, collection, _key(request))
        return await self._taken(request, place, 0, _number(request, "content-length"))

    async def _taken(self, request: Request, place: Place, offset: int, length: int) -> Response:
        digest = request.headers.get("repr-digest", place.row.digest or "")
        if not _DIGEST.fullmatch(digest):
            text = Text(en="give the sha256 of the whole as Repr-Digest", zh="请用 Repr-Digest 给出整体的 sha256")
            raise Closed(400, text, "malformed")
        row = place.row
        if row.state in {"received", "stored"} and row.digest == digest:
            # The same once more is no other thing.
            return await asyncio.to_thread(self._ended, row.id, _key(request))
        file = await asyncio.to_thread(self._receiver.begin, place, offset, length, digest)
        try:
            try:
                size = await self._written(request, file, offset, length)
            finally:
                await asyncio.shield(asyncio.to_thread(self._receiver.end, file))
        except Closed as error:
            if error.status == 507:
                # What came is of no use to others, who need the room.
                await asyncio.to_thread(self._receiver.drop, row.id)
            raise
        if size < length:
            return Response(status_code=204, headers={**_no_store(), "Upload-Offset": str(size)})
        future = asyncio.wrap_future(self._receiver.finish(row.id))
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(future), PATIENCE)
        return await asyncio.to_thread(self._ended, row.id, _key(request))

    async def _written(self, request: Request, file: IO[bytes], offset: int, length: int) -> int:
        """Writes the body behind `offset`; how many bytes there are then. Whatever breaks it off, what came is kept."""
        size, held, waiting = offset, [], 0
        stream: AsyncIterator[bytes] = request.stream()
        try:
            while True:
                async with asyncio.timeout(SILENCE):
                    piece = await anext(stream, None)
                if piece is None:
                    break
                if size + waiting + len(piece) > length:
                    raise Closed(413, Text(en="more than was announced", zh="超过声明的长度"), "too_large")
                held.append(piece)
                waiting += len(piece)
                if waiting >= _PIECE:
                    size, held, waiting = await self._put_down(file, size, held), [], 0
        except TimeoutError:
            await self._put_down(file, size, held)
            raise Closed(408, Text(en="nothing came for a while", zh="长时间没有数据"), "slow_body") from None
        except ClientDisconnect:
            return await self._put_down(file, size, held)
        return await self._put_down(file, size, held)

    @staticmethod
    async def _put_down(file: IO[bytes], size: int, held: list[bytes]) -> int:
        data = b"".join(held)
        with told_no_room():
            await asyncio.to_thread(_write, file, data)
        return size + len(data)

    def _ended(self, collection: str, key: str) -> Response:
        place = self._receiver.place(collection, key)
        told = _told(place)
        status = {"stored": 200, "rejected": 422}.get(place.row.state, 202)
        return _json(status, told, {"Upload-Offset": str(place.offset)})


def _write(file: IO[bytes], data: bytes) -> None:
    file.write(data)
    file.flush()


def _told(place: Place) -> dict[str, Any]:
    row = place.row
    return {
        "state": row.state,
        "offset": place.offset,
        "digest": row.digest or "",
        "error": row.reason or "",
        "masked": json.loads(row.masked_again) if row.masked_again else {},
    }


def _key(request: Request) -> str:
    return request.headers.get("authorization", "").removeprefix("Bearer ").strip()


def _number(request: Request, name: str, otherwise: int | None = None) -> int:
    text = request.headers.get(name, "")
    if text.isascii() and text.isdecimal() and len(text) < 16:
        return int(text)
    if not text and otherwise is not None:
        return otherwise
    raise Closed(400, Text(en=f"{name} must be a number of bytes", zh=f"{name} 必须是字节数"), "malformed")


def _no_store() -> dict[str, str]:
    return {"Cache-Control": "no-store", "Tus-Resumable": _TUS, "X-Content-Type-Options": "nosniff"}


def _json(status: int, value: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    return json_answer(status, value, {**_no_store(), **(headers or {})})
