"""A TOML file of the package, or one of the team's own in its place: read, checked, and named by its digest."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from pipeline.errors import UsageError
from snapshots.model import sha256_hex

T = TypeVar("T", bound=msgspec.Struct)


class RuleFile(Generic[T]):
    """The file that lies at `shipped`, of the type `kind`, unless the setting `key` names another one."""

    def __init__(self, key: str, shipped: Path, kind: type[T]) -> None:
        self._key = key
        self._shipped = shipped
        self._kind = kind
        self._convert = lru_cache(maxsize=8)(self._converted)

    def read(self, path: str | None) -> T:
        """What the file says. Raises `UsageError` with the file and what is wrong there."""
        place = self._place(path)
        return self._convert(place, self._bytes(place))

    def sha256(self, path: str | None) -> str:
        """The digest of the file, so that a snapshot's settings name it. Raises `UsageError`."""
        return sha256_hex(self._bytes(self._place(path)))

    def _place(self, path: str | None) -> Path:
        return Path(path) if path else self._shipped

    def _bytes(self, place: Path) -> bytes:
        try:
            return place.read_bytes()
        except OSError as error:
            raise UsageError(f"{self._key}: {place} cannot be read: {error.strerror or error}") from error

    def _converted(self, place: Path, data: bytes) -> T:
        try:
            return msgspec.convert(tomllib.loads(data.decode()), self._kind)
        except (ValueError, msgspec.MsgspecError) as error:
            raise UsageError(f"{self._key}: {place}: {error}") from error


@lru_cache(maxsize=1024)
def compiled(expression: str) -> Any:
    """An RE2 expression of such a file. Raises `ValueError` for one that is none."""
    import re2  # a native module that only a desk needs

    quiet = re2.Options()
    quiet.log_errors = False
    try:
        return re2.compile(expression, quiet)
    except re2.error as error:
        raise ValueError(f"{expression!r} is no RE2 expression: {error}") from error
