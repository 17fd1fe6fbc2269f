"""The desk over HTTP: the same questions that the commands ask, for portals and ticket systems, with the token of [service].

    GET  /desk/severity /desk/similar /desk/route /desk/sentence      ?ticket= its id, or a snapshot's
         /desk/questions /desk/portrait
    POST /desk/ask      /desk/solutions                               {"text": ...}: texts of customers stand in no address
    GET  /desk/knowledge, /desk/knowledge/entry, /desk/knowledge/graph, /desk/knowledge/check
    GET  /desk/tasks, /desk/tasks/{id}, /desk/standings
    POST /desk/tasks, /desk/tasks/{id}/submit, .../accept, .../return, .../drop
    GET  /desk/due, /desk/report, /desk/rooms, /desk/rooms/{id}
    POST /desk/marks, /desk/rooms/{id}/acknowledge, .../told, .../close

Without a token in the configuration none of them is served, and whoever asks is told so. Every answer is made in a thread of its own,
a few at a time: a question that is slow to answer keeps no delivery waiting.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, FastAPI, Path, Query, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from pipeline.desk import plain
from pipeline.desk.tasks import TaskNotFound
from pipeline.errors import SnapshotError, SourceError, TicketNotFound, UsageError
from pipeline.service.bodies import BODY_SECONDS, error_answer, json_answer, read_body
from pipeline.service.database import DatabaseUnavailable
from pipeline.service.desk_bodies import Acknowledged, By, Cared, Decision, Enquiry, Mark, NewTask, Submission, Symptom
from pipeline.service.desk_counter import Wrong
from pipeline.service.desk_schemas import Descriptions
from pipeline.service.links import HEADERS, holds_token
from snapshots.store import AmbiguousPrefix, SnapshotNotFound, StoreError

if TYPE_CHECKING:
    from pipeline.service.desk_counter import DeskCounter

_log = logging.getLogger(__name__)
# So many answers are made at once: each may hold an index and a model in its hands.
_AT_ONCE = 4
_CLOSED = "the desk is not served over HTTP: [service] of the configuration has no token"
_DATABASE = {400: "a part of it is what the database does not take, such as NUL", 503: "the database does not answer"}
_MEDIA = {"json": "application/json", "html": "text/html", "csv": "text/csv", "md": "text/markdown"}

_Ref = Annotated[
    str, Query(min_length=1, max_length=200, description="A ticket's id, or that of one of its snapshots.")
]
_Id = Annotated[str, Path(max_length=40, description="The id of a knowledge task.")]
_Number = Annotated[int, Path(ge=1, le=2**31 - 1, description="The number of a room.")]
_State = Literal["open", "postponed", "submitted", "accepted", "dropped"]
_Language = Annotated[Literal["en", "zh"], Query(description="The language of words for people.")]


def add_desk(app: FastAPI, counter: DeskCounter | None, token: str | None, limit: int) -> None:
    """Adds the desk's addresses. `limit` bounds a body, in bytes. Without a token each of them tells that there is none."""
    if counter is None:
        return
    if not token:
        _log.warning(_CLOSED)

        @app.api_route("/desk/{rest:path}", methods=["GET", "POST"], include_in_schema=False)
        async def closed(rest: str) -> Response:  # noqa: ARG001 -- the shape has it
            return error_answer(404, _CLOSED)

        return
    gate = _Gate(token, limit)
    router = APIRouter(
        prefix="/desk",
        route_class=gate.route_class(),
        dependencies=[Security(HTTPBearer(auto_error=False, description="`token` of [service]"))],
        tags=["desk"],
    )
    described = Descriptions()
    _add_tickets(router, counter, described)
    _add_knowledge(router, counter, described)
    _add_tasks(router, counter, described)
    _add_clocks(router, counter, described)
    app.include_router(router)
    described.add_to(app)


class _Gate:
    """What every address does first and last: the token, the size of the body, and errors as status codes."""

    def __init__(self, token: str, limit: int) -> None:
        self._token = token
        self._limit = limit
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def route_class(self) -> type[APIRoute]:
        gate = self

        class DeskRoute(APIRoute):
            def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
                handler = super().get_route_handler()
                known = frozenset(one.alias for one in self.dependant.query_params)

                async def guarded(request: Request) -> Response:
                    return await gate.passed(request, handler, known)

                return guarded

        return DeskRoute

    async def passed(
        self, request: Request, handler: Callable[[Request], Coroutine[Any, Any, Response]], known: frozenset[str]
    ) -> Response:
        if not holds_token(self._token, request.headers.get("authorization")):
            return error_answer(401, "give the token of [service] as a bearer token", {"WWW-Authenticate": "Bearer"})
        if unknown := sorted(set(request.query_params) - known):
            there = ", ".join(sorted(known)) or "none"
            return error_answer(400, f"there is no parameter {unknown[0][:60]!r} here; there are: {there}")
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await read_body(request, self._limit)
        except TimeoutError:
            return error_answer(408, "the body did not arrive in time")
        if body is None:
            return error_answer(413, f"more than {self._limit} bytes")
        request._body = body  # noqa: SLF001 -- as Starlette keeps what it read itself
        try:
            async with self._turns:
                return await handler(request)
        except RequestValidationError as error:
            return error_answer(422, _lines(error))
        except HTTPException as error:
            return error_answer(error.status_code, str(error.detail))
        except (SnapshotError, StoreError, sa.exc.SQLAlchemyError) as error:
            status = _status(error)
            if status >= 500:
                _log.warning("%s %s: %s", request.method, request.url.path, error)
            if isinstance(error, sa.exc.SQLAlchemyError):
                # The driver's words hold the statement.
                return error_answer(status, _DATABASE[status])
            return error_answer(status, str(error))


def _status(error: Exception) -> int:
    """The status of an error of the tree in pipeline/errors.py."""
    match error:
        case Wrong() | sa.exc.DataError():
            return 400
        case TicketNotFound() | SnapshotNotFound() | TaskNotFound():
            return 404
        case UsageError() | AmbiguousPrefix():
            # What is asked for does not go with the configuration, or with the state that it is in.
            return 409
        case DatabaseUnavailable() | SourceError() | StoreError() | sa.exc.SQLAlchemyError():
            return 503
    return 500


def _lines(error: RequestValidationError) -> str:
    """What is wrong with a request, each part by its name."""
    told = (f"{'.'.join(map(str, one['loc'][1:])) or 'the body'}: {one['msg']}" for one in error.errors())
    return "; ".join(told)[:1000]


def _json(value: object) -> Response:
    return json_answer(200, value)


def _text(text: str, media: str) -> Response:
    return Response(text, headers=dict(HEADERS), media_type=media)


def _add_tickets(router: APIRouter, counter: DeskCounter, described: Descriptions) -> None:
    from snapshots.model import CustomerMessage, Portrait, Questionnaire, Routing, Severity, SimilarTicket

    @router.get("/severity", summary="How grave a ticket is, and why", **described.of(Severity))
    def severity(ticket: _Ref) -> Response:
        return _json(counter.severity(ticket))

    @router.get("/similar", summary="Closed tickets like this one", **described.of(list[SimilarTicket]))
    def similar(ticket: _Ref) -> Response:
        return _json(counter.about(ticket).similar)

    @router.get("/route", summary="Who should take it, and why", **described.of(Routing))
    def route(ticket: _Ref) -> Response:
        return _json(counter.about(ticket).routing)

    @router.get("/sentence", summary="What its customer may be told", **described.of(CustomerMessage))
    def sentence(ticket: _Ref) -> Response:
        return _json(counter.sentence(ticket))

    @router.get("/questions", summary="What to ask its customer", **described.of(Questionnaire))
    def questions(ticket: _Ref) -> Response:
        return _json(counter.questions(ticket))

    @router.get("/portrait", summary="What is known of its customer", **described.of(Portrait))
    def portrait(ticket: _Ref) -> Response:
        return _json(counter.portrait(ticket))


def _add_knowledge(router: APIRouter, counter: DeskCounter, described: Descriptions) -> None:
    @router.post(
        "/ask",
        summary="Entries that answer a question, or that an answer is of",
        **described.of(list[plain.KnownAnswer]),
    )
    def ask(question: Enquiry) -> Response:
        return _json(counter.ask(question.text, question.most, question.of))

    @router.post(
        "/solutions", summary="How a symptom is solved, the cheapest check first", **described.of(list[plain.Solutions])
    )
    def solutions(symptom: Symptom) -> Response:
        return _json(counter.solutions(symptom.text))

    @router.get("/knowledge", summary="The entries", **described.of(list[dict[str, Any]]))
    def entries() -> Response:
        return _json(counter.entries())

    @router.get("/knowledge/entry", summary="One entry as Markdown", **described.of(media="text/markdown"))
    def entry(name: Annotated[str, Query(alias="id", min_length=1, max_length=120)]) -> Response:
        return _text(counter.entry(name), "text/markdown")

    @router.get(
        "/knowledge/check", summary="Entries to be doubted, and files that cannot be read", **described.of(plain.Doubts)
    )
    def check() -> Response:
        return _json(counter.doubts())

    @router.get(
        "/knowledge/graph",
        summary="Problem, cause, solution, product",
        **described.of(media="application/ld+json", others=("application/graphml+xml", "image/svg+xml")),
    )
    def graph(
        form: Annotated[Literal["json-ld", "graphml", "svg"], Query(alias="format")] = "json-ld",
        language: _Language = "en",
    ) -> Response:
        return _text(*counter.graph(form, language))


def _add_tasks(router: APIRouter, counter: DeskCounter, described: Descriptions) -> None:
    one = described.of(plain.KnowledgeTask)

    @router.get("/tasks", summary="Knowledge tasks, those due first", **described.of(list[plain.KnowledgeTask]))
    def tasks(
        state: Annotated[list[_State], Query(max_length=5)] = [],  # noqa: B006 -- FastAPI copies it
        limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    ) -> Response:
        return _json([plain.task(task) for task in counter.tasks.listed(state, limit)])

    @router.post("/tasks", summary="Open the task of a solved ticket; it has one", **one)
    def open_(given: NewTask) -> Response:
        return _json(counter.opened(given.ticket, given.assignee))

    @router.get("/tasks/{task}", summary="A task with its entry, filled in", **one)
    def task(task: _Id) -> Response:
        return _json(plain.task(counter.tasks.get(task), text=True))

    @router.post("/tasks/{task}/submit", summary="Hand the entry in", **one)
    def submit(task: _Id, given: Submission) -> Response:
        return _json(counter.submitted(task, given.text))

    @router.post(
        "/tasks/{task}/accept", summary="Test its signature, and file the entry", **described.of(plain.Acceptance)
    )
    def accept(task: _Id, given: By) -> Response:
        return _json(counter.accepted(task, given.by))

    @router.post("/tasks/{task}/return", summary="Give it back to its writer", **one)
    def return_(task: _Id, given: Decision) -> Response:
        return _json(plain.task(counter.tasks.give_back(task, given.why, given.by, counter.clock())))

    @router.post("/tasks/{task}/drop", summary="Nothing is to be learnt from the ticket", **one)
    def drop(task: _Id, given: Decision) -> Response:
        return _json(plain.task(counter.tasks.drop(task, given.why, given.by, counter.clock())))

    @router.get("/standings", summary="Points and timeliness", **described.of(list[plain.PersonStanding]))
    def standings(days: Annotated[int, Query(ge=1, le=3650)] = 30) -> Response:
        return _json(counter.standings(days))


def _add_clocks(router: APIRouter, counter: DeskCounter, described: Descriptions) -> None:
    done = described.of(plain.Done)

    @router.get("/due", summary="Open tickets, the nearest deadline first", **described.of(list[plain.TicketClock]))
    def due(limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> Response:
        return _json(counter.due(limit))

    @router.post("/marks", summary="What happened to a ticket", **described.of(plain.TicketClock))
    def mark(given: Mark) -> Response:
        return _json(counter.mark(given))

    @router.get(
        "/report",
        summary="The health of tickets over a time",
        **described.of(plain.Health, others=("text/html", "text/csv", "text/markdown")),
    )
    def report(
        start: Annotated[
            datetime, Query(alias="from", description="RFC 3339; without an offset in the settings' zone.")
        ],
        end: Annotated[datetime, Query(alias="to", description="Until before when.")],
        form: Annotated[Literal["json", "html", "csv", "md"], Query(alias="format")] = "json",
        language: _Language = "en",
    ) -> Response:
        return _text(counter.report(start, end, form, language), _MEDIA[form])

    @router.get("/rooms", summary="Emergency rooms, newest first", **described.of(list[plain.Room]))
    def rooms(closed: Annotated[bool, Query(description="Closed ones as well.")] = False) -> Response:
        return _json([plain.room(row) for row in counter.rooms.listed(closed=closed)])

    @router.get(
        "/rooms/{room}", summary="Who was called and answered, which customers wait", **described.of(plain.RoomState)
    )
    def room(room: _Number) -> Response:
        return _json(counter.room(room))

    @router.post("/rooms/{room}/acknowledge", summary="Answer a call for a role", **done)
    def acknowledge(room: _Number, given: Acknowledged) -> Response:
        return _done(counter.rooms.acknowledge(room, given.role, given.by), f"there is no room {room}")

    @router.post("/rooms/{room}/told", summary="A customer was told", **done)
    def told(room: _Number, given: Cared) -> Response:
        found = counter.rooms.cared(room, given.system, given.ticket)
        return _done(found, f"{given.system}:{given.ticket} is not on the list of room {room}")

    @router.post("/rooms/{room}/close", summary="Close a room", **done)
    def close(room: _Number) -> Response:
        return _done(counter.rooms.close(room), f"there is no open room {room}")


def _done(found: bool, otherwise: str) -> Response:
    if not found:
        raise TicketNotFound(otherwise)
    return _json(plain.Done(done=True))
