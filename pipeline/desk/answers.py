"""A customer's answers: held to the questions' JSON Schema, made clean, and put into the ticket.

posted values -> `read_answers` -> Answers, or what is wrong with which of them, in both languages
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from pipeline.desk.pictures import NoPicture, Picture, read_picture
from pipeline.desk.question_forms import LINES, as_schema
from pipeline.desk.words import missing
from pipeline.values import Ticket
from snapshots.model import Question, Questionnaire, Text

# What stands in the ticket's questionnaire for a picture: no name or digest that could be read as somebody's number.
RECEIVED = "received"
_OLDEST = timedelta(days=366)
# How far a customer's clock may be ahead.
_AHEAD = timedelta(minutes=10)

NOTHING_SAID = Text(en="Answer at least one question.", zh="请至少回答一个问题。")
_NO_PICTURE = Text(en="This is no picture that we can read. Send a PNG, JPEG or WebP file.", zh="无法识别该图片，请上传 PNG、JPEG 或 WebP 文件。")  # fmt: skip
_NO_MOMENT = Text(en="Give a date and a time.", zh="请填写日期和时间。")
_FUTURE = Text(
    en="This time has not come yet. Check date, time and time zone.", zh="该时间尚未到来，请核对日期、时间和时区。"
)
_LONG_AGO = Text(en="This is more than a year ago. Check the date.", zh="该时间在一年以前，请核对日期。")
_NO_CHOICE = Text(en="Choose one of the answers.", zh="请从选项中选择。")
_UNREADABLE = Text(en="This answer cannot be read.", zh="无法读取该答案。")


@dataclass(frozen=True)
class Answers:
    """Answers that were found good: by question, and the picture that came along."""

    values: Mapping[str, Any] = field(default_factory=dict)
    picture: Picture | None = None


@dataclass(frozen=True)
class Wrong:
    """What is wrong, by question; the empty name is the whole."""

    errors: Mapping[str, Text]


def read_answers(made: Questionnaire, posted: Mapping[str, Any], now: datetime, most_bytes: int) -> Answers | Wrong:
    """The answers in `posted`, question -> value as its JSON Schema wants it; a picture may be bytes already.

    Empty values are no answers. `now` is aware. Raises `UsageError` where the extra `desk` is not installed.
    """
    questions = {one.id: one for one in made.questions}
    given = {name: _in_lines(questions.get(name), value) for name, value in posted.items() if not _empty(value)}
    raw = {name: value for name, value in given.items() if isinstance(value, bytes)}
    plain = {name: _clean(value) for name, value in given.items() if name not in raw}
    errors = _by_schema(made, plain | {name: _encoded(value) for name, value in raw.items()}, most_bytes)
    values: dict[str, Any] = {}
    picture: Picture | None = None
    for name, value in given.items():
        question = questions.get(name)
        if question is None or name in errors:
            continue
        if question.kind == "picture":
            found = _picture(value)
            if found is None:
                errors[name] = _NO_PICTURE
            else:
                picture, values[name] = found, RECEIVED
        elif name in raw:
            # A file in the place of words.
            errors[name] = _UNREADABLE
        elif question.kind == "moment":
            moment = _moment(str(plain[name]), now)
            if isinstance(moment, Text):
                errors[name] = moment
            else:
                values[name] = moment.isoformat()
        else:
            values[name] = plain[name]
    if not errors:
        return Answers(values, picture)
    # As the page has them.
    places = {name: place for place, name in enumerate(questions)}
    return Wrong({name: errors[name] for name in sorted(errors, key=lambda name: places.get(name, -1))})


def with_answers(ticket: Ticket, answers: Mapping[str, Any]) -> Ticket:
    """The ticket with the answers in its questionnaire, over what stood there."""
    return replace(ticket, questionnaire={**ticket.questionnaire, **answers}) if answers else ticket


# ---- what is wrong


def _by_schema(made: Questionnaire, given: Mapping[str, Any], most_bytes: int) -> dict[str, Text]:
    try:
        from jsonschema import Draft202012Validator
    except ImportError as absent:
        raise missing("desk", absent) from absent
    found: dict[str, Text] = {}
    questions = {one.id: one for one in made.questions}
    for error in Draft202012Validator(as_schema(made, "en", most_bytes)).iter_errors(dict(given)):
        name = str(error.absolute_path[0]) if error.absolute_path else ""
        if error.validator == "additionalProperties":
            other = min(set(given) - set(questions))[:40]
            found.setdefault("", Text(en=f"“{other}” was not asked.", zh=f"没有询问“{other}”。"))
        elif error.validator == "minProperties":
            found.setdefault("", NOTHING_SAID)
        else:
            found.setdefault(name, _told(questions.get(name), str(error.validator), most_bytes))
    return found


def _told(question: Question | None, validator: str, most_bytes: int) -> Text:
    if question is None:
        return _UNREADABLE
    if validator in {"maxLength", "maxItems"}:
        if question.kind == "picture":
            size = f"{most_bytes / (1 << 20):.0f} MB"
            return Text(en=f"The picture is larger than {size}.", zh=f"图片超过 {size}。")
        if validator == "maxItems":
            return Text(en=f"These are too many lines: {LINES} at most.", zh=f"行数过多，最多 {LINES} 行。")
        most = question.longest
        return Text(en=f"This is too long: {most} characters at most.", zh=f"内容过长，最多 {most} 个字符。")
    if validator == "pattern" and question.shape_hint:
        return question.shape_hint
    return _NO_CHOICE if validator == "oneOf" else _UNREADABLE


def _moment(text: str, now: datetime) -> datetime | Text:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return _NO_MOMENT
    if moment.tzinfo is None:
        return _NO_MOMENT
    # Compared as differences: the ends of the calendar cannot be moved into UTC.
    try:
        ahead = moment - now
    except OverflowError:
        return _NO_MOMENT
    if ahead > _AHEAD:
        return _FUTURE
    return _LONG_AGO if -ahead > _OLDEST else moment


def _picture(value: object) -> Picture | None:
    try:
        data = value if isinstance(value, bytes) else base64.b64decode(str(value), validate=True)
        return read_picture(data)
    except (binascii.Error, ValueError, NoPicture):
        return None


def _in_lines(question: Question | None, value: object) -> object:
    """A form's text as the lines that the schema wants."""
    if question is None or question.kind != "lines" or not isinstance(value, str):
        return value
    return [line.strip() for line in value.splitlines() if line.strip()]


def _empty(value: object) -> bool:
    if isinstance(value, str):
        return not value.strip()
    return value is None or value in ([], b"")


def _clean(value: object) -> object:
    """Text without spaces around it, and without characters that nobody types."""
    if isinstance(value, str):
        return "".join(letter for letter in value.strip() if letter in "\n\t" or letter.isprintable())
    if isinstance(value, list):
        return [_clean(one) for one in value]
    return value


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


__all__ = ["RECEIVED", "Answers", "Wrong", "read_answers", "with_answers"]
