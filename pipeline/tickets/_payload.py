"""What all deliveries and answers need: JSON that may be hostile, values out of it, and whether we did it ourselves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import parse_qs

import msgspec

from pipeline.tickets.file import parse_time
from pipeline.tickets.system import Incoming, Malformed, SystemBroken

Shape = TypeVar("Shape")
Key = TypeVar("Key")

# So much of a ticket's text orders the work.
_TEXT = 20_000
_YEARS = (1970, 2200)
_MILLISECONDS = 10**11


def decoded(body: bytes, shape: type[Shape], system: str) -> Shape:
    """The body of a verified delivery as `shape`. Raises `Malformed`, also for JSON that is nested too deeply."""
    try:
        return msgspec.json.decode(body, type=shape, strict=False)
    except RecursionError as error:
        raise Malformed(f"the delivery of {system} is nested too deeply") from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise Malformed(f"the delivery is not what {system} sends: {str(error)[:200]}") from error


def read(answer: Any, shape: type[Shape], where: str) -> Shape:
    """An answer of the system's API as `shape`. Raises `SystemBroken`."""
    try:
        return msgspec.convert(answer, shape, strict=False)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise SystemBroken(f"{where} answered something unexpected: {str(error)[:200]}") from error


def fields(answer: Any, where: str) -> dict[str, Any]:
    """An answer that has to be an object; without a body it is an empty one. Raises `SystemBroken`."""
    if answer is not None and not isinstance(answer, dict):
        raise SystemBroken(f"{where} answered something else than an object: check url")
    return answer or {}


def rows(answer: Any, where: str) -> list[dict[str, Any]]:
    """An answer, or a part of one, that has to be a list of objects. Raises `SystemBroken`, also where there is none."""
    if not (isinstance(answer, list) and all(isinstance(one, dict) for one in answer)):
        raise SystemBroken(f"{where} answered something else than a list of objects: check url")
    return answer


def decode(body: bytes) -> dict[str, Any]:
    """The JSON object in the body of a verified delivery. Raises `Malformed`."""
    return decoded(body, dict[str, Any], "a ticket system")


def form_or_json(request: Incoming) -> dict[str, Any]:
    """The JSON object of the body, or of its field `payload` where it is a form. Raises `Malformed`.

    GitHub and Forgejo offer both, and GitHub's form for a new hook has the form chosen.
    """
    if not request.headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded"):
        return decode(request.body)
    try:
        fields = parse_qs(request.body.decode(), max_num_fields=20)
    except ValueError as error:
        raise Malformed("the body is no form") from error
    if not fields.get("payload"):
        raise Malformed("the form has no field payload")
    return decode(fields["payload"][0].encode())


def dig(value: Any, *path: str) -> Any:
    """What is at `path` in nested objects; None where it is not there.

    >>> dig({"issue": {"user": {"login": "ann"}}}, "issue", "user", "login"), dig({"issue": []}, "issue", "user")
    ('ann', None)
    """
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def text(value: Any) -> str:
    """A string or whole number as text; anything else is empty."""
    if isinstance(value, str):
        return value.strip()
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def whole(value: Any, what: str) -> int:
    """A positive whole number, as JSON's number or in digits. Raises `Malformed` with `what` it should be."""
    found = text(value)
    if not (found.isascii() and found.isdecimal() and 0 < len(found) <= 18):
        raise Malformed(f"{what} is missing or no number")
    return int(found)


def outline(*parts: Any) -> str:
    """Title and description as one text that the work is ordered by, cut."""
    return "\n".join(found for found in map(text, parts) if found)[:_TEXT]


def moment(value: Any) -> datetime | None:
    """A time: ISO 8601, or seconds or milliseconds since 1970; None where it is neither. Without an offset it is UTC.

    >>> str(moment("2015-05-17 18:08:09 UTC")), str(moment(1432000000)), moment("soon"), moment(True)
    ('2015-05-17 18:08:09+00:00', '2015-05-19 01:46:40+00:00', None, None)
    """
    try:
        if isinstance(value, str) and re.fullmatch(r"\d{9,14}(\.\d+)?", value.strip(), re.ASCII):
            value = float(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _sane(datetime.fromtimestamp(value / 1000 if value > _MILLISECONDS else value, tz=UTC))
        if not isinstance(value, str) or not value.strip():
            return None
        time = parse_time(value)
    except (ValueError, OverflowError, OSError):
        return None
    return _sane(time if time.tzinfo else time.replace(tzinfo=UTC))


def needed_moment(value: Any, where: str) -> datetime:
    """As `moment`, for a time that must be there. Raises `SystemBroken`."""
    time = moment(value)
    if time is None:
        raise SystemBroken(f"{where} gave {str(value)[:60]!r} where a time is expected")
    return time


def same(user: str | None, *names: Any) -> bool:
    """Whether one of the names is `user`, whatever the letters' case.

    >>> same("Snapshot-Bot", None, "snapshot-bot"), same(None, None), same("", "")
    (True, False, False)
    """
    return bool(user) and any(isinstance(name, str) and name.casefold() == str(user).casefold() for name in names)


def filled(values: Mapping[Key, Any]) -> dict[Key, Any]:
    """Those fields that hold something."""
    return {name: value for name, value in values.items() if value not in (None, "", [], {})}


def _sane(time: datetime) -> datetime | None:
    return time if _YEARS[0] <= time.year <= _YEARS[1] else None
