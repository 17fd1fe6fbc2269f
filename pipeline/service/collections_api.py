"""Requests for customers' logs over HTTP, for who holds the token of `[service]`: what `desk collect` and `desk collections` do.

POST /collections                  asks a ticket's customer; the manifest, its link and what is to be sent
GET /collections?system=&ticket=   what was asked, newest first
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from fastapi import FastAPI, Query, Request, Response

from pipeline.desk.asking import ask_customer
from pipeline.desk.collections import told_row
from pipeline.errors import SnapshotError, TicketNotFound, UsageError
from pipeline.remote.manifest import moment
from pipeline.service.bodies import BODY_SECONDS, json_answer, read_body
from pipeline.service.links import holds_token
from pipeline.values import Span

if TYPE_CHECKING:
    from pipeline.desk.collections import Collections
    from pipeline.settings import Settings
    from pipeline.tickets.system import TicketSystem

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_MOST_BYTES = 1 << 16
_RESPONSES: dict[int | str, dict[str, Any]] = {
    401: {"description": "The token was not given."},
    404: {"description": "No such ticket or ticket system."},
}
_ASKING: dict[int | str, dict[str, Any]] = {
    **_RESPONSES,
    400: {"description": "The body says nothing that can be asked for."},
    408: {"description": "The body did not arrive in time."},
    413: {"description": "The body is too large."},
    503: {"description": "The ticket system does not answer, or refuses us."},
}


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request. `start` and `end` are times with an offset; without them the ticket's own time is asked for."""

    system: Name
    ticket: Name
    paths: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1, max_length=200)]
    start: str | None = None
    end: str | None = None
    screen: str | None = None
    hold_seconds: Annotated[float, msgspec.Meta(gt=0)] | None = None


@dataclass(frozen=True)
class Asker:
    """What asks: the ticket systems by name, the settings, and where it is written down."""

    systems: Mapping[str, TicketSystem]
    settings: Settings
    collections: Collections

    def ask(self, wanted: Wanted) -> dict[str, Any]:
        """A new request as JSON tells it. Raises `TicketNotFound`, `UsageError`, `Refused` or `SystemUnavailable`."""
        system = self.systems.get(wanted.system)
        if system is None:
            raise TicketNotFound(f"no ticket system {wanted.system!r} is configured")
        asked = ask_customer(
            system.ticket(wanted.ticket),
            wanted.system,
            wanted.paths,
            self.settings,
            self.collections,
            around=_span(wanted),
            screen=wanted.screen,
            holds=wanted.hold_seconds,
        )
        return {
            "id": asked.manifest.id,
            "link": asked.link,
            "desk_key": asked.key,
            "expires_at": asked.manifest.expires_at,
            "letter": asked.letter,
            "manifest": msgspec.Raw(asked.signed),
        }


def add_collections(app: FastAPI, asker: Asker) -> None:
    """Adds the addresses; without a token of `[service]` nobody is let in."""
    token = asker.settings.service.token

    async def answered(request: Request, work: Callable[[], Awaitable[Response]]) -> Response:
        if not token or not holds_token(token, request.headers.get("authorization")):
            return _json(401, {"error": "give the token of [service] as a bearer token"})
        return await work()

    @app.post(
        "/collections",
        status_code=201,
        summary="A customer is asked for logs",
        response_class=Response,
        responses=_ASKING,
        openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _schema()}}}},
    )
    async def ask(request: Request) -> Response:
        return await answered(request, lambda: _ask(request, asker))

    @app.get("/collections", summary="What customers were asked for", response_class=Response, responses=_RESPONSES)
    async def listed(
        request: Request,
        system: Annotated[str | None, Query(max_length=80)] = None,
        ticket: Annotated[str | None, Query(max_length=200)] = None,
    ) -> Response:
        async def work() -> Response:
            rows = await asyncio.to_thread(asker.collections.listed, system, ticket)
            return _json(200, [told_row(row) for row in rows])

        return await answered(request, work)


async def _ask(request: Request, asker: Asker) -> Response:
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await read_body(request, _MOST_BYTES)
    except TimeoutError:
        return _json(408, {"error": "the body did not arrive in time"})
    if body is None:
        return _json(413, {"error": f"more than {_MOST_BYTES} bytes"})
    try:
        wanted = msgspec.json.decode(body, type=Wanted)
        return _json(201, await asyncio.to_thread(asker.ask, wanted))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, UsageError) as error:
        return _json(400, {"error": str(error)})
    except TicketNotFound as error:
        return _json(404, {"error": str(error)})
    except SnapshotError as error:
        return _json(503, {"error": str(error)}, {"Retry-After": "30"})


def _span(wanted: Wanted) -> Span | None:
    if wanted.start is None and wanted.end is None:
        return None
    if wanted.start is None or wanted.end is None:
        raise UsageError("start and end belong together")
    try:
        span = Span(moment(wanted.start), moment(wanted.end))
    except (ValueError, OverflowError) as error:
        raise UsageError(f"start, end: {error}; write them as 2026-11-23T10:02:31+08:00") from error
    if span.start >= span.end:
        raise UsageError(f"start {wanted.start} is not before end {wanted.end}")
    return span


def _schema() -> dict[str, Any]:
    _, components = msgspec.json.schema_components([Wanted])
    found: dict[str, Any] = components["Wanted"]
    return found


def _json(status: int, value: Any, headers: Mapping[str, str] | None = None) -> Response:
    return json_answer(status, value, {"Cache-Control": "no-store", **(headers or {})})
