"""Logs and spans out of one Elasticsearch cluster: the class that the flow asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec
import pyarrow as pa

from parsers.columns import read_columns
from parsers.tables import LOGS, SPANS, empty
from pipeline.errors import SourceBroken, SourceError, SourceRefused, SourceUnavailable
from pipeline.sources.elasticsearch.answer import between, window_of
from pipeline.sources.elasticsearch.calls import Calls, Connection, RemoteGoneError
from pipeline.sources.elasticsearch.esql import answers_in_arrow
from pipeline.sources.elasticsearch.fields import Fields, look
from pipeline.sources.elasticsearch.options import LARGEST_PAGE, Options
from pipeline.sources.elasticsearch.reading import Reading
from pipeline.sources.elasticsearch.targets import (
    DATE,
    EXACT,
    NUMBER,
    TEXT,
    Finder,
    Target,
    cluster_of,
    counted,
    id_fields,
    message_fields,
    slices,
)
from pipeline.values import Ask, Fetched, Pointer, What
from snapshots.model import Coverage, FetchPlan, Status, canonical_json

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

_TARGET_SECONDS = 60.0
_MGET = 500
# Names of indices go into the address, which a node limits to 4 KiB.
_FAR = 30


class ElasticsearchSource:
    """One cluster, asked for logs, spans, or both. Safe to be asked from several threads."""

    kind = "elasticsearch"

    def __init__(self, name: str, options: Options) -> None:
        """Nothing is opened until the first question."""
        self.name = name
        self.options = options
        held: dict[What, tuple[str, ...]] = {"logs": options.logs, "spans": options.traces}
        self.mapping = options.field_mapping()
        self._patterns = {what: patterns for what, patterns in held.items() if patterns}
        self.holds: frozenset[What] = frozenset(self._patterns)
        self._lock = threading.Lock()
        self.connection = Connection(name, options)
        self._targets: dict[tuple[str, ...], tuple[float, Target]] = {}

    def __repr__(self) -> str:
        """The name and the options without their secrets."""
        return f"ElasticsearchSource({self.name!r}, {self.options!r})"

    # ---- the four questions

    def fetch(self, ask: Ask) -> Fetched:
        """The rows of the window, all of them where `ask.limit` allows, else the telling ones first.

        The table is sorted by time, then index and id. Its ledger row holds `fetched == used + duplicates + outside` and
        `matched == fetched - duplicates + cut`. When the deadline passes while pages are read, what was read is given
        back as `partial`. Raises `SourceRefused`, `SourceUnavailable` or `SourceBroken` when nothing could be read.
        """
        patterns = self._patterns.get(ask.what)
        if not patterns:
            return self._nothing(ask, "skipped", f"no index pattern for {ask.what} is configured")
        calls = Calls(self.connection, ask.deadline)
        target = self._target(calls, ask.what, patterns)
        if target.time is None:
            return self._nothing(
                ask, "partial" if target.problems else "empty", *target.notes, problems=target.problems
            )
        try:
            return Reading(self, calls, target, ask).run()
        except RemoteGoneError:
            # It went away since it was looked up. Without it, before nothing is read at all.
            with self._lock:
                self._targets.pop(patterns, None)
            return Reading(self, calls, self._target(calls, ask.what, patterns), ask).run()

    def columns(self, ask: Ask, fields: Sequence[str]) -> pa.Table:
        """`_index`, `_id` and `fields` of all rows of the window, as the documents hold them, as text and in no order.

        For counting over many rows, where nothing of the message has to be taken apart. Raises `SourceError` where one row
        could not be had.
        """
        patterns = self._patterns.get(ask.what, ())
        calls = Calls(self.connection, ask.deadline)
        target = self._target(calls, ask.what, patterns) if patterns else None
        if target is None or target.time is None:
            return read_columns(b"", fields, 0)
        return Reading(self, calls, target, ask).columns(fields)

    def explain(self, ask: Ask) -> tuple[FetchPlan | None, str, tuple[str, ...]]:
        """What `fetch` would read, from one request that counts; nothing is read. Raises as `fetch`."""
        patterns = self._patterns.get(ask.what)
        if not patterns:
            return None, f"nothing: no index pattern for {ask.what} is configured", ()
        calls = Calls(self.connection, ask.deadline)
        target = self._target(calls, ask.what, patterns)
        if target.time is None:
            return None, "nothing", (*target.problems, *target.notes)
        try:
            return Reading(self, calls, target, ask).explain()
        except RemoteGoneError:
            with self._lock:
                self._targets.pop(patterns, None)
            return Reading(self, calls, self._target(calls, ask.what, patterns), ask).explain()

    def resolve(self, pointers: Iterable[Pointer]) -> dict[Pointer, bytes | None]:
        """The canonical JSON of each document's whole `_source`, or None where it is gone."""
        wanted = list(dict.fromkeys(pointers))
        answer: dict[Pointer, bytes | None] = dict.fromkeys(wanted)
        calls = Calls(self.connection, time.monotonic() + self.options.timeout)
        # A document of another cluster can be searched for, and not be got.
        near = [p for p in wanted if p.doc_id and p.index and not cluster_of(p.index)]
        for some in slices(near, _MGET):
            docs = [{"_index": p.index, "_id": p.doc_id} for p in some]
            body = calls.ask(lambda client, docs=docs: client.mget(docs=docs), holds="docs")  # type: ignore[misc]
            for pointer, doc in zip(some, body["docs"], strict=True):
                if doc.get("found"):
                    answer[pointer] = canonical_json(doc["_source"])
        far: dict[str, list[Pointer]] = {}
        for pointer in wanted:
            cluster = cluster_of(pointer.index or "")
            if pointer.doc_id and cluster:
                far.setdefault(cluster, []).append(pointer)
        for _, pointers_there in sorted(far.items()):
            for some in slices(pointers_there, _FAR):
                names = sorted({str(p.index) for p in some})
                self._found(calls, names, some, answer)
        # A document that was routed, or whose index is not known, is found by a search for its id only.
        kinds: tuple[tuple[str, What], ...] = (("log", "logs"), ("span", "spans"))
        for kind, what in kinds:
            left = [
                p for p in wanted if p.doc_id and answer[p] is None and p.kind == kind and not cluster_of(p.index or "")
            ]
            patterns = self._patterns.get(what)
            if left and patterns:
                reachable = self._target(calls, what, patterns).patterns
                for some in slices(left, _MGET):
                    self._found(calls, reachable, some, answer)
        return answer

    @staticmethod
    def _found(
        calls: Calls, names: Sequence[str], pointers: Sequence[Pointer], answer: dict[Pointer, bytes | None]
    ) -> None:
        """Searches the indices `names` for the ids of `pointers`; one id may be in several indices."""
        by_place = {(p.index, p.doc_id): p for p in pointers}
        ids = sorted({str(p.doc_id) for p in pointers})
        found = calls.ask(
            lambda client: client.search(
                index=",".join(names), query={"ids": {"values": ids}}, size=LARGEST_PAGE, ignore_unavailable=True
            ),
            holds="hits",
        )
        for raw in found["hits"]["hits"]:
            hit = msgspec.json.decode(raw)
            pointer = by_place.get((hit["_index"], hit["_id"])) or by_place.get((None, hit["_id"]))
            if pointer is not None:
                answer[pointer] = canonical_json(hit["_source"])

    def probe(self) -> list[str]:
        """Version and cluster; for each pattern its documents, the newest record and the fields it can be asked by."""
        calls = Calls(self.connection, time.monotonic() + self.options.timeout)
        lines = []
        try:
            info = calls.ask(lambda client: client.info())
            lines.append(f"Elasticsearch {info['version']['number']}, cluster {info['cluster_name']}")
        except SourceRefused:
            # Reading rows needs no right to see the cluster; whether we may read shows below.
            lines.append("version not told: the account lacks the cluster privilege `monitor`")
        if self.options.esql == "auto":
            told = {True: "yes", False: "no, rows are read by search", None: "not told, rows are read by search"}
            lines.append(f"ES|QL that answers in Arrow: {told[answers_in_arrow(calls)]}")
        for what, patterns in self._patterns.items():
            for pattern in patterns:
                try:
                    lines += self._probe_pattern(calls, what, pattern)
                except SourceUnavailable as error:
                    # A remote cluster that is away; whether all of them are is told by the others.
                    if cluster_of(pattern) is None:
                        raise
                    lines.append(self.clean(str(error)))
        return lines

    def _probe_pattern(self, calls: Calls, what: What, pattern: str) -> list[str]:
        target = self._target(calls, what, (pattern,))
        if target.time is None:
            return [
                f"{pattern}: {counted(target.indices, 'index', 'indices')}, no documents",
                *target.notes,
                *target.problems,
            ]
        latest = {"newest": {"max": {"field": target.time, "format": "strict_date_optional_time"}}}
        found = calls.ask(
            lambda client: client.search(
                index=",".join(target.patterns),
                size=0,
                track_total_hits=True,
                aggregations=latest,
                ignore_unavailable=True,
            )
        )
        newest = found["aggregations"]["newest"].get("value_as_string", "unknown")
        rows = counted(found["hits"]["total"]["value"], "document", "documents")
        lines = [f"{pattern}: {counted(target.indices, 'index', 'indices')}, {rows}, newest {newest}"]
        groups = {"time": [target.time], **id_fields(self.mapping)}
        groups["text"] = message_fields(self.mapping) if what == "logs" else []
        for group, names in groups.items():
            known = [
                f"{name} ({'/'.join(sorted(target.types.get(name, ('flattened',))))})"
                for name in target.of(names, EXACT | TEXT | NUMBER | DATE)
            ]
            if known:
                lines.append(f"  {group}: {', '.join(known)}")
            elif names:
                more = f" and {len(names) - 5} more" if len(names) > 5 else ""
                lines.append(f"  {group}: not mapped; looked for {', '.join(names[:5])}{more}")
        return [*lines, *(f"  {note}" for note in (*target.notes, *target.problems))]

    def fields(self, seconds: float) -> Iterator[Fields | SourceError]:
        """For each pattern what its columns are read from, or why that is not known; `seconds` for each."""
        for what, patterns in self._patterns.items():
            for pattern in patterns:
                try:
                    yield look(Calls(self.connection, time.monotonic() + seconds), self.options, what, pattern)
                except SourceError as error:
                    yield error

    def close(self) -> None:
        """Gives back the connections."""
        self.connection.close()

    # ---- what the questions need

    def client(self) -> Elasticsearch:
        """The official client, made on first use."""
        return self.connection.client()

    def clean(self, text: str) -> str:
        """`text` without any of our secrets."""
        return self.connection.clean(text)

    def where(self) -> str:
        """How messages name this source."""
        return self.connection.where()

    def zone(self) -> ZoneInfo | None:
        """The zone of times without one."""
        return ZoneInfo(self.options.zone) if self.options.zone else None

    def _target(self, calls: Calls, what: What, patterns: tuple[str, ...]) -> Target:
        """What the patterns stand for; kept a minute, as indices roll over while a service runs."""
        with self._lock:
            known = self._targets.get(patterns)
        if known and time.monotonic() - known[0] < _TARGET_SECONDS:
            return known[1]
        try:
            target = Finder(calls, self.mapping, self.options.time_field).look_up(what, patterns)
        except KeyError as error:
            message = f"{self.where()} answered JSON without {error}: that is not Elasticsearch; check the address"
            raise SourceBroken(message) from error
        if not target.problems:
            # Whoever is away now may be back for the next question.
            with self._lock:
                self._targets[patterns] = (time.monotonic(), target)
        return target

    def _nothing(self, ask: Ask, status: Status, *notes: str, problems: Sequence[str] = ()) -> Fetched:
        schema = LOGS if ask.what == "logs" else SPANS
        asked = f"{', '.join(self._patterns.get(ask.what, ('nothing',)))} {between(ask.window)}"
        coverage = Coverage(
            source=self.name,
            kind=self.kind,
            what=ask.what,
            status=status,
            asked=asked,
            window=window_of(ask.window),
            matched=None if status == "skipped" else 0,
            error="; ".join(problems) or None,
            notes=list(notes),
        )
        return Fetched(empty(schema), coverage, complete=status == "empty")
