"""The pages on which customers answer questions, and the same for programs.

    GET  /intake/{snapshot_id}?key=             the page; of a phone first, without scripts, in the ticket's language or `lang`
    POST /intake/{snapshot_id}?key=             the page's form, or JSON as the schema has it
    GET  /intake/{snapshot_id}/schema?key=      JSON Schema of the answers
    GET  /intake/pictures/{sha256}?key=         a picture that was sent, for who works on the ticket

Whoever holds a link may answer the questions of that one ticket, until the link expires; nothing of the ticket is shown but its
number and what is to be confirmed.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec
import sqlalchemy as sa
from fastapi import FastAPI, Request, Response

from pipeline.desk.answers import Answers, Wrong, read_answers
from pipeline.desk.pictures import ACCEPTED
from pipeline.desk.question_forms import CAREFUL, as_schema
from pipeline.desk.replies import Replies, TooMany
from pipeline.service.bodies import TooLong, body_parts, json_answer
from pipeline.service.links import FORM_HEADERS, HEADERS
from snapshots.model import Question, Questionnaire, Text
from snapshots.store import SnapshotNotFound, StoreError
from snapshots.words import language_for, text_in

if TYPE_CHECKING:
    from pipeline.desk.intake_options import QuestionOptions
    from pipeline.service.ledger import Ledger
    from pipeline.service.question_links import Named, QuestionLinks
    from snapshots.model import ProblemSnapshot
    from snapshots.store import Store
    from snapshots.words import Language

_log = logging.getLogger(__name__)
# A picture over a slow phone's line takes its time.
BODY_SECONDS = 90.0
# What answers in words need, beside a picture.
_WORDS = 256 * 1024
_FIELDS = 60
_TEMPLATE = Path(__file__).with_name("intake.html.j2")
# Every offset from UTC that is in use somewhere, in minutes.
_ZONES = frozenset({60 * hours for hours in range(-12, 15)} | {-570, -210, 210, 270, 330, 345, 390, 525, 570, 630, 765})
_CLOCK = re.compile(r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?")

_WORDS_OF: dict[str, Text] = {
    "language": Text(en="Language", zh="语言"),
    "errors": Text(en="Please correct this:", zh="请更正以下内容："),
    "date": Text(en="Date", zh="日期"),
    "time": Text(en="Time", zh="时间"),
    "zone": Text(en="Time zone", zh="时区"),
    "careful": CAREFUL,
    "send": Text(en="Send answers", zh="提交"),
}
_HEADING = Text(en="A few questions about your request", zh="关于您的工单，请补充几项信息")
_TICKET = Text(en="Request {ticket}. Answer what you can; you may leave the rest open.", zh="工单 {ticket}。能回答的请填写，其余可以留空。")  # fmt: skip
_BEFORE = Text(en="You answered before. What you send now replaces those answers.", zh="您此前已提交过，本次提交将替换之前的答案。")  # fmt: skip
_RECEIVED = Text(en="Thank you. Your answers were received, and your request is being looked at again.", zh="谢谢，已收到您的答复，我们正在重新核查。")  # fmt: skip
_NOTHING = Text(en="There is nothing left to answer here.", zh="目前没有需要您补充的信息。")
_FAILED = Text(en="This did not work", zh="未能完成")
_REFUSED: dict[str, tuple[int, Text]] = {
    "expired": (401, Text(en="This link has expired. Reply to your request to get a new one.", zh="此链接已过期，请在工单中回复以获取新的链接。")),
    "invalid": (401, Text(en="This link is not valid. Open it exactly as it was sent to you.", zh="此链接无效，请使用收到的完整链接打开。")),
    "gone": (404, Text(en="These questions are not here any more. Reply to your request instead.", zh="这些问题已不存在，请直接在工单中回复。")),
    "large": (413, Text(en="This is too large. Send a smaller picture.", zh="内容过大，请上传较小的图片。")),
    "slow": (408, Text(en="Your answers did not arrive in time. Please send them again.", zh="答复未能及时送达，请重新提交。")),
    "broken": (400, Text(en="Your answers could not be read. Please send them again.", zh="无法读取您的答复，请重新提交。")),
    "many": (429, Text(en="This request has as many answers as it can hold. Reply to it instead.", zh="该工单的答复次数已达上限，请直接在工单中回复。")),
    "later": (503, Text(en="Your answers could not be stored now. Please send them again in a few minutes.", zh="暂时无法保存您的答复，请几分钟后重新提交。")),
}  # fmt: skip
_RESPONSES: dict[int | str, dict[str, Any]] = {
    401: {"description": "The link is not one of ours for these questions, or has expired."},
    404: {"description": "The questions are not here any more."},
}
_POSTED: dict[int | str, dict[str, Any]] = _RESPONSES | {
    303: {"description": "The form's answers are stored; the page that says so."},
    400: {"description": "The body cannot be read."},
    408: {"description": "The body did not arrive in time."},
    413: {"description": "The body is too large."},
    415: {"description": "Neither a form nor JSON."},
    422: {"description": "What is wrong with which answer."},
    429: {"description": "The ticket has as many answers as may be."},
    503: {"description": "Not stored; send it again."},
}


class Refused(Exception):
    """A request that gets no page of its own; `why` is a key of `_REFUSED`."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True)
class Opened:
    """What a link opened."""

    named: Named
    snapshot: ProblemSnapshot
    made: Questionnaire


@dataclass(frozen=True)
class Posted:
    """What was sent: by question, and whether by a program."""

    values: Mapping[str, Any]
    json: bool = False
    # What the form showed, so that a page with errors shows it again.
    shown: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class QuestionPages:
    """Answers requests. `links` say whose questions a key opens, `replies` and `ledger` keep what comes."""

    options: QuestionOptions
    links: QuestionLinks
    store: Store
    replies: Replies
    ledger: Ledger

    def opened(self, snapshot_id: str, key: str) -> Opened:
        """What the link opens. Raises `Refused`."""
        named = self.links.read_questions(key, snapshot_id)
        if isinstance(named, str):
            raise Refused(named)
        try:
            snapshot = self.store.get(snapshot_id)
        except SnapshotNotFound as error:
            raise Refused("gone") from error
        except StoreError as error:
            raise Refused("later") from error
        if snapshot.snapshot_id != snapshot_id or snapshot.ticket.id != named.ticket_id:
            raise Refused("invalid")
        if not isinstance(snapshot.questions, Questionnaire):
            raise Refused("gone")
        return Opened(named, snapshot, snapshot.questions)

    def page(self, snapshot_id: str, key: str, lang: str, *, sent: bool) -> Response:
        """The page with the form, or with what became of it."""
        opened = self.opened(snapshot_id, key)
        return self._form(opened, key, _language(opened, lang), sent=sent)

    def schema(self, snapshot_id: str, key: str, lang: str) -> Response:
        """The JSON Schema of the answers."""
        opened = self.opened(snapshot_id, key)
        found = as_schema(opened.made, _language(opened, lang), self.options.max_picture)
        return Response(msgspec.json.encode(found), headers=HEADERS, media_type="application/schema+json")

    def answered(self, opened: Opened, key: str, lang: str, posted: Posted) -> Response:
        """Keeps the answers to what the link opened, or says what is wrong with them."""
        language, named = _language(opened, lang), opened.named
        found = read_answers(opened.made, posted.values, datetime.now(UTC), self.options.max_picture)
        if isinstance(found, Wrong):
            if posted.json:
                return _json(422, {"errors": found.errors})
            return self._form(opened, key, language, errors=found.errors, given=posted.shown)
        stored = self._kept(named, found)
        if posted.json:
            return _json(200, {"stored": stored})
        # Loaded again, the page that this leads to sends nothing.
        place = f"{named.name}?{urlencode({'key': key, 'lang': language, 'sent': '1'})}"
        return Response(status_code=303, headers={**FORM_HEADERS, "Location": place})

    def picture(self, sha256: str, key: str) -> Response:
        """A picture, as a file to save."""
        named = self.links.read_picture(key, sha256)
        if isinstance(named, str):
            raise Refused(named)
        found = self.replies.picture(named.system, named.ticket_id, sha256)
        if found is None:
            raise Refused("gone")
        kept, data = found
        headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{kept.name}"'}
        return Response(data, headers=headers, media_type=kept.media_type)

    def _kept(self, named: Named, answers: Answers) -> bool:
        try:
            return self.replies.put(self.ledger, named.system, named.ticket_id, named.name, answers)
        except TooMany as error:
            raise Refused("many") from error
        except (OSError, sa.exc.SQLAlchemyError) as error:
            _log.error("answers could not be stored: %s", error)
            raise Refused("later") from error

    def _form(
        self,
        opened: Opened,
        key: str,
        language: Language,
        *,
        sent: bool = False,
        errors: Mapping[str, Text] = {},
        given: Mapping[str, str] = {},
    ) -> Response:
        questions = [] if sent else opened.made.questions
        lines: list[str] = []
        if questions:
            lines.append(text_in(_TICKET, language).replace("{ticket}", opened.named.ticket_id))
            if not errors and self.replies.held(opened.named.system, opened.named.ticket_id).answers:
                lines.append(text_in(_BEFORE, language))
        elif not sent:
            lines.append(text_in(_NOTHING, language))
        own = datetime.fromisoformat(opened.snapshot.ticket.created_at).utcoffset()
        minutes = round(own.total_seconds() / 60) if own else 0
        other = "en" if language == "zh" else "zh"
        return _page(
            422 if errors else 200,
            language,
            text_in(_HEADING, language),
            [(line, "") for line in lines],
            received=text_in(_RECEIVED, language) if sent else "",
            errors={name: text_in(text, language) for name, text in errors.items()},
            questions=[_shown(one, language, given, _zone(minutes)) for one in questions],
            zones=[_zone(one) for one in sorted({*_ZONES, minutes})],
            action="?" + urlencode({"key": key, "lang": language}),
            other="" if errors else "?" + urlencode({"key": key, "lang": other, **({"sent": "1"} if sent else {})}),
        )


def add_questions(app: FastAPI, pages: QuestionPages) -> None:
    """Adds the addresses to the application."""

    @app.get("/intake/pictures/{sha256}", summary="A picture", response_class=Response, responses=_RESPONSES)
    async def picture(sha256: str, key: str = "") -> Response:
        return await _told(lambda: pages.picture(sha256, key))

    @app.get(
        "/intake/{snapshot_id}/schema", summary="JSON Schema of answers", response_class=Response, responses=_RESPONSES
    )
    async def schema(snapshot_id: str, key: str = "", lang: str = "") -> Response:
        return await _told(lambda: pages.schema(snapshot_id, key, lang), json=True)

    @app.get(
        "/intake/{snapshot_id}", summary="The questions of a ticket", response_class=Response, responses=_RESPONSES
    )
    async def ask(snapshot_id: str, key: str = "", lang: str = "", sent: str = "") -> Response:
        return await _told(lambda: pages.page(snapshot_id, key, lang, sent=bool(sent)), lang)

    @app.post(
        "/intake/{snapshot_id}",
        summary="Answers",
        response_class=Response,
        responses=_POSTED,
        openapi_extra={
            "requestBody": {
                "content": {
                    "application/json": {"schema": {"type": "object"}},
                    "multipart/form-data": {"schema": {"type": "object"}},
                }
            }
        },
    )
    async def answer(request: Request, snapshot_id: str, key: str = "", lang: str = "") -> Response:
        json = _kind(request) == "application/json"
        try:
            # Whoever has no link that holds is not read at all.
            opened = await asyncio.to_thread(pages.opened, snapshot_id, key)
            async with asyncio.timeout(BODY_SECONDS):
                posted = await _read(request, pages.options.max_picture)
        except Refused as error:
            return _refusal(error.why, lang, json=json)
        except TimeoutError:
            return _refusal("slow", lang, json=json)
        if posted is None:
            return _json(415, {"error": "send a form, or JSON as the schema has it"})
        return await _told(lambda: pages.answered(opened, key, lang, posted), lang, json=json)


async def _told(make: Callable[[], Response], lang: str = "", *, json: bool = False) -> Response:
    try:
        return await asyncio.to_thread(make)
    except Refused as error:
        return _refusal(error.why, lang, json=json)


# ---- what was sent


async def _read(request: Request, most: int) -> Posted | None:
    """What the body says; None where it is neither form nor JSON. Raises `Refused`."""
    kind = _kind(request)
    try:
        if kind == "application/json":
            parts = body_parts(request, most * 4 // 3 + _WORDS)
            return _from_json(b"".join([part async for part in parts]))
        if kind == "multipart/form-data":
            return await _from_form(request, most)
    except TooLong:
        raise Refused("large") from None
    return None


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _from_json(data: bytes) -> Posted:
    try:
        return Posted(msgspec.json.decode(data, type=dict[str, Any]), json=True)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refused("broken") from error


async def _from_form(request: Request, most: int) -> Posted:
    from starlette.formparsers import MultiPartException, MultiPartParser

    parser = MultiPartParser(
        request.headers, body_parts(request, most + _WORDS), max_files=1, max_fields=_FIELDS, max_part_size=_WORDS
    )
    try:
        form = await parser.parse()
    # The parser raises whatever a broken body makes of it: a boundary that is missing, a part without a name.
    except (MultiPartException, KeyError, ValueError, AssertionError) as error:
        raise Refused("broken") from error
    shown: dict[str, str] = {}
    values: dict[str, Any] = {}
    try:
        for name, value in form.multi_items():
            if isinstance(value, str):
                shown[name] = value
            elif value.size:
                values[name] = await value.read()
    finally:
        await form.close()
    return Posted(values | _joined(shown), shown=shown)


def _joined(shown: Mapping[str, str]) -> dict[str, Any]:
    """The form's parts put together: date, time and zone to a moment."""
    found: dict[str, Any] = {}
    for name, value in shown.items():
        base, _, part = name.partition(".")
        if not part:
            found[name] = value
        elif part == "date" and (value.strip() or shown.get(f"{base}.time", "").strip()):
            clock = shown.get(f"{base}.time", "").strip()
            # What is half filled in is wrong, and not left out.
            clock = clock if _CLOCK.fullmatch(clock) else "?"
            found[base] = f"{value.strip()}T{clock}{shown.get(f'{base}.zone', '')}"
    return found


# ---- what is shown


def _shown(one: Question, language: Language, given: Mapping[str, str], zone: str) -> dict[str, Any]:
    held: Any = given.get(one.id, one.value or "")
    if one.kind == "moment":
        told = one.value or ""
        held = {
            "date": given.get(f"{one.id}.date", told[:10]),
            "time": given.get(f"{one.id}.time", told[11:16]),
            "zone": given.get(f"{one.id}.zone", zone),
        }
    doubt = text_in(one.doubt, language) if one.doubt and one.value else ""
    return {
        "id": one.id,
        "kind": one.kind,
        "ask": text_in(one.ask, language),
        "why": text_in(one.why, language),
        "hint": text_in(one.hint, language) if one.hint else "",
        "doubt": doubt,
        "options": [{"value": option.value, "label": text_in(option.label, language)} for option in one.options],
        "longest": one.longest,
        "given": held,
    }


def _language(opened: Opened, lang: str) -> Language:
    return language_for(opened.snapshot.ticket.language, lang if lang in {"en", "zh"} else "auto")


def _page(status: int, language: Language, heading: str, lines: list[tuple[str, str]], **shown: Any) -> Response:
    """A page; each of `lines` with its language where that is another one."""
    from snapshots.render.html import page

    empty = {"received": "", "errors": {}, "questions": [], "zones": [], "action": "", "other": ""}
    values = empty | shown
    title = heading
    if values["errors"]:
        title = f"{'有误' if language == 'zh' else 'Error'}: {title}"
    questions = values["questions"]
    text = page(
        _TEMPLATE,
        _TEMPLATE.with_name("intake.css").read_text(encoding="utf-8"),
        language=language,
        title=title,
        heading=heading,
        lines=lines,
        w={name: text_in(text, language) for name, text in _WORDS_OF.items()},
        accept=",".join(ACCEPTED),
        targets={one["id"]: _first_input(one) for one in questions},
        asked={one["id"]: one["ask"] for one in questions},
        **values,
    )
    return Response(text, status, headers=FORM_HEADERS, media_type="text/html; charset=utf-8")


def _first_input(one: Mapping[str, Any]) -> str:
    """The id of the input that an error's link leads to."""
    ends = {"choice": "-1", "moment": "-date"}
    return f"{one['id']}{ends.get(one['kind'], '')}"


def _refusal(why: str, lang: str, *, json: bool = False) -> Response:
    """A page in both languages, since nothing is known of whoever reads it; for programs the same as JSON."""
    status, told = _REFUSED[why]
    if json:
        return _json(status, {"error": told})
    language = language_for(lang)
    both = [(told.en, "" if language == "en" else "en"), (told.zh, "" if language == "zh" else "zh-CN")]
    return _page(status, language, text_in(_FAILED, language), both if language == "en" else both[::-1])


def _json(status: int, value: Mapping[str, Any]) -> Response:
    return json_answer(status, value, HEADERS)


def _zone(minutes: int) -> str:
    sign, rest = ("-", -minutes) if minutes < 0 else ("+", minutes)
    return f"{sign}{rest // 60:02d}:{rest % 60:02d}"
