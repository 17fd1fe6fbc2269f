"""Tickets out of `ticket.json`: in a bundle, by its path, or from standard input.

    id, title and description (one of the two will do), created_at    needed
    system, language, customer{id}, questionnaire{...}, custom_fields{...}    optional

Any other field is kept in `Ticket.custom_fields`, where identifiers are looked for as well.
"""

from __future__ import annotations

import codecs
import re
import zipfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from pipeline.errors import TicketNotFound, UsageError
from pipeline.values import Ticket

# A ticket with its whole history is some kilobytes; what is larger is another file.
MAX_BYTES = 16 * 1024 * 1024
# So many tickets are named in a message.
_LISTED = 10

# Shorter stretches than this say nothing about a text's language.
_CJK = re.compile("[\u3400-\u9fff\uf900-\ufaff]")
_WORD = re.compile(r"[A-Za-z]{2,}")

_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def _ignore(_note: str) -> None:
    """Takes a note that nobody wants."""


def read_ticket(data: bytes, name: str, note: Callable[[str], None] = _ignore) -> Ticket:
    """The ticket that `data` holds as JSON.

    `name` is what messages call it. A `created_at` without offset is taken as UTC, which `note` is told. Raises
    `UsageError` with the field, what was expected and what is there.
    """
    fields = _read_object(data, name)
    ticket_id = _text(fields.pop("id", None), f"{name}: id", numbers=True)
    if not ticket_id:
        raise UsageError(f"{name}: id is missing; a ticket needs id, title or description, and created_at")
    title = _text(fields.pop("title", None), f"{name}: title")
    description = _text(fields.pop("description", None), f"{name}: description")
    if not title and not description:
        raise UsageError(
            f"{name}: both title and description are missing or empty; one of them has to say what happened"
        )
    created_at = _created_at(fields.pop("created_at", None), name, note)
    system = _text(fields.pop("system", None), f"{name}: system") or "file"
    language = _language(_text(fields.pop("language", None), f"{name}: language"), f"{title}\n{description}")
    customer_id, customer = _customer(fields.pop("customer", None), name)
    questionnaire = _object(fields.pop("questionnaire", None), f"{name}: questionnaire")
    return Ticket(
        id=ticket_id,
        title=title,
        description=description,
        created_at=created_at,
        system=system,
        language=language,
        customer_id=customer_id,
        questionnaire=questionnaire,
        custom_fields=_custom_fields(fields, customer),
    )


def find_ticket(
    arg: str, bundle: Path | None = None, stdin: BinaryIO | None = None, note: Callable[[str], None] = _ignore
) -> tuple[Ticket, Path | None]:
    """The ticket that `arg` names, and the bundle whose records belong to it, if any.

    `arg` is `-` for standard input, the id of a ticket in `bundle`, the path of a ticket.json (the bundle is then the
    folder around it, where that folder holds one), or the path of a bundle. Where `bundle` is a folder of bundles, the
    one with the ticket's id is taken. Raises `TicketNotFound` and `UsageError`.
    """
    if arg == "-":
        if stdin is None:
            raise UsageError("TICKET is -, but there is no standard input to read")
        ticket = read_ticket(_bounded(stdin, "standard input"), "standard input", note)
        return ticket, None if bundle is None else _records_of(ticket, bundle)
    if bundle is not None:
        return _out_of_bundle(arg, bundle, note)
    path = Path(arg)
    if _exists(path):
        return _out_of_path(path, note)
    looks_like_path = "/" in arg or "\\" in arg or path.suffix in {".json", ".zip"}
    if looks_like_path:
        raise TicketNotFound(f"{arg}: no such file")
    raise TicketNotFound(
        f"ticket {arg!r} not found: without --bundle, TICKET is the path of a ticket.json, or - for standard input"
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    # A name that is too long, or holds a null byte, is no file.
    except (OSError, ValueError):
        return False


def _out_of_bundle(arg: str, bundle: Path, note: Callable[[str], None]) -> tuple[Ticket, Path]:
    from pipeline.sources.bundle.tickets import find_bundle, is_bundle

    if not _exists(bundle):
        raise UsageError(f"--bundle {bundle}: no such folder or file")
    if Path(arg).suffix == ".json" and _exists(Path(arg)):
        # The ticket of one place with the records of another.
        ticket = read_ticket(_file_bytes(Path(arg)), arg, note)
        return ticket, _records_of(ticket, bundle)
    try:
        found = find_bundle(bundle, arg)
    except TicketNotFound:
        if is_bundle(bundle) and (bundle.is_file() or (bundle / "ticket.json").is_file()):
            # A ticket.json that cannot be read has no id to be found by: say that instead.
            read_ticket(_bundle_ticket(bundle), str(bundle / "ticket.json"))
        raise
    return read_ticket(_bundle_ticket(found), str(found / "ticket.json"), note), found


def _records_of(ticket: Ticket, bundle: Path) -> Path:
    """The bundle with the records of a ticket that came from elsewhere: `bundle`, or the one of its id in that folder."""
    from pipeline.sources.bundle.tickets import find_bundle, is_bundle, ticket_ids

    if not _exists(bundle):
        raise UsageError(f"--bundle {bundle}: no such folder or file")
    if is_bundle(bundle) or bundle.is_file():
        return bundle
    try:
        return find_bundle(bundle, ticket.id)
    except TicketNotFound as error:
        ids = ticket_ids(bundle)
        there = f"it holds the bundles of {', '.join(ids[:_LISTED])}" if ids else "there is no bundle in it"
        more = f" and {len(ids) - _LISTED:,} more" if len(ids) > _LISTED else ""
        raise UsageError(
            f"--bundle {bundle}: has no bundle of ticket {ticket.id!r}; {there}{more}. Name the bundle itself to use it"
        ) from error


def _out_of_path(path: Path, note: Callable[[str], None]) -> tuple[Ticket, Path | None]:
    if path.is_dir():
        if not (path / "ticket.json").is_file():
            raise UsageError(f"{path}: is a folder without ticket.json; name one ticket of it: take ID --bundle {path}")
        return read_ticket(_file_bytes(path / "ticket.json"), str(path / "ticket.json"), note), path
    if zipfile.is_zipfile(path):
        return read_ticket(_bundle_ticket(path), f"{path}/ticket.json", note), path
    ticket = read_ticket(_file_bytes(path), str(path), note)
    around = path.parent
    is_bundle = path.name == "ticket.json" and any(_exists(around / part) for part in ("logs", "traces", "orders.csv"))
    return ticket, around if is_bundle else None


def _bundle_ticket(bundle: Path) -> bytes:
    """The bytes of a bundle's ticket.json, which may lie one folder down in a .zip."""
    if bundle.is_dir():
        return _file_bytes(bundle / "ticket.json")
    try:
        with zipfile.ZipFile(bundle) as archive:
            names = [n for n in archive.namelist() if n == "ticket.json" or n.endswith("/ticket.json")]
            if not names:
                raise TicketNotFound(
                    f"{bundle}: holds no ticket.json; give the ticket's own file or - for standard input"
                )
            with archive.open(min(names, key=lambda n: (n.count("/"), n))) as file:
                return _bounded(file, f"{bundle}/ticket.json")
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise UsageError(f"{bundle}: cannot be read as a .zip: {error}") from error


def _file_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return _bounded(file, str(path))
    except FileNotFoundError as error:
        raise TicketNotFound(f"{path}: no such file") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error


def _bounded(file: Any, name: str) -> bytes:
    data: bytes = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UsageError(f"{name}: is larger than {MAX_BYTES // 1024 // 1024} MiB; this is no ticket")
    return data


def _read_object(data: bytes, name: str) -> dict[str, Any]:
    encoding = next((encoding for bom, encoding in _BOMS if data.startswith(bom)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    if not text.strip():
        raise UsageError(f"{name}: is empty; a ticket is a JSON object with id, title or description, and created_at")
    try:
        fields = msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UsageError(f"{name}: is not JSON: {reason}") from error
    if not isinstance(fields, dict):
        raise UsageError(f"{name}: expected a JSON object, got {_json_type(fields)}")
    return fields


def _json_type(value: Any) -> str:
    names = {
        "NoneType": "null",
        "bool": "a boolean",
        "int": "a number",
        "float": "a number",
        "str": "a string",
        "list": "an array",
    }
    return names.get(type(value).__name__, "an object")


def _text(value: Any, where: str, *, numbers: bool = False) -> str:
    """A text field's value; absent and null are empty."""
    if value is None:
        return ""
    if isinstance(value, str):
        # Half a surrogate pair is legal in JSON and can be written nowhere.
        return value.encode("utf-8", "replace").decode().strip()
    if numbers and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise UsageError(f"{where}: expected a string, got {_json_type(value)}")


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    raise UsageError(f"{where}: expected an object, got {_json_type(value)}")


def _customer(value: Any, name: str) -> tuple[str | None, dict[str, Any]]:
    """The customer's id, and whatever else is said about them."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value).strip() or None, {}
    fields = dict(_object(value, f"{name}: customer"))
    customer_id = _text(fields.pop("id", None), f"{name}: customer.id", numbers=True)
    return customer_id or None, fields


def _custom_fields(fields: dict[str, Any], customer: dict[str, Any]) -> dict[str, Any]:
    given = fields.pop("custom_fields", None)
    extra = {**fields, **({"customer": customer} if customer else {})}
    if given is None:
        return extra
    # Some systems hold an object, others a list of {id, value}.
    return {**extra, **given} if isinstance(given, dict) else {**extra, "custom_fields": given}


# A ticket outside these years is a broken date; windows around it would leave the calendar.
_YEARS = (1970, 2200)


def _created_at(value: Any, name: str, note: Callable[[str], None]) -> datetime:
    how = "write the time the ticket was opened as 2026-11-23T10:02:31+08:00"
    if value is None or value == "":
        raise UsageError(f"{name}: created_at is missing; {how}")
    if not isinstance(value, str):
        raise UsageError(f"{name}: created_at: expected a string, got {_json_type(value)}; {how}")
    try:
        time = parse_time(value)
        aware = time if time.tzinfo else time.replace(tzinfo=UTC)
        aware.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{name}: created_at: {value[:60]!r} is not a time; {how}") from error
    if not _YEARS[0] <= aware.year <= _YEARS[1]:
        raise UsageError(f"{name}: created_at: {value[:60]!r} is not in the years {_YEARS[0]} to {_YEARS[1]}; {how}")
    if time.tzinfo is None:
        note(f"{name}: created_at has no UTC offset; taken as UTC")
    return aware


_SHEET = re.compile(r"\s*(\d{4})[-/](\d\d?)[-/](\d\d?)(?:(?:\s+|T)(\d\d?):(.+))?\s*$", re.IGNORECASE | re.ASCII)


def parse_time(text: str) -> datetime:
    """An ISO 8601 time, with or without offset, also with spaces for `T` and before the offset. Raises `ValueError`.

    Spreadsheets write the date with slashes and without zeros; the year has to come first, since what comes first otherwise is
    the month in one country and the day in another.

    >>> parse_time("2026-11-23 10:02 +08:00").isoformat(), parse_time("2026/1/5 9:02").isoformat()
    ('2026-11-23T10:02:00+08:00', '2026-01-05T09:02:00')
    """
    if sheet := _SHEET.match(text):
        year, month, day, hour, rest = sheet.groups()
        text = f"{year}-{month:0>2}-{day:0>2}" + (f"T{hour:0>2}:{rest}" if hour else "")
    tidy = re.sub(r"\s+(?=[+-]\d\d:?\d\d$|Z$|UTC$)", "", text.strip(), flags=re.IGNORECASE)
    return datetime.fromisoformat(re.sub(r"(?i)utc$", "Z", tidy))


def _language(given: str, text: str) -> str:
    if re.match(r"(?i)zh|cn\b|chinese|中|汉", given):
        return "zh"
    if re.match(r"(?i)en", given):
        return "en"
    return guess_language(text)


def guess_language(text: str) -> str:
    """`zh` where Chinese makes up a good part of the text, else `en`.

    A Chinese character weighs about as much as half a word, so a Chinese sentence around an English error message stays
    Chinese.

    >>> guess_language("付款失败 java.net.SocketTimeoutException"), guess_language("Paid with 支付宝, the order says failed")
    ('zh', 'en')
    """
    chinese, words = len(_CJK.findall(text)), len(_WORD.findall(text))
    return "zh" if chinese and chinese / 2 >= words * 0.3 else "en"
