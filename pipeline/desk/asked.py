"""How customers, shopkeepers and support people put each fault of the taxonomy: `asked.toml`.

The file says what it was written from, and that the questions by which the desk is judged were no part of that.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec

_FILE = Path(__file__).with_name("asked.toml")


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The questions about one fault, in each language on its own: `en[i]` is not `zh[i]`."""

    en: tuple[str, ...] = ()
    zh: tuple[str, ...] = ()


@functools.cache
def asked() -> Mapping[str, Asked]:
    """The questions by fault, `class/subclass`."""
    return msgspec.convert(tomllib.loads(_FILE.read_text("utf-8")), dict[str, Asked])


def asked_of(fault_class: str, subclass: str) -> Asked:
    """The questions about one fault; none where the file has none."""
    return asked().get(f"{fault_class}/{subclass}", Asked())
