"""Ids, numbers, times, kinds and states as the trace formats write them, as SPANS holds them."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

import msgspec

MAX_US = 253_402_300_800_000_000  # the year 10000
KINDS = ("internal", "server", "client", "producer", "consumer")  # OTLP's 1 to 5; 0 is unspecified
encode = msgspec.json.Encoder(order="deterministic").encode


def as_text(value: Any) -> str | None:
    """A value as text, null for an empty one."""
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, (dict, list, bool)):
        text: str = encode(value).decode()
        return text
    return str(value)


def as_int(value: Any) -> int | None:
    """A whole number from a number or its text, else null."""
    if type(value) is int:
        return value
    try:
        return int(value) if isinstance(value, (str, float)) else None
    except (ValueError, OverflowError):
        return None


def hex_id(value: Any, size: int) -> str | None:
    """An id as lower-case hex. `size` is the full number of bytes: base64 of that length is decoded, short hex padded."""
    if not isinstance(value, str) or not value:
        return None
    text: str = value
    if len(text) == 2 * size and text[0] != "0" and text.islower():
        return text  # by far the most
    if len(text) == 4 * ((size + 2) // 3) and text[-1] == "=":
        try:
            text = base64.b64decode(text, validate=True).hex()
        except (binascii.Error, ValueError):
            return text
    if not _HEX.fullmatch(text):
        return text
    if len(text) < 2 * size and len(text) != 16:
        # Jaeger once wrote ids without their leading zeros.
        text = text.zfill(16 if len(text) < 16 else 32)
    return None if text.strip("0") == "" else text.lower()


_HEX = re.compile("[0-9a-fA-F]+")


def micros_of(nanos: Any) -> int | None:
    """Nanoseconds of the epoch, as number or text, in microseconds; null where there is no sensible time."""
    number = as_int(nanos)
    if number is None or number <= 0:
        return None
    number //= 1000
    return number if number < MAX_US else None


def status_of(code: Any) -> str:
    """OTLP's status code, as number or name, in this table's words."""
    if code is None or code == 0:
        return "unset"
    if isinstance(code, str):
        code = code.upper().removeprefix("STATUS_CODE_")
    return "error" if code in (2, "2", "ERROR") else "ok" if code in (1, "1", "OK") else "unset"


def kind_of(value: Any) -> str | None:
    """A span's kind, from OTLP's number or any spelling of its name."""
    if type(value) is int:
        return KINDS[value - 1] if 0 < value <= len(KINDS) else None
    if not isinstance(value, str):
        return None
    if value.isdigit() and value.isascii():
        return kind_of(int(value[:3]))
    word = value.lower().removeprefix("span_kind_")
    return word if word in KINDS else None
