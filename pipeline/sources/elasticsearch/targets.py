"""What some index patterns stand for: which fields are there, of which type, and the date that bounds a window."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parsers.mapping import FieldMapping
from pipeline.errors import SourceBroken
from pipeline.sources.elasticsearch.calls import Calls
from pipeline.values import What

EXACT = frozenset({"keyword", "constant_keyword", "flattened", "wildcard"})

TEXT = frozenset({"text", "match_only_text"})

NUMBER = frozenset({"long", "integer", "short", "unsigned_long", "byte"})

DATE = frozenset({"date", "date_nanos"})

_ID_FIELDS = {
    "order": ("labels.order_id", "order.id", "order_id", "orderId", "out_trade_no", "attributes.order.id",
              "attributes.order_id", "fields.order_id"),
    "trace": ("trace.id", "trace_id", "traceId", "traceid", "tid", "attributes.trace_id", "fields.trace_id"),
    "customer": ("user.id", "user_id", "userId", "customer.id", "customer_id", "labels.customer_id", "labels.user_id",
                 "attributes.user.id", "attributes.enduser.id", "fields.user_id"),
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """The indices behind some patterns: their fields' types, and the date field that bounds the window.

    `time` is None where there is no document at all. `notes` are for the ledger; with `partly` they name rows that
    cannot be asked for.
    """

    patterns: tuple[str, ...]
    indices: int
    types: Mapping[str, frozenset[str]]
    time: str | None
    notes: tuple[str, ...] = ()
    partly: bool = False

    def of(self, names: Iterable[str], types: frozenset[str]) -> list[str]:
        """Those of `names` that are mapped to one of `types` somewhere, or lie inside a flattened object."""
        found = []
        for name in dict.fromkeys(names):
            mapped = self.types.get(name, frozenset())
            if mapped & types or (not mapped and "flattened" in types and self._inside_flattened(name)):
                found.append(name)
        return found

    def _inside_flattened(self, name: str) -> bool:
        return any("flattened" in self.types.get(parent, ()) for parent in _parents(name))


class Finder:
    """Asks a cluster what patterns stand for there."""

    def __init__(self, calls: Calls, mapping: FieldMapping, time_field: str | None) -> None:
        self.calls = calls
        self.mapping = mapping
        self.time_field = time_field

    def look_up(self, what: What, patterns: tuple[str, ...]) -> Target:
        """What `patterns` stand for. Raises `SourceBroken` where nothing is there, or nothing that has a time."""
        names = {
            *time_fields(self.mapping, self.time_field),
            *message_fields(self.mapping),
            *self.mapping.log_level,
            *self.mapping.service_name,
            "status.code",
        }
        names |= {"http.response.status_code", "event.outcome", "error.type"}
        names |= {name for fields in id_fields(self.mapping).values() for name in fields}
        names |= {parent for name in names for parent in _parents(name)}
        types: defaultdict[str, set[str]] = defaultdict(set)
        places: defaultdict[str, set[str]] = defaultdict(set)
        indices: set[str] = set()
        notes = []
        for pattern in patterns:
            caps = self.calls.ask(
                lambda client, pattern=pattern: client.field_caps(  # type: ignore[misc]
                    index=pattern, fields=sorted(names), include_unmapped=True, ignore_unavailable=True
                )
            )
            here = [caps["indices"]] if isinstance(caps["indices"], str) else caps["indices"]
            if not here:
                notes.append(f"no index matches {pattern}")
            indices.update(here)
            for name, kinds in caps["fields"].items():
                for kind, facts in kinds.items():
                    if kind != "unmapped" and facts.get("searchable", True):
                        types[name].add(kind)
                        if kind in DATE:
                            places[name].update(facts.get("indices") or here)
        if not indices:
            listed = ", ".join(patterns)
            raise SourceBroken(
                f"{self.calls.connection.where()}: no index, alias or data stream matches {listed}; "
                f"correct `{'logs' if what == 'logs' else 'traces'}` or give the account the right to read it"
            )
        frozen = {name: frozenset(kinds) for name, kinds in types.items()}
        dated = next((name for name in time_fields(self.mapping, self.time_field) if places.get(name)), None)
        lacking = sorted(indices - places[dated]) if dated else sorted(indices)
        lost = self._rows_in(lacking) if lacking else 0
        if dated is None:
            if not lost:
                notes.append(f"{', '.join(patterns)}: no document yet")
                return Target(patterns, len(indices), frozen, None, tuple(notes))
            raise SourceBroken(self._no_time_field(lacking, frozen))
        if lost:
            shown = ", ".join(lacking[:3]) + (f" and {len(lacking) - 3} more" if len(lacking) > 3 else "")
            rows = counted(lost, "document", "documents")
            notes.append(f"{rows} of {shown} cannot be found by time: {dated!r} is not a date there")
        return Target(patterns, len(indices), frozen, dated, tuple(notes), partly=bool(lost))

    def _no_time_field(self, indices: Sequence[str], types: Mapping[str, frozenset[str]]) -> str:
        tried = time_fields(self.mapping, self.time_field)
        wrong = [f"{name!r} is {'/'.join(sorted(types[name]))}" for name in tried if types.get(name)]
        dates = self.calls.ask(lambda client: client.field_caps(index=indices[0], fields="*", types=sorted(DATE)))[
            "fields"
        ]
        offers = sorted(name for name, kinds in dates.items() if not any(f["metadata_field"] for f in kinds.values()))
        shown = indices[0] + (f" and {len(indices) - 1} more" if len(indices) > 1 else "")
        fact = "; ".join(wrong) or f"it has no field {' or '.join(repr(name) for name in tried[:3])}"
        advice = f"set time_field to one of its date fields: {', '.join(offers[:5])}" if offers else "map one as a date"
        return f"{self.calls.connection.where()}: index {shown} cannot be asked by time: {fact}; {advice}"

    def _rows_in(self, indices: Sequence[str]) -> int:
        total = 0
        # Names go into the address, which a node limits to 4 KiB.
        for some in slices(list(indices), 30):
            index = ",".join(some)
            body = self.calls.ask(lambda client, index=index: client.count(index=index, ignore_unavailable=True))  # type: ignore[misc]
            total += int(body["count"])
        return total


def id_fields(mapping: FieldMapping) -> dict[str, list[str]]:
    """Where identifiers are looked for: order, trace and customer ids."""
    named = {"order": mapping.order_id, "trace": mapping.trace_id, "customer": mapping.user_id}
    return {group: list(dict.fromkeys((*named[group], *_ID_FIELDS[group]))) for group in _ID_FIELDS}


def message_fields(mapping: FieldMapping) -> list[str]:
    """Where words are looked for."""
    return list(dict.fromkeys((*mapping.message, "error.message")))


def time_fields(mapping: FieldMapping, configured: str | None) -> list[str]:
    """The fields that may bound a window, best first."""
    return [configured] if configured else list(dict.fromkeys(("@timestamp", *mapping.timestamp)))


def slices(items: Sequence[Any], size: int) -> Iterator[Any]:
    """`items` in parts of `size`, the last one shorter."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def counted(number: int, one: str, many: str) -> str:
    """A number with its noun."""
    return f"{number:,} {one if number == 1 else many}"


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]
