"""A configuration file as it was written, and typed values out of its tables.

What is wrong is told by file, key and value. How `${...}` and durations are written: `pipeline.settings`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import msgspec.inspect as shapes

from pipeline.errors import UsageError

# What a secret file may weigh; anything larger was meant to be something else.
_SECRET_FILE_BYTES = 64 * 1024


@dataclass(frozen=True)
class Config:
    """A configuration file as it was written: `${...}` not yet filled in. Without a file, `path` is None."""

    path: Path | None = None
    tree: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What messages call the file."""
        return str(self.path) if self.path else "built-in settings"

    @property
    def profiles(self) -> list[str]:
        """The profiles that the file has."""
        return list(self.tree.get("profiles", {}))

    def wrong(self, key: str, sentence: str) -> UsageError:
        """The error that says of a key of the file what is wrong with it."""
        return UsageError(f"{self.name}: {key}: {sentence}")


_PART = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_seconds(text: str) -> float:
    """A duration in seconds. Raises `ValueError` with the sentence that says how to write one.

    >>> parse_seconds("1h30m"), parse_seconds("250ms"), parse_seconds("10")
    (5400.0, 0.25, 10.0)
    """
    if re.fullmatch(r"\s*[0-9]+(\.[0-9]+)?\s*", text):
        return float(text)
    total, at = 0.0, 0
    while at < len(text) and (part := _PART.match(text, at)):
        total += float(part[1]) * _UNIT_SECONDS[part[2]]
        at = part.end()
    if at == 0 or text[at:].strip():
        raise ValueError(f"{text!r} is not a duration; write 10s, 5m, 1h30m or a number of seconds")
    return total


class _Filled(str):
    """A string that a variable or a file had a part in: it may be a secret, and it may stand for a number."""

    __slots__ = ()


@dataclass(frozen=True)
class Where:
    """What is needed to say where a wrong value stands."""

    config: Config
    origins: Mapping[str, str]
    env: Mapping[str, str]

    def wrong(self, path: str, sentence: str) -> UsageError:
        """The error that says of a key of the profile what is wrong with it, and in which table it stands."""
        known, table = path, None
        while known and (table := self.origins.get(known)) is None:
            known = known.rpartition(".")[0]
        return self.config.wrong(join_key(table or "defaults", path), sentence)


_HOLE = re.compile(r"\$\$\{|\$\{([^{}]*)\}")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


def filled(value: Any, path: str, where: Where) -> Any:
    """`value` with every `${...}` in it replaced."""
    if isinstance(value, dict):
        return {key: filled(inner, join_key(path, key), where) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, path, where) for inner in value]
    if not isinstance(value, str) or "${" not in value:
        return value

    def fill(hole: re.Match[str]) -> str:
        if hole[1] is None:
            return "${"
        text = _fill(hole[1], path, where)
        # A password may hold any character; in an address some of them mean something else.
        return quote(text, safe="") if _in_login(value, hole) else text

    return _Filled(_HOLE.sub(fill, value))


def _in_login(value: str, hole: re.Match[str]) -> bool:
    """Whether the hole lies between `://` and `@` of an address."""
    before = _HOLE.sub("", value[: hole.start()]).rpartition("://")
    after = _HOLE.sub("", value[hole.end() :])
    return bool(before[1]) and not re.search("[/?#@]", before[2]) and bool(re.match("[^/?#@]*@", after))


def _fill(name: str, path: str, where: Where) -> str:
    if name.startswith("file:"):
        return _secret_file(name.removeprefix("file:"), path, where)
    variable = _VARIABLE.fullmatch(name)
    if variable is None:
        raise where.wrong(path, f"${{{name}}} is neither ${{VARIABLE}} nor ${{file:PATH}}; write $${{ for a plain ${{")
    found = where.env.get(variable[1]) or variable[2]
    if found is None:
        raise where.wrong(path, f"the environment variable {variable[1]} is not set")
    return found


def _secret_file(text: str, path: str, where: Where) -> str:
    place = Path(text).expanduser()
    if where.config.path:
        place = where.config.path.parent / place
    try:
        with place.open("rb") as file:
            data = file.read(_SECRET_FILE_BYTES + 1)
        if len(data) > _SECRET_FILE_BYTES:
            raise where.wrong(path, f"the file {place} is too large for a secret")
        return data.decode("utf-8-sig").rstrip("\r\n")
    except OSError as error:
        raise where.wrong(path, f"the file {place} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise where.wrong(path, f"the file {place} is not UTF-8 text") from error


def convert(value: Any, kind: Any, path: str, where: Where) -> Any:
    """`value` as `kind`, or a `UsageError` that says which key is wrong and why."""
    tidy = _tidied(value, shapes.type_info(kind), path, where)
    try:
        return msgspec.convert(tidy, kind)
    except msgspec.ValidationError as error:
        sentence, _, at = str(error).partition(" - at `$")
        inner = at.rstrip("`").replace("[...]", "").lstrip(".")
        raise where.wrong(join_key(path, inner) if inner else path or "settings", _plain(sentence)) from error


def _plain(sentence: str) -> str:
    sentence = sentence.replace("`", "").replace("Object missing required field", "missing key")
    return sentence[:1].lower() + sentence[1:] if sentence.startswith(("Expected", "Invalid")) else sentence


def _tidied(value: Any, shape: Any, path: str, where: Where) -> Any:
    """`value` with durations as seconds and filled-in numbers as numbers; unknown keys and words are told here."""
    match shape:
        case shapes.Metadata(type=inner):
            return _tidied(value, inner, path, where)
        case shapes.StructType() if isinstance(value, dict):
            return _tidied_struct(value, shape, path, where)
        case shapes.UnionType(types=types) if isinstance(value, dict) and any(t.tag for t in _structs(types)):
            return _tidied_choice(value, _structs(types), path, where)
        case shapes.UnionType(types=types):
            # An optional value: the one shape beside null says how it is to be read.
            rest = [t for t in types if not isinstance(t, shapes.NoneType)]
            return _tidied(value, rest[0], path, where) if len(rest) == 1 else _bare(value)
        case shapes.DictType(value_type=inner) if isinstance(value, dict):
            return {key: _tidied(item, inner, join_key(path, key), where) for key, item in value.items()}
        case shapes.VarTupleType(item_type=inner) | shapes.ListType(item_type=inner) if isinstance(value, list):
            return [_tidied(item, inner, path, where) for item in value]
        case shapes.FloatType() if isinstance(value, str):
            try:
                return parse_seconds(value)
            except ValueError as error:
                raise where.wrong(path, _hidden(value, str(error))) from error
        case shapes.LiteralType(values=words) if value not in words:
            raise where.wrong(path, _hidden(value, f"{value!r} is not one of {', '.join(map(str, words))}"))
        case shapes.IntType() if isinstance(value, _Filled) and re.fullmatch(r"-?[0-9]{1,18}", value):
            return int(value)
        case shapes.BoolType() if isinstance(value, _Filled) and value.lower() in {"true", "false", "1", "0"}:
            return value.lower() in {"true", "1"}
    return _bare(value)


def _structs(types: tuple[Any, ...]) -> list[Any]:
    return [t for t in types if isinstance(t, shapes.StructType)]


def _bare(value: Any) -> Any:
    """`value` with plain strings."""
    if isinstance(value, list):
        return [_bare(item) for item in value]
    if isinstance(value, dict):
        return {key: _bare(item) for key, item in value.items()}
    return str(value) if isinstance(value, _Filled) else value


def _hidden(value: Any, sentence: str) -> str:
    return "the value that ${...} gave does not fit here" if isinstance(value, _Filled) else sentence


def _tidied_struct(value: Mapping[str, Any], shape: Any, path: str, where: Where) -> dict[str, Any]:
    known = {f.encode_name: f.type for f in shape.fields}
    tidy: dict[str, Any] = {}
    for key, item in value.items():
        inner = join_key(path, key)
        if key == shape.tag_field:
            tidy[key] = item
        elif key in known:
            tidy[key] = _tidied(item, known[key], inner, where)
        else:
            raise where.wrong(inner, f"unknown key; {nearest(key, [k for k in known if inner != 'profile'])}")
    return tidy


def _tidied_choice(value: Mapping[str, Any], choices: list[Any], path: str, where: Where) -> dict[str, Any]:
    """A table whose `kind` says which of several shapes it has."""
    tag_field = choices[0].tag_field
    kinds = {t.tag: t for t in choices}
    if tag_field not in value:
        raise where.wrong(path, f"missing key {tag_field}; one of {', '.join(sorted(kinds))}")
    kind = value[tag_field]
    if not isinstance(kind, str) or kind not in kinds:
        sentence = f"there is no {tag_field} {kind!r}; {nearest(str(kind), sorted(kinds))}"
        raise where.wrong(join_key(path, tag_field), _hidden(kind, sentence))
    return {**_tidied_struct(value, kinds[kind], path, where), tag_field: str(kind)}


def join_key(path: str, key: str) -> str:
    """The dotted path of a key below `path`."""
    return f"{path}.{key}" if path else key


def type_name(value: Any) -> str:
    """What TOML calls the kind of a value, where it is not its Python name."""
    return {"dict": "a table", "list": "an array"}.get(type(value).__name__, type(value).__name__)


def nearest(word: str, known: list[str]) -> str:
    """The end of a message about a word that is not known: the one that was meant, or those that there are."""
    import difflib  # only for a message

    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if not near:
        near = [k for k in known if k.rpartition("/")[2].lower() == word.lower()][:1]
    if near:
        return f"did you mean {near[0]}?"
    shown = ", ".join(known[:20])
    return f"there are: {shown}" if known else "there are none"
