"""The addresses of the service.

    POST /hooks/{system}       a delivery; 202 once it is stored, 200 where it was here already or asks for nothing
    OPTIONS /hooks/{system}    CloudEvents' handshake
    GET /healthz, /readyz      this process answers; deliveries can be stored and somebody works them
    GET /metrics               Prometheus
    GET /snapshots/{id}        the page that a note's link opens
    GET, POST /rooms/answer    the page by which a call to an emergency room is answered
    /desk/...                  what the desk's commands tell and do (desk_api.py)
    GET, POST /intake/...      questions to a customer (question_pages.py)
    /uploads/..., /collect     what customers' machines hand over (pipeline/service/uploads.py)
    /collections               what customers are asked for (pipeline/service/collections_api.py)

A refused delivery gets no reason beyond its status: whoever guesses secrets learns nothing. The reason is counted, and logged.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import sqlalchemy as sa
from fastapi import FastAPI, Path, Request, Response

from pipeline.errors import SnapshotError
from pipeline.service.bodies import BODY_SECONDS, error_answer, json_answer, read_body
from pipeline.service.database import DatabaseUnavailable
from pipeline.service.desk_api import add_desk
from pipeline.service.intake import Full, Intake, delivery_of
from pipeline.service.links import holds_token
from pipeline.service.metrics import Meters
from pipeline.tickets.system import Incoming, Malformed, Unverified
from pipeline.version import __version__

if TYPE_CHECKING:
    from pipeline.service.collections_api import Asker
    from pipeline.service.desk_counter import DeskCounter
    from pipeline.service.ledger import Ledger
    from pipeline.service.links import Answers
    from pipeline.service.options import ServiceOptions
    from pipeline.service.question_pages import QuestionPages
    from pipeline.service.receiving import Receiver
    from pipeline.tickets.system import Event, TicketSystem

System = Annotated[str, Path(description="The name of a [tickets.NAME] table.")]

_log = logging.getLogger(__name__)
# A delivery has so many seconds to be stored before its sender is told to come later.
STORE_SECONDS = 10.0
# A ticket that is no older than this was just opened.
_NEW_SECONDS = 600.0
_LATER = "5"
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "Nothing more to do: it was here already, or asks for nothing."},
    202: {"description": "Stored; it will be worked off."},
    400: {"description": "The body is not what this system sends."},
    401: {"description": "Not signed by a secret that holds, or signed too long ago."},
    404: {"description": "No such ticket system is configured."},
    408: {"description": "The body did not arrive in time."},
    413: {"description": "The body is too large."},
    503: {"description": "Not stored; send it again after Retry-After seconds."},
}


@dataclass(frozen=True)
class Parts:
    """What the addresses are made of. `page` gives a snapshot's page where the request may see it."""

    systems: Mapping[str, TicketSystem]
    ledger: Ledger
    options: ServiceOptions
    page: Callable[[str, str | None, str | None], Response]
    answers: Answers | None = None
    desk: DeskCounter | None = None
    questions: QuestionPages | None = None
    receiver: Receiver | None = None
    asker: Asker | None = None


def make_app(parts: Parts) -> FastAPI:
    """The application."""
    intake = Intake(parts.ledger, parts.options.backlog)
    meters = Meters(parts.ledger, lambda: intake.backlog)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        intake.start()
        yield
        await asyncio.to_thread(intake.stop)
        # What was refused last is counted, and in the log.
        await asyncio.to_thread(meters.flush)

    app = FastAPI(
        title="problem-snapshot",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        description="Takes the deliveries of ticket systems and puts problem snapshots on their tickets.",
    )
    door = Door(parts, intake, meters)

    @app.post("/hooks/{system}", status_code=202, responses=_RESPONSES, openapi_extra=_any_body(), summary="A delivery")
    async def deliver(request: Request, system: System) -> Response:
        return await door.deliver(request, system, "")

    @app.post("/hooks/{system}/{rest:path}", include_in_schema=False)
    async def deliver_below(request: Request, system: str, rest: str) -> Response:
        return await door.deliver(request, system, rest)

    @app.options("/hooks/{system}", include_in_schema=False)
    async def handshake(request: Request, system: str) -> Response:
        return door.handshake(request, system)

    @app.get("/healthz", summary="Whether this process answers", response_class=Response)
    async def healthz() -> Response:
        return json_answer(200, {"status": "ok", "version": __version__})

    @app.get(
        "/readyz",
        summary="Whether deliveries can be stored, and somebody works them",
        response_class=Response,
        responses={503: {"description": "Not ready, and why."}},
    )
    async def readyz() -> Response:
        return await asyncio.to_thread(_ready, parts)

    @app.get(
        "/metrics",
        summary="Figures for Prometheus",
        response_class=Response,
        responses={401: {"description": "A token is configured and was not given."}},
    )
    async def metrics(request: Request) -> Response:
        token = parts.options.token
        if token is not None and not holds_token(token, request.headers.get("authorization")):
            return error_answer(401, "give the token of [service] as a bearer token")
        return Response(await asyncio.to_thread(meters.text), media_type=meters.media_type)

    @app.get(
        "/snapshots/{snapshot_id}",
        summary="A snapshot's page",
        response_class=Response,
        responses={
            401: {"description": "Neither a link that holds nor the token."},
            404: {"description": "No such snapshot."},
        },
    )
    async def snapshot(request: Request, snapshot_id: str, key: str | None = None) -> Response:
        return await asyncio.to_thread(parts.page, snapshot_id, key, request.headers.get("authorization"))

    if (answers := parts.answers) is not None:
        _add_answers(app, answers)
    add_desk(app, parts.desk, parts.options.token, parts.options.max_body)
    if parts.questions is not None:
        from pipeline.service.question_pages import add_questions  # needs the extra `desk`

        add_questions(app, parts.questions)
    if parts.receiver is not None:
        from pipeline.service.uploads import add_uploads  # only where customers may be asked

        add_uploads(app, parts.receiver, meters)
    if parts.asker is not None:
        from pipeline.service.collections_api import add_collections

        add_collections(app, parts.asker)
    return app


def _add_answers(app: FastAPI, answers: Answers) -> None:
    responses: dict[int | str, dict[str, Any]] = {
        401: {"description": "Not a link of ours, or too old."},
        404: {"description": "No such room."},
    }

    @app.get("/rooms/answer", summary="The page that answers a call", response_class=Response, responses=responses)
    async def ask(key: str = "") -> Response:
        return await asyncio.to_thread(answers.page, key, answer=False)

    @app.post("/rooms/answer", summary="A call is answered", response_class=Response, responses=responses)
    async def answer(key: str = "") -> Response:
        return await asyncio.to_thread(answers.page, key, answer=True)


class Door:
    """Deliveries at the door: taken, verified, stored, answered."""

    def __init__(self, parts: Parts, intake: Intake, meters: Meters) -> None:
        self._parts = parts
        self._intake = intake
        self._meters = meters

    async def deliver(self, request: Request, name: str, rest: str) -> Response:
        """The answer to a delivery."""
        system = self._parts.systems.get(name)
        if system is None:
            return self._refused("unknown", "unknown_system", 404, "no such ticket system")
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await read_body(request, self._parts.options.max_body)
        except TimeoutError:
            return self._refused(name, "slow_body", 408, "the body did not arrive in time")
        if body is None:
            return self._refused(name, "too_large", 413, f"more than {self._parts.options.max_body} bytes")
        now = datetime.now(UTC)
        incoming = Incoming(
            headers={key: value for key, value in request.headers.items()},  # noqa: C416 - repeated headers: the last one
            body=body,
            received_at=now,
            path=rest,
            query=dict(request.query_params),
        )
        try:
            event = system.receive(incoming)
        except Unverified as error:
            return self._refused(name, "unverified", 401, "not verified", error)
        except Malformed as error:
            return self._refused(name, "malformed", 400, "not what this system sends", error)
        except Exception as error:  # noqa: BLE001 - whatever a body does to a parser, its sender gets an answer
            # Counted and logged with the others, not each by itself: whoever found one of these can send a thousand.
            _log.debug("a delivery of %s could not be read", name, exc_info=True)
            return self._refused(name, "unreadable", 400, "not what this system sends", error)
        return await self._store(name, event, body, now)

    async def _store(self, name: str, event: Event, body: bytes, now: datetime) -> Response:
        key = event.delivery_id or f"sha256:{hashlib.sha256(body).hexdigest()}"
        opened = event.created_at is None or (now - event.created_at).total_seconds() < _NEW_SECONDS
        delivery = delivery_of(name, event, key, now.timestamp(), opened=opened)
        try:
            async with asyncio.timeout(STORE_SECONDS):
                stored = await self._intake.put(delivery)
        except Full:
            return self._later(name, "backlog_full", "too many deliveries wait to be stored")
        except TimeoutError:
            # It may be stored yet: sent again, it is the same delivery.
            return self._later(name, "slow_database", "the database is slow")
        except DatabaseUnavailable as error:
            _log.error("%s", error)
            return self._later(name, "no_database", "the database does not answer")
        if stored is None:
            self._meters.accepted(name, "duplicate")
            return json_answer(200, {"duplicate": True})
        if event.ignored:
            self._meters.accepted(name, "ignored")
            return json_answer(200, {"delivery": stored, "ignored": event.ignored})
        self._meters.accepted(name, "stored")
        return json_answer(202, {"delivery": stored})

    def handshake(self, request: Request, name: str) -> Response:
        """The answer to CloudEvents' OPTIONS, where the system knows it."""
        system = self._parts.systems.get(name)
        answer = getattr(system, "handshake", None)
        if answer is None:
            return Response(status_code=404 if system is None else 405, headers={"Allow": "POST"})
        return Response(status_code=200, headers=answer(dict(request.headers)))

    def _refused(self, name: str, reason: str, status: int, sentence: str, error: Exception | None = None) -> Response:
        told = str(error) if isinstance(error, SnapshotError) else f"{type(error).__name__}: {error}"
        self._meters.refused(name, reason, told if error else sentence)
        return error_answer(status, sentence)

    def _later(self, name: str, reason: str, sentence: str) -> Response:
        self._meters.refused(name, reason, sentence)
        return error_answer(503, sentence, {"Retry-After": _LATER})


def _ready(parts: Parts) -> Response:
    try:
        alive, oldest = parts.ledger.workers_alive(), parts.ledger.oldest_waiting()
    except sa.exc.SQLAlchemyError as error:
        return json_answer(503, {"status": "the database does not answer", "error": type(error).__name__})
    waiting = None if oldest is None else round(max(0.0, datetime.now(UTC).timestamp() - oldest), 1)
    told = {"workers": alive, "oldest_waiting_seconds": waiting}
    return json_answer(200 if alive else 503, {"status": "ok" if alive else "no worker is alive", **told})


def _any_body() -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}}
