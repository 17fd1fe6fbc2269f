"""What some index patterns stand for: which fields are there, of which type, and the date that bounds a window."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from parsers.mapping import FieldMapping
from pipeline.errors import SourceBroken, SourceUnavailable
from pipeline.sources.elasticsearch.calls import Calls, OutOfTimeError, RemoteGoneError
from pipeline.sources.elasticsearch.causes import root_cause
from pipeline.values import What

EXACT = frozenset({"keyword", "constant_keyword", "flattened", "wildcard"})

TEXT = frozenset({"text", "match_only_text"})

NUMBER = frozenset({"long", "integer", "short", "unsigned_long", "byte"})

DATE = frozenset({"date", "date_nanos"})

# The share of the time that is left for which the fields of a remote cluster are waited for.
_REMOTE = 0.25

_NONE: frozenset[str] = frozenset()

# What stands for the type of a field where it is mapped and not indexed.
HIDDEN = "not indexed"

# Whose values can be counted, and told as words.
COUNTED = frozenset({"keyword", "constant_keyword"})

_ID_FIELDS = {
    "order": ("labels.order_id", "order.id", "order_id", "orderId", "out_trade_no", "attributes.order.id",
              "attributes.order_id", "fields.order_id"),
    "trace": ("trace.id", "trace_id", "traceId", "traceid", "tid", "attributes.trace_id", "fields.trace_id"),
    "customer": ("user.id", "user_id", "userId", "customer.id", "customer_id", "labels.customer_id", "labels.user_id",
                 "attributes.user.id", "attributes.enduser.id", "fields.user_id"),
}  # fmt: skip


@dataclass(frozen=True)
class Home:
    """Where a field has one type: in these indices, in `uncounted` of which its values cannot be aggregated."""

    indices: frozenset[str] = frozenset()
    uncounted: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Target:
    """The indices behind some patterns: their fields' types, and the date field that bounds the window.

    `patterns` are those that can be asked. `time` is None where there is no document at all. `homes` tells of each field,
    by type, the indices where it has it. `barred` are indices where the time is no date: asked, their shards would fail.
    `notes` are for the ledger; `problems` name rows that cannot be asked for, which makes an answer partial.
    """

    patterns: tuple[str, ...]
    indices: int
    types: Mapping[str, frozenset[str]]
    time: str | None
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    barred: tuple[str, ...] = ()
    homes: Mapping[str, Mapping[str, Home]] = field(default_factory=dict)
    names: frozenset[str] = frozenset()

    def beyond(self, names: Iterable[str], types: frozenset[str]) -> list[str]:
        """The indices, of those that are asked, in which none of `names` can be asked for as one of `types`."""
        reached = set(self.barred)
        for name in names:
            parents = _parents(name) if "flattened" in types else []
            for one, kinds in ((name, types), *((parent, frozenset({"flattened"})) for parent in parents)):
                for kind, home in self.homes.get(one, {}).items():
                    if kind in kinds:
                        reached |= home.indices
        return sorted(self.names - reached)

    def of(self, names: Iterable[str], types: frozenset[str]) -> list[str]:
        """Those of `names` that are mapped to one of `types` somewhere, or lie inside a flattened object."""
        found = []
        for name in dict.fromkeys(names):
            mapped = self.types.get(name, frozenset())
            if mapped & types or (not mapped and "flattened" in types and self._inside_flattened(name)):
                found.append(name)
        return found

    def elsewhere(self, name: str, types: frozenset[str]) -> list[str]:
        """The indices where `name` is mapped to something else than `types`."""
        kinds = self.homes.get(name, {})
        return sorted({index for kind, home in kinds.items() if kind not in types for index in home.indices})

    def uncountable(self, name: str) -> list[str]:
        """The indices where `name` is mapped and its values cannot be counted as words."""
        kinds = self.homes.get(name, {})
        bad = (home.uncounted if kind in COUNTED else home.indices for kind, home in kinds.items())
        return sorted({index for indices in bad for index in indices})

    def counted_in(self, name: str) -> frozenset[str]:
        """The indices where the values of `name` can be counted as words."""
        kinds = self.homes.get(name, {})
        good = (home.indices - home.uncounted for kind, home in kinds.items() if kind in COUNTED)
        return frozenset(index for indices in good for index in indices)

    def asked(self, name: str, types: frozenset[str], query: dict[str, Any]) -> dict[str, Any]:
        """`query` about `name`, which has to be one of `types`, kept from indices where the field is something else.

        A number asked for by a word fails the whole shard, and its other rows with it. Where the name lies in a nested
        object, the question goes there.
        """
        path = next((parent for parent in _parents(name) if "nested" in self.types.get(parent, ())), None)
        if path:
            query = {"nested": {"path": path, "query": query, "ignore_unmapped": True}}
        others = self.elsewhere(name, types)
        return {"bool": {"filter": [query], "must_not": [{"terms": {"_index": others}}]}} if others else query

    def _inside_flattened(self, name: str) -> bool:
        return any("flattened" in self.types.get(parent, ()) for parent in _parents(name))


@dataclass
class _Met:
    """What the patterns of one target have told so far."""

    patterns: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    indices: set[str] = field(default_factory=set)
    homes: defaultdict[str, dict[str, Home]] = field(default_factory=lambda: defaultdict(dict))
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, name: str, kind: str, indices: frozenset[str], facts: Mapping[str, Any]) -> None:
        """A field's type in some indices, in some of which it may be neither searched nor counted."""
        # An object is nothing that can be asked for, but a nested one is a place where to ask.
        hidden = _excepted(facts, "searchable", indices) if kind != "nested" else frozenset()
        uncounted = _excepted(facts, "aggregatable", indices)
        for as_what, places in ((kind, indices - hidden), (HIDDEN, hidden)):
            if places:
                before = self.homes[name].get(as_what, Home())
                self.homes[name][as_what] = Home(before.indices | places, before.uncounted | (uncounted & places))

    def types(self) -> dict[str, frozenset[str]]:
        """The types by which each field can be asked for."""
        return {name: frozenset(kinds) - {HIDDEN} for name, kinds in self.homes.items()}


def _excepted(facts: Mapping[str, Any], what: str, indices: frozenset[str]) -> frozenset[str]:
    """The indices of a type in which it is not `what`: none, those that are named, or all."""
    if facts.get(what, True):
        return frozenset()
    return frozenset(facts.get(f"non_{what}_indices") or indices)


class Finder:
    """Asks a cluster what patterns stand for there."""

    def __init__(self, calls: Calls, mapping: FieldMapping, time_field: str | None) -> None:
        self.calls = calls
        self.mapping = mapping
        self.time_field = time_field

    def look_up(self, what: What, patterns: tuple[str, ...]) -> Target:
        """What `patterns` stand for.

        A remote cluster that is away costs its own pattern. Raises `SourceBroken` where nothing is there, or nothing that
        has a time, `SourceUnavailable` where no pattern can be asked.
        """
        met = _Met()
        names = sorted(wanted_fields(self.mapping, self.time_field))
        for pattern in patterns:
            self._meet(pattern, names, met)
        where = self.calls.connection.where()
        if not met.indices and met.problems:
            raise SourceUnavailable(f"{where}: {'; '.join([*met.problems, *met.notes])}")
        if not met.indices:
            raise SourceBroken(
                f"{where}: no index, alias or data stream matches {', '.join(patterns)}; "
                f"correct `{'logs' if what == 'logs' else 'traces'}` or give the account the right to read it"
            )
        types = met.types()
        dated = next(
            (name for name in time_fields(self.mapping, self.time_field) if types.get(name, _NONE) & DATE), None
        )
        kinds = met.homes[dated] if dated else {}
        placed = {index for kind, home in kinds.items() if kind in DATE for index in home.indices}
        wrong = {index for kind, home in kinds.items() if kind not in DATE for index in home.indices}
        lacking = sorted(met.indices - placed)
        lost = self._rows_in(lacking) if lacking else 0
        if dated is None and lost:
            raise SourceBroken(self._no_time_field(lacking, types))
        if dated is None:
            met.notes.append(f"{', '.join(met.patterns)}: no document yet")
        elif lost:
            shown = listed(lacking)
            rows = counted(lost, "document", "documents")
            met.problems.append(
                f"{rows} of {shown} cannot be found by time: {dated!r} is not a date there; "
                "a source of their own with its time_field reads them"
            )
        return Target(
            patterns=(*met.patterns, *dict.fromkeys(met.left_out)),
            indices=len(met.indices),
            types=types,
            time=dated,
            notes=tuple(met.notes),
            problems=tuple(met.problems),
            barred=tuple(sorted(wrong - placed)),
            homes={name: dict(homes) for name, homes in met.homes.items()},
            names=frozenset(met.indices),
        )

    def _meet(self, pattern: str, names: Sequence[str], met: _Met) -> None:
        """Adds what one pattern stands for."""
        # A remote cluster that neither answers nor refuses must not take the time of the others.
        within = _REMOTE * self.calls.left() if cluster_of(pattern) else None
        try:
            caps = self.calls.ask(
                lambda client: client.field_caps(
                    index=pattern, fields=names, include_unmapped=True, ignore_unavailable=True
                ),
                within,
            )
        except RemoteGoneError as error:
            met.problems.append(f"{pattern}: {error.reason}")
            return
        except OutOfTimeError:
            if within is None or not self.calls.left():
                raise
            met.problems.append(f"{pattern}: the remote cluster did not answer in time ({within:.1f} s)")
            return
        away = {}
        for failure in caps.get("failures", ()):
            _, reason = root_cause(failure.get("failure"))
            for cluster in map(cluster_of, failure.get("indices", ())):
                if cluster:
                    away[cluster] = f"the remote cluster {cluster!r} is away: {self.calls.connection.clean(reason)}"
        met.problems += [f"{pattern}: {away[cluster]}" for cluster in sorted(away)]
        met.patterns.append(pattern)
        # Others answer for the pattern, too: one that may not be skipped would fail them all.
        met.left_out += [f"-{cluster}:*" for cluster in sorted(away)]
        here = [caps["indices"]] if isinstance(caps["indices"], str) else caps["indices"]
        if not here and not away:
            met.notes.append(f"no index matches {pattern}")
        met.indices.update(here)
        for name, kinds in caps["fields"].items():
            for kind, facts in kinds.items():
                if kind != "unmapped":
                    met.add(name, kind, frozenset(facts.get("indices") or here), facts)

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


def wanted_fields(mapping: FieldMapping, time_field: str | None) -> set[str]:
    """Every field whose type matters for what can be asked, and the objects that hold one."""
    names = {
        *time_fields(mapping, time_field),
        *message_fields(mapping),
        *whole_words(mapping.log_level),
        *whole_words(mapping.service_name),
        *status_fields(mapping),
        *("status.code", "event.outcome", "error.type"),
        *(name for fields in id_fields(mapping).values() for name in fields),
    }
    return names | {parent for name in names for parent in _parents(name)}


def whole_words(names: Iterable[str]) -> list[str]:
    """Each name, and the exact copy of a text that Elasticsearch keeps where nobody told it the type of a string.

    https://www.elastic.co/docs/manage-data/data-store/mapping/dynamic-field-mapping
    """
    return [spelled for name in names for spelled in (name, f"{name}.keyword")]


def status_fields(mapping: FieldMapping) -> list[str]:
    """Where the status of an HTTP answer is, of which 500 and more tell of a failure."""
    return [name for name in mapping.http_status_code if "http" in name.lower()]


def cluster_of(pattern: str) -> str | None:
    """The remote cluster that an index name or pattern speaks of, None for the own one.

    >>> cluster_of("other:logs-*"), cluster_of("logs-*"), cluster_of("logs-app::failures")
    ('other', None, None)
    """
    cluster, colon, rest = pattern.partition(":")
    return cluster if colon and not rest.startswith(":") else None


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


def listed(names: Sequence[str]) -> str:
    """Names in words, three at most."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


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
