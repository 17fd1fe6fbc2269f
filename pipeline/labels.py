"""Labels of cases whose cause is known: a CSV file, or a team's closed tickets through the codes they were closed with.

    id, fault_class                                                        needed
    fault_subclass, alternates, kind, channel, language, family, evidence  optional

`alternates` and `evidence` are lists, parted by `;`. Instead of `fault_class` a row may have a `resolution_code`, which a
map turns into a class. The map is TOML, `[codes]` with `"CODE" = "class/subclass"` or `"CODE" = ["class", "alternate"]`, or
a CSV with `resolution_code` and the columns above. An empty class leaves the ticket out.
"""

from __future__ import annotations

import csv
import difflib
import io
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from pipeline.errors import UsageError
from pipeline.faults import taxonomy
from pipeline.scores import KINDS, NO_FAULT, Kind, Label
from snapshots.model import Text

_UNKNOWN = "unknown"


@dataclass(frozen=True)
class Labels:
    """The labels in order of ids, what was assumed about them, and code -> tickets left out for it."""

    labels: tuple[Label, ...]
    assumed: tuple[Text, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Meaning:
    """What a resolution code stands for. An empty class: such tickets are left out."""

    fault_class: str
    fault_subclass: str = ""
    alternates: tuple[str, ...] = ()
    kind: str = ""


def read_labels(path: Path, codes: Path | None = None, evidence: Path | None = None) -> Labels:
    """The labels in `path`. `codes` maps resolution codes; `evidence` holds `<id>/label.json` with citable document ids.

    Raises `UsageError`, which names the file, the line and what would be right.
    """
    columns, rows = _csv(path)
    if "id" not in columns:
        raise UsageError(f"{path}: has no column id; it has {_list(columns)}")
    if "fault_class" not in columns and not (codes and "resolution_code" in columns):
        hint = "; turn resolution codes into classes with --map FILE" if "resolution_code" in columns else ""
        raise UsageError(f"{path}: has no column fault_class; it has {_list(columns)}{hint}")
    meanings = read_codes(codes) if codes else {}
    labels: dict[str, Label] = {}
    left_out: Counter[str] = Counter()
    for number, row in rows:
        where = f"{path}, line {number}"
        meaning = _meaning(row, meanings)
        if meaning is None or not meaning.fault_class:
            if not row.get("resolution_code"):
                raise UsageError(f"{where}: fault_class is empty")
            left_out[row["resolution_code"]] += 1
            continue
        label = _label(row, meaning, where)
        if label.id in labels:
            raise UsageError(f"{where}: {label.id!r} is labelled twice")
        labels[label.id] = _with_evidence(label, evidence)
    if not labels:
        raise UsageError(f"{path}: labels no case" + (f"; left out: {_list(sorted(left_out))}" if left_out else ""))
    return Labels(
        labels=tuple(labels[name] for name in sorted(labels)),
        assumed=tuple(_assumed(columns, labels.values())),
        left_out=dict(sorted(left_out.items())),
    )


def read_codes(path: Path) -> Mapping[str, Meaning]:
    """Resolution code, as `same_code` writes it, -> what it stands for. Raises `UsageError`."""
    if path.suffix.lower() == ".toml":
        found = _toml_codes(path)
    else:
        columns, rows = _csv(path)
        if not {"resolution_code", "fault_class"} <= set(columns):
            raise UsageError(f"{path}: needs the columns resolution_code and fault_class; it has {_list(columns)}")
        found = [(f"{path}, line {number}", row["resolution_code"], _stated(row)) for number, row in rows]
    meanings: dict[str, Meaning] = {}
    for where, code, meaning in found:
        if meaning.fault_class:
            _check(meaning, where)
        if meanings.setdefault(same_code(code), meaning) != meaning:
            raise UsageError(f"{where}: the code {code!r} stands there twice, with two meanings")
    return meanings


def same_code(code: str) -> str:
    """A resolution code as it is compared: capitals and the amount of space do not matter.

    >>> same_code(" Fixed -  Channel ")
    'fixed - channel'
    """
    return " ".join(code.split()).casefold()


# ---- rows


def _csv(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The column names and, with their line numbers, the rows that are not empty."""
    # What spreadsheets write begins with a byte order mark.
    reader = csv.DictReader(io.StringIO(_text(path)))
    try:
        columns = [(name or "").strip() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        rows = []
        for row in reader:
            if None in row:
                raise UsageError(f"{path}, line {reader.line_num}: has more values than the {len(columns)} columns")
            values = {key: (value or "").strip() for key, value in row.items()}
            if any(values.values()):
                rows.append((reader.line_num, values))
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num}: is no CSV: {error}") from error
    return columns, rows


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not UTF-8; save it as CSV UTF-8") from error


def _toml_codes(path: Path) -> list[tuple[str, str, Meaning]]:
    try:
        table = tomllib.loads(_text(path)).get("codes")
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: is no TOML: {error}") from error
    if not isinstance(table, dict):
        raise UsageError(f'{path}: has no table [codes] with lines such as "CODE" = "param_config/missing_param"')
    return [(str(path), code, _toml_meaning(value, f"{path}: {code}")) for code, value in table.items()]


def _toml_meaning(value: Any, where: str) -> Meaning:
    named = [value] if isinstance(value, str) else value
    if not isinstance(named, list) or not named or not all(isinstance(one, str) for one in named):
        raise UsageError(f'{where}: is to be "class", "class/subclass", or a list of these with the best first')
    fault_class, _, subclass = named[0].strip().partition("/")
    return Meaning(fault_class, subclass, tuple(one.strip() for one in named[1:]))


def _stated(row: Mapping[str, str]) -> Meaning:
    return Meaning(
        fault_class=row.get("fault_class", ""),
        fault_subclass=row.get("fault_subclass", ""),
        alternates=_parted(row.get("alternates", "")),
        kind=row.get("kind", ""),
    )


def _meaning(row: Mapping[str, str], meanings: Mapping[str, Meaning]) -> Meaning | None:
    """What the row says itself, or else its resolution code."""
    own = _stated(row)
    if own.fault_class:
        return own
    known = meanings.get(same_code(row.get("resolution_code", "")))
    if known is None:
        return None
    return Meaning(known.fault_class, known.fault_subclass, own.alternates or known.alternates, own.kind or known.kind)


def _label(row: Mapping[str, str], meaning: Meaning, where: str) -> Label:
    if not row["id"]:
        raise UsageError(f"{where}: id is empty")
    _check(meaning, where)
    return Label(
        id=row["id"],
        fault_class=meaning.fault_class,
        fault_subclass=meaning.fault_subclass,
        alternates=meaning.alternates,
        kind=_kind(meaning, where),
        channel=row.get("channel", ""),
        language=row.get("language", ""),
        family=row.get("family", ""),
        evidence=frozenset(_parted(row.get("evidence", ""))),
    )


def _kind(meaning: Meaning, where: str) -> Kind:
    if meaning.kind:
        for kind in KINDS:
            if meaning.kind == kind:
                return kind
        raise UsageError(f"{where}: kind {meaning.kind!r} is none of {', '.join(KINDS)}")
    if meaning.fault_class == _UNKNOWN:
        return "insufficient"
    # A payment that is pending may be the fault that was complained about.
    return "control" if meaning.fault_class in NO_FAULT - {"pending"} else "real"


def _parted(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(";") if part.strip())


@cache
def _subclasses() -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for name, subclass in taxonomy():
        found.setdefault(name, set()).add(subclass)
    return {name: frozenset(subclasses) for name, subclasses in found.items()}


def _check(meaning: Meaning, where: str) -> None:
    """Whether the names are those of the taxonomy: one that is misspelt would count every answer wrong."""
    own = f"{meaning.fault_class}/{meaning.fault_subclass}" if meaning.fault_subclass else meaning.fault_class
    for name in (own, *meaning.alternates):
        fault_class, _, subclass = name.partition("/")
        known = _subclasses().get(fault_class)
        if known is None and fault_class not in NO_FAULT:
            raise UsageError(f"{where}: there is no fault class {fault_class!r}{_near(fault_class, _subclasses())}")
        if subclass and subclass not in (known or ()):
            raise UsageError(f"{where}: {fault_class} has no subclass {subclass!r}{_near(subclass, known or ())}")


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.5)
    if near:
        return f"; did you mean {', '.join(near)}?"
    return f"; there are {_list(sorted(known))}" if known else ""


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(name or "(empty)" for name in names[:24])
    return shown + (f" and {len(names) - 24} more" if len(names) > 24 else "") if names else "none"


# ---- what lies beside


def _with_evidence(label: Label, folder: Path | None) -> Label:
    # An id is a name here, never a way out of the folder.
    if folder is None or Path(label.id).name != label.id:
        return label
    path = folder / label.id / "label.json"
    if not path.is_file():
        return label
    try:
        found = msgspec.json.decode(path.read_bytes(), type=dict[str, Any]).get("evidence") or []
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error
    return replace(label, evidence=frozenset(map(str, found))) if found else label


def _assumed(columns: Sequence[str], labels: Iterable[Label]) -> Iterable[Text]:
    """A sentence for each column whose absence means something."""
    if "kind" not in columns:
        yield Text(
            en="kind is not given: real; control where the class says that nothing is wrong, insufficient where it is unknown",
            zh="未给出 kind：按 real 处理；类别表示无故障时按 control，类别为 unknown 时按 insufficient",
        )
    if "family" not in columns:
        yield Text(
            en="family is not given: each case counts as independent of the others, so intervals may be too narrow",
            zh="未给出 family：各案例视为相互独立，区间可能偏窄",
        )
    if "alternates" not in columns:
        yield Text(
            en="alternates are not given, unless by the map: only the labelled class is counted right",
            zh="未给出 alternates（映射表中的除外）：仅标注类别算正确",
        )
    if "language" not in columns:
        yield Text(en="language is not given: the ticket's own", zh="未给出 language：取工单自身的语言")
    if "channel" not in columns:
        yield Text(en="channel is not given: the one that the snapshot found", zh="未给出 channel：取快照得出的渠道")
    if not any(label.evidence for label in labels):
        yield Text(
            en="no label names evidence: evidence_hit is not measured",
            zh="标注中没有证据：不计算 evidence_hit",
        )
