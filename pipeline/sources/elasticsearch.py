"""Logs and spans out of Elasticsearch 8 and 9, with the official client.

Reading is a point in time with `search_after`, so that rows which arrive meanwhile change nothing. A page is never made
into a list of dicts: the client's deserialiser cuts it to the raw bytes of its hits, which go to the parsers as
newline-delimited JSON. Where more rows match than are wanted, those tied to the ticket come first, then warnings and
errors, then the rows nearest to the middle of the window; the ledger says how many of each.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import urlsplit, urlunsplit
from zoneinfo import ZoneInfo

import msgspec
import pyarrow as pa

from parsers.mapping import PRESETS, FieldMapping, source_fields, with_overrides
from parsers.tables import LOGS, SPANS, empty
from pipeline.errors import SourceBroken, SourceError, SourceRefused, SourceUnavailable
from pipeline.values import Ask, Fetched, Pointer, Span, What
from snapshots.model import Coverage, Status, Window, canonical_json

if TYPE_CHECKING:
    from elastic_transport import ApiResponse
    from elasticsearch import Elasticsearch

Query = dict[str, Any]

# Raw bytes of hits that are parsed together: large enough for columns, small enough to overlap with the next page.
_BATCH_BYTES = 8 << 20
# A page is kept near this many bytes, whatever its rows weigh.
_PAGE_BYTES = 16 << 20
_FIRST_PAGE = 1_000
# One answer holds no more: beyond, a text column would not fit into Arrow's 32-bit offsets, nor a laptop's memory.
_MOST_BYTES = 1 << 30
# Elasticsearch gives no larger page unless `index.max_result_window` was raised.
_LARGEST_PAGE = 10_000
_KEEP_ALIVE = "2m"
_REOPEN_AT_MOST = 3
_TARGET_SECONDS = 60.0
_BUCKETS = 1_000
# Identifiers that are looked for in text; each costs several clauses, of which a node takes a thousand and more.
_SEARCHED_IN_TEXT = 100
_MGET = 500
_NO_CONTEXT = "search_context_missing_exception"
_EXACT = frozenset({"keyword", "constant_keyword", "flattened", "wildcard"})
_TEXT = frozenset({"text", "match_only_text"})
_NUMBER = frozenset({"long", "integer", "short", "unsigned_long", "byte"})
_DATE = frozenset({"date", "date_nanos"})

# The standard analyser keeps `tid:abc` one word (UAX #29 does not break letters at a colon), so that an identifier
# after such a word is found only together with it.
_CUES = {
    "order": ("id", "no", "sn", "order", "orderid", "order_id", "orderno", "order_no", "ordersn", "order_sn", "tradeno",
              "trade_no", "outtradeno", "out_trade_no", "payid", "pay_id", "paymentid", "payment_id", "payorderid",
              "txn", "txnid", "txn_id", "transactionid", "transaction_id", "refundid", "refund_id"),
    "trace": ("tid", "id", "trace", "traceid", "trace_id", "requestid", "request_id", "rid"),
    "customer": ("id", "uid", "user", "userid", "user_id", "cid", "customer", "customerid", "customer_id", "member",
                 "memberid", "member_id", "buyer", "buyerid", "buyer_id", "account", "accountid", "account_id"),
}  # fmt: skip
_KINDS = {
    "order": ("order_id", "out_trade_no", "channel_txn_id", "refund_id"),
    "trace": ("trace_id",),
    "customer": ("customer_id", "phone"),
}
_FIELDS = {
    "order": ("labels.order_id", "order.id", "order_id", "orderId", "out_trade_no", "attributes.order.id",
              "attributes.order_id", "fields.order_id"),
    "trace": ("trace.id", "trace_id", "traceId", "traceid", "tid", "attributes.trace_id", "fields.trace_id"),
    "customer": ("user.id", "user_id", "userId", "customer.id", "customer_id", "labels.customer_id", "labels.user_id",
                 "attributes.user.id", "attributes.enduser.id", "fields.user_id"),
}  # fmt: skip
_LEVEL_WORDS = ("warn", "warning", "error", "err", "fatal", "critical", "crit", "severe", "alert", "emerg", "emergency",
                "panic", "警告", "错误", "严重")  # fmt: skip
# What a warning is where levels are numbers: OpenTelemetry's logs data model, RFC 5424, logback, Python's logging. Any
# other number is read as bunyan and pino count, from 40.
_LEVEL_NUMBERS: dict[str, dict[str, int]] = {
    "severity_number": {"gte": 13},
    "SeverityNumber": {"gte": 13},
    "severityNumber": {"gte": 13},
    "log.syslog.severity.code": {"lte": 4},
    "priority": {"lte": 4},
    "PRIORITY": {"lte": 4},
    "level_value": {"gte": 30_000},
    "levelno": {"gte": 30},
}
_BAD_WORDS = "error errors err fatal severe critical panic exception fail failed failure warn warning timeout refused"
_BAD_PHRASES = ("caused by", "timed out", "失败", "错误", "异常", "超时", "拒绝")

Positive = Annotated[float, msgspec.Meta(gt=0)]


class Options(
    msgspec.Struct, frozen=True, kw_only=True, tag="elasticsearch", tag_field="kind", forbid_unknown_fields=True
):
    """How to reach a cluster and what to read there. Secrets arrive resolved and are never shown.

    `logs` and `traces` are index names, aliases, data streams or patterns; either may be empty. `overrides` maps a
    column of the logs table to the document paths that hold it, tried before the preset's. `time_field` is the date
    field that the window bounds; without it the first of the mapping's that is a date. `order_fields`, `trace_fields`
    and `customer_fields` are searched for identifiers before the usual ones. `timeout` is one request's, in seconds.
    `zone` is the IANA zone of times without one.
    """

    url: str | tuple[str, ...]
    logs: tuple[str, ...] = ()
    traces: tuple[str, ...] = ()
    api_key: str | None = None
    username: str | None = None
    password: str | None = None
    ca_certs: str | None = None
    verify_certs: bool = True
    ssl_assert_fingerprint: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    mapping: Literal["auto", "ecs", "otel", "logstash"] = "auto"
    overrides: dict[str, tuple[str, ...]] = {}
    time_field: str | None = None
    order_fields: tuple[str, ...] = ()
    trace_fields: tuple[str, ...] = ()
    customer_fields: tuple[str, ...] = ()
    page_size: Annotated[int, msgspec.Meta(ge=1, le=_LARGEST_PAGE)] = 5_000
    max_lines: Annotated[int, msgspec.Meta(ge=1)] = 1_000_000
    timeout: Positive = 10.0
    retries: Annotated[int, msgspec.Meta(ge=0, le=20)] = 4
    compress: bool = False
    zone: str | None = None

    def __post_init__(self) -> None:
        """Refuses what cannot work, before anything is asked."""
        if not self.logs and not self.traces:
            raise ValueError('name what to read: logs = ["logs-*"], traces = ["traces-*"], or both')
        if self.api_key and (self.username or self.password):
            raise ValueError("give api_key or username and password, not both")
        if bool(self.username) != bool(self.password):
            raise ValueError("username and password go together")
        for url in self.urls:
            parts = urlsplit(url)
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise ValueError(f"url must look like https://host:9200, not {_without_login(url)!r}")
        self.field_mapping()
        if self.zone is not None:
            try:
                ZoneInfo(self.zone)
            except (KeyError, ValueError, OSError):
                raise ValueError(f"zone {self.zone!r} is not an IANA time zone such as Asia/Shanghai") from None

    def __repr__(self) -> str:
        """Says where and what, never with which credentials."""
        login = "api_key" if self.api_key else "basic" if self.username else "none"
        return f"Options(url={self.places!r}, login={login}, logs={self.logs!r}, traces={self.traces!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """As `__repr__`: what rich prints in place of it shall tell no more."""
        return [("url", self.places), ("logs", self.logs), ("traces", self.traces)]

    def field_mapping(self) -> FieldMapping:
        """The preset with `overrides`, `time_field` and the id fields before it. Raises `ValueError`."""
        first = {
            "@timestamp": (self.time_field,) if self.time_field else (),
            "labels.order_id": self.order_fields,
            "trace.id": self.trace_fields,
            "user.id": self.customer_fields,
        }
        chosen = with_overrides(PRESETS[self.mapping], {column: paths for column, paths in first.items() if paths})
        return with_overrides(chosen, self.overrides)

    @property
    def urls(self) -> tuple[str, ...]:
        """Every configured address, as written."""
        return (self.url,) if isinstance(self.url, str) else self.url

    @property
    def places(self) -> str:
        """The addresses without login, for people."""
        return ", ".join(_without_login(url) for url in self.urls)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be seen in a message."""
        logins = (part for url in self.urls for part in (urlsplit(url).password,))
        return tuple(s for s in (self.api_key, self.password, *logins) if s)


# ---- What comes back, and what is known of the indices


class _Hits(msgspec.Struct):
    hits: list[msgspec.Raw] = []
    total: Any = None


class _Answer(msgspec.Struct):
    """A search's answer with its hits left as bytes; any other answer has no `hits`."""

    hits: _Hits | msgspec.UnsetType = msgspec.UNSET
    pit_id: str | None = None
    timed_out: bool = False
    shards: dict[str, Any] = msgspec.field(name="_shards", default_factory=dict)
    aggregations: dict[str, Any] = {}


class _Sorted(msgspec.Struct):
    sort: list[Any] = []


@dataclass(frozen=True)
class _Target:
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


@dataclass
class _Tally:
    """What a reading has met so far."""

    rows: int = 0
    again: int = 0
    reopened: int = 0
    problems: dict[str, None] = field(default_factory=dict)


class _OutOfTimeError(SourceUnavailable):
    """The deadline passed; what was read so far may still be handed over."""


class _FullError(SourceUnavailable):
    """The bound of one answer's bytes is reached; what was read is handed over."""


class _PointGoneError(Exception):
    """The point in time has expired on the server."""


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
        self._open: Elasticsearch | None = None
        self._targets: dict[tuple[str, ...], tuple[float, _Target]] = {}

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
        calls = _Calls(self, ask.deadline)
        target = self._target(calls, ask.what, patterns)
        if target.time is None:
            return self._nothing(ask, "empty", *target.notes)
        return _Reading(self, calls, target, ask).run()

    def resolve(self, pointers: Iterable[Pointer]) -> dict[Pointer, bytes | None]:
        """The canonical JSON of each document's whole `_source`, or None where it is gone."""
        wanted = list(dict.fromkeys(pointers))
        answer: dict[Pointer, bytes | None] = dict.fromkeys(wanted)
        calls = _Calls(self, time.monotonic() + 6 * self.options.timeout)
        named = [p for p in wanted if p.doc_id and p.index]
        for some in _slices(named, _MGET):
            docs = [{"_index": p.index, "_id": p.doc_id} for p in some]
            body = calls.ask(lambda client, docs=docs: client.mget(docs=docs))  # type: ignore[misc]
            for pointer, doc in zip(some, body["docs"], strict=True):
                if doc.get("found"):
                    answer[pointer] = canonical_json(doc["_source"])
        # A document that was routed, or whose index is not known, is found by a search for its id only.
        for kind, what in (("log", "logs"), ("span", "spans")):
            left = {p.doc_id: p for p in wanted if p.doc_id and answer[p] is None and p.kind == kind}
            for some_ids in _slices(list(left), _MGET):
                for hit in self._by_ids(calls, what, some_ids):
                    pointer = left[hit["_id"]]
                    if pointer.index in {None, hit["_index"]}:
                        answer[pointer] = canonical_json(hit["_source"])
        return answer

    def _by_ids(self, calls: _Calls, what: str, ids: Sequence[str]) -> list[dict[str, Any]]:
        patterns = self._patterns.get(what)  # type: ignore[call-overload]
        if not patterns:
            return []
        found = calls.ask(
            lambda client: client.search(
                index=",".join(patterns),
                query={"ids": {"values": list(ids)}},
                size=_LARGEST_PAGE,
                ignore_unavailable=True,
            )
        )
        return [msgspec.json.decode(hit) for hit in found["hits"]["hits"]]

    def probe(self) -> list[str]:
        """Version and cluster; for each pattern its documents, the newest record and the fields it can be asked by."""
        calls = _Calls(self, time.monotonic() + self.options.timeout)
        lines = []
        try:
            info = calls.ask(lambda client: client.info())
            lines.append(f"Elasticsearch {info['version']['number']}, cluster {info['cluster_name']}")
        except SourceRefused:
            # Reading rows needs no right to see the cluster; whether we may read shows below.
            lines.append("version not told: the account lacks the cluster privilege `monitor`")
        for what, patterns in self._patterns.items():
            for pattern in patterns:
                lines += self._probe_pattern(calls, what, pattern)
        return lines

    def _probe_pattern(self, calls: _Calls, what: What, pattern: str) -> list[str]:
        target = self._target(calls, what, (pattern,))
        if target.time is None:
            return [f"{pattern}: {_count(target.indices, 'index', 'indices')}, no documents", *target.notes]
        latest = {"newest": {"max": {"field": target.time, "format": "strict_date_optional_time"}}}
        found = calls.ask(
            lambda client: client.search(
                index=pattern, size=0, track_total_hits=True, aggregations=latest, ignore_unavailable=True
            )
        )
        newest = found["aggregations"]["newest"].get("value_as_string", "unknown")
        rows = _count(found["hits"]["total"]["value"], "document", "documents")
        lines = [f"{pattern}: {_count(target.indices, 'index', 'indices')}, {rows}, newest {newest}"]
        groups = {"time": [target.time], **self.id_fields()}
        groups["text"] = self.message_fields() if what == "logs" else []
        for group, names in groups.items():
            known = [
                f"{name} ({'/'.join(sorted(target.types.get(name, ('flattened',))))})"
                for name in target.of(names, _EXACT | _TEXT | _NUMBER | _DATE)
            ]
            if known:
                lines.append(f"  {group}: {', '.join(known)}")
            elif names:
                more = f" and {len(names) - 5} more" if len(names) > 5 else ""
                lines.append(f"  {group}: not mapped; looked for {', '.join(names[:5])}{more}")
        return [*lines, *(f"  {note}" for note in target.notes)]

    def close(self) -> None:
        """Gives back the connections."""
        with self._lock:
            client, self._open = self._open, None
        if client is not None:
            client.close()

    # ---- what the questions need

    def client(self) -> Elasticsearch:
        """The official client, made on first use."""
        with self._lock:
            if self._open is None:
                self._open = self._connect()
            return self._open

    def _connect(self) -> Elasticsearch:
        # Imported here: the client and what it brings along take most of a second.
        from elasticsearch import Elasticsearch
        from elasticsearch.serializer import JsonSerializer

        class PageSerializer(JsonSerializer):
            """Leaves the hits of a search as the bytes that they came in."""

            def json_loads(self, data: bytes) -> Any:
                answer = msgspec.json.decode(data, type=_Answer)
                if isinstance(answer.hits, msgspec.UnsetType):
                    return msgspec.json.decode(data)
                return {
                    "hits": {"hits": answer.hits.hits, "total": answer.hits.total},
                    "pit_id": answer.pit_id,
                    "timed_out": answer.timed_out,
                    "_shards": answer.shards,
                    "aggregations": answer.aggregations,
                }

        options = self.options
        settings: dict[str, Any] = {"max_retries": 0, "http_compress": options.compress}
        urls = [_without_login(url) for url in options.urls]
        if any(url.startswith("https") for url in urls):
            tls = {
                "ca_certs": options.ca_certs,
                "ssl_assert_fingerprint": options.ssl_assert_fingerprint,
                "client_cert": options.client_cert,
                "client_key": options.client_key,
            }
            for key in ("ca_certs", "client_cert", "client_key"):
                if tls[key] is not None and not Path(str(tls[key])).exists():
                    raise SourceBroken(f"{self.where()}: {key} names a file that is not there: {tls[key]}")
            settings |= {key: value for key, value in tls.items() if value is not None}
            settings |= {"verify_certs": options.verify_certs, "ssl_show_warn": False}
        if options.api_key:
            settings["api_key"] = options.api_key
        elif login := _login(options):
            settings["basic_auth"] = login
        # What fails is told by our own errors; without a handler its warnings would go to the user's screen.
        logging.getLogger("elastic_transport").addHandler(logging.NullHandler())
        serializer = PageSerializer()
        plain = {"application/json": serializer, "application/vnd.elasticsearch+json": serializer}
        try:
            return Elasticsearch(hosts=[_with_port(url) for url in urls], serializers=plain, **settings)
        except (ValueError, OSError) as error:
            message = f"source {self.name!r}: the client refuses its settings: {self.clean(str(error))}"
            raise SourceBroken(message) from None

    def clean(self, text: str) -> str:
        """`text` without any of our secrets."""
        for secret in self.options.secrets:
            text = text.replace(secret, "***")
        return text

    def where(self) -> str:
        """How messages name this source."""
        return f"source {self.name!r} ({self.options.places})"

    def zone(self) -> ZoneInfo | None:
        """The zone of times without one."""
        return ZoneInfo(self.options.zone) if self.options.zone else None

    def id_fields(self) -> dict[str, list[str]]:
        """Where identifiers are looked for: order, trace and customer ids."""
        named = {"order": self.mapping.order_id, "trace": self.mapping.trace_id, "customer": self.mapping.user_id}
        return {group: list(dict.fromkeys((*named[group], *_FIELDS[group]))) for group in _FIELDS}

    def message_fields(self) -> list[str]:
        """Where words are looked for."""
        return list(dict.fromkeys((*self.mapping.message, "error.message")))

    def _time_fields(self) -> list[str]:
        if self.options.time_field:
            return [self.options.time_field]
        return list(dict.fromkeys(("@timestamp", *self.mapping.timestamp)))

    def _target(self, calls: _Calls, what: What, patterns: tuple[str, ...]) -> _Target:
        """What the patterns stand for; kept a minute, as indices roll over while a service runs."""
        with self._lock:
            known = self._targets.get(patterns)
        if known and time.monotonic() - known[0] < _TARGET_SECONDS:
            return known[1]
        target = self._look_up(calls, what, patterns)
        with self._lock:
            self._targets[patterns] = (time.monotonic(), target)
        return target

    def _look_up(self, calls: _Calls, what: What, patterns: tuple[str, ...]) -> _Target:
        names = {*self._time_fields(), *self.message_fields(), *self.mapping.log_level, "status.code"}
        names |= {"http.response.status_code", "event.outcome", "error.type"}
        names |= {name for fields in self.id_fields().values() for name in fields}
        names |= {parent for name in names for parent in _parents(name)}
        types: defaultdict[str, set[str]] = defaultdict(set)
        places: defaultdict[str, set[str]] = defaultdict(set)
        indices: set[str] = set()
        notes = []
        for pattern in patterns:
            caps = calls.ask(
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
                        if kind in _DATE:
                            places[name].update(facts.get("indices") or here)
        if not indices:
            listed = ", ".join(patterns)
            raise SourceBroken(
                f"{self.where()}: no index, alias or data stream matches {listed}; "
                f"correct `{'logs' if what == 'logs' else 'traces'}` or give the account the right to read it"
            )
        frozen = {name: frozenset(kinds) for name, kinds in types.items()}
        dated = next((name for name in self._time_fields() if places.get(name)), None)
        lacking = sorted(indices - places[dated]) if dated else sorted(indices)
        lost = self._rows_in(calls, lacking) if lacking else 0
        if dated is None:
            if not lost:
                notes.append(f"{', '.join(patterns)}: no document yet")
                return _Target(patterns, len(indices), frozen, None, tuple(notes))
            raise SourceBroken(self._no_time_field(calls, lacking, frozen))
        if lost:
            shown = ", ".join(lacking[:3]) + (f" and {len(lacking) - 3} more" if len(lacking) > 3 else "")
            rows = _count(lost, "document", "documents")
            notes.append(f"{rows} of {shown} cannot be found by time: {dated!r} is not a date there")
        return _Target(patterns, len(indices), frozen, dated, tuple(notes), partly=bool(lost))

    def _no_time_field(self, calls: _Calls, indices: Sequence[str], types: Mapping[str, frozenset[str]]) -> str:
        tried = self._time_fields()
        wrong = [f"{name!r} is {'/'.join(sorted(types[name]))}" for name in tried if types.get(name)]
        dates = calls.ask(lambda client: client.field_caps(index=indices[0], fields="*", types=sorted(_DATE)))["fields"]
        offers = sorted(name for name, kinds in dates.items() if not any(f["metadata_field"] for f in kinds.values()))
        shown = indices[0] + (f" and {len(indices) - 1} more" if len(indices) > 1 else "")
        fact = "; ".join(wrong) or f"it has no field {' or '.join(repr(name) for name in tried[:3])}"
        advice = f"set time_field to one of its date fields: {', '.join(offers[:5])}" if offers else "map one as a date"
        return f"{self.where()}: index {shown} cannot be asked by time: {fact}; {advice}"

    def _rows_in(self, calls: _Calls, indices: Sequence[str]) -> int:
        total = 0
        # Names go into the address, which a node limits to 4 KiB.
        for some in _slices(list(indices), 30):
            index = ",".join(some)
            body = calls.ask(lambda client, index=index: client.count(index=index, ignore_unavailable=True))  # type: ignore[misc]
            total += int(body["count"])
        return total

    def _nothing(self, ask: Ask, status: Status, *notes: str) -> Fetched:
        schema = LOGS if ask.what == "logs" else SPANS
        asked = f"{', '.join(self._patterns.get(ask.what, ('nothing',)))} {_between(ask.window)}"
        coverage = Coverage(
            source=self.name,
            kind=self.kind,
            what=ask.what,
            status=status,
            asked=asked,
            window=_window(ask.window),
            matched=0 if status == "empty" else None,
            notes=list(notes),
        )
        return Fetched(empty(schema), coverage, complete=status == "empty")


class _Calls:
    """Requests that end by a deadline: each is tried again after 429, 502, 503, 504, a lost connection or a timeout."""

    def __init__(self, source: ElasticsearchSource, deadline: float) -> None:
        self.source = source
        self.began = time.monotonic()
        # What is left after the last page is parsing and sorting: a tenth of the time, half a second at most.
        self.deadline = deadline - min(0.5, max(0.0, deadline - self.began) / 10)

    def ask(self, request: Callable[[Elasticsearch], ApiResponse[Any]]) -> dict[str, Any]:
        """The body that `request` is answered with. Foreign errors leave as ours, a vanished point in time as `_PointGoneError`."""
        # Imported here, with the client: only who asks pays for them.
        import elastic_transport
        import tenacity
        from elasticsearch import ApiError

        client = self.source.client()
        options = self.source.options

        def attempt() -> ApiResponse[Any]:
            left = self.deadline - time.monotonic()
            if left <= 0:
                raise self._out_of_time()
            return request(client.options(request_timeout=min(options.timeout, left)))

        def is_passing(error: BaseException) -> bool:
            if isinstance(error, elastic_transport.TlsError):
                return False
            if isinstance(error, ApiError):
                return error.status_code in {429, 502, 503, 504}
            return isinstance(error, elastic_transport.ConnectionError | elastic_transport.ConnectionTimeout)

        def is_too_late(state: tenacity.RetryCallState) -> bool:
            return state.attempt_number > options.retries or time.monotonic() + state.upcoming_sleep >= self.deadline

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_passing),
            wait=tenacity.wait_exponential(multiplier=0.2, max=5.0) + tenacity.wait_random(0.0, 0.2),
            stop=is_too_late,
            reraise=True,
        )
        try:
            answer = retrying(attempt)
        except ApiError as error:
            raise self._from_status(error) from error
        except elastic_transport.TransportError as error:
            raise self._from_transport(error) from error
        if not isinstance(answer.body, dict):
            raise SourceBroken(
                f"{self.source.where()} answered no JSON object; check the address, and any proxy before it"
            )
        return answer.body

    def _out_of_time(self) -> _OutOfTimeError:
        waited = time.monotonic() - self.began
        return _OutOfTimeError(
            f"{self.source.where()} did not answer in time ({waited:.1f} s); raise --budget or narrow the window"
        )

    def _from_transport(self, error: Any) -> SourceError:
        import elastic_transport

        where, reason = self.source.where(), self.source.clean(str(error.message))
        if isinstance(error, elastic_transport.ConnectionTimeout):
            return self._out_of_time()
        if isinstance(error, elastic_transport.TlsError):
            advice = "check ca_certs, the fingerprint and the client certificate"
            return SourceUnavailable(f"{where}: TLS failed: {reason}; {advice}")
        if isinstance(error, elastic_transport.ConnectionError):
            return SourceUnavailable(f"{where} cannot be reached: {reason}; check the address and that it runs")
        return SourceBroken(f"{where} answered something that is not JSON; is it Elasticsearch?")

    def _from_status(self, error: Any) -> Exception:
        from elasticsearch import UnsupportedProductError

        where = self.source.where()
        if isinstance(error, UnsupportedProductError):
            return SourceBroken(f"{where} is not Elasticsearch: its answers lack the product header; check the address")
        kinds, reason = _root_cause(error.body)
        reason = self.source.clean(reason)
        if _NO_CONTEXT in kinds:
            return _PointGoneError(reason)
        if error.status_code == 401:
            return SourceRefused(f"{where} refused the login (401); check api_key, or username and password")
        if error.status_code == 403:
            return SourceRefused(f"{where} forbids this (403): {reason}; the account needs `read` on the indices")
        if error.status_code in {429, 502, 503, 504}:
            return SourceUnavailable(
                f"{where} is overloaded or restarting ({error.status_code}): {reason}; try again later"
            )
        return SourceBroken(f"{where} answered {error.status_code}: {reason}")


class _Point:
    """A point in time over a target's indices, read page by page; closed at the end, opened again when it expires."""

    def __init__(self, calls: _Calls, target: _Target, columns: Any, page_size: int, tally: _Tally) -> None:
        self._calls = calls
        self._target = target
        self._columns = columns
        self._largest = page_size
        self._size = min(_FIRST_PAGE, page_size)
        self._tally = tally
        self._id = ""

    def __enter__(self) -> Self:
        self._open()
        return self

    def _open(self) -> None:
        index = ",".join(self._target.patterns)
        opened = self._calls.ask(
            lambda client: client.open_point_in_time(index=index, keep_alive=_KEEP_ALIVE, ignore_unavailable=True)
        )
        self._id = opened["id"]

    def __exit__(self, *_: object) -> None:
        point, self._id = self._id, ""
        if not point:
            return
        try:
            # The server forgets it by itself; whoever is in a hurry shall not wait for that.
            self._calls.source.client().options(request_timeout=2.0).close_point_in_time(id=point)
        except Exception:  # noqa: BLE001 - a failure here must not hide what was read or what went wrong before
            return

    def search(self, **body: Any) -> dict[str, Any]:
        """One search in this point in time. Shards that failed are noted, unless they only lost the point."""
        answer: dict[str, Any] = self._calls.ask(
            lambda client: client.search(pit={"id": self._id, "keep_alive": _KEEP_ALIVE}, **body)
        )
        self._id = answer["pit_id"] or self._id
        if answer["timed_out"]:
            self._tally.problems["the cluster's own search timeout cut an answer short"] = None
        shards = answer["_shards"]
        if shards.get("failed"):
            reasons = [failure.get("reason") or {} for failure in shards.get("failures", [])]
            if any(reason.get("type") == _NO_CONTEXT for reason in reasons):
                raise _PointGoneError
            why = next((reason.get("reason") or reason.get("type") for reason in reasons), "no reason given")
            text = f"{shards['failed']} of {shards['total']} shards failed: {why}"
            self._tally.problems[self._calls.source.clean(text)] = None
        return answer

    def lasting(self, **body: Any) -> dict[str, Any]:
        """As `search`, opening the point in time again when it has expired."""
        while True:
            try:
                return self.search(**body)
            except _PointGoneError:
                self.reopen()

    def reopen(self) -> None:
        """A new point in time over the same indices."""
        if self._tally.reopened >= _REOPEN_AT_MOST:
            raise SourceUnavailable(
                f"{self._calls.source.where()}: the point in time expired {self._tally.reopened + 1} times; try again later"
            )
        self._tally.reopened += 1
        self._id = ""
        self._open()

    def count(self, query: Query) -> int:
        """How many documents match."""
        found = self.lasting(query=query, size=0, track_total_hits=True)
        return int(found["hits"]["total"]["value"])

    def histogram(self, query: Query, width_ms: int) -> list[tuple[int, int]]:
        """(start in epoch milliseconds, documents) of each bucket that holds any."""
        by_time = {
            "date_histogram": {"field": self._target.time, "fixed_interval": f"{width_ms}ms", "min_doc_count": 1}
        }
        found = self.lasting(query=query, size=0, track_total_hits=False, aggregations={"t": by_time})
        return [(int(b["key"]), int(b["doc_count"])) for b in found["aggregations"]["t"]["buckets"]]

    def pages(self, query: Query, want: int, order: str = "asc") -> Iterator[list[msgspec.Raw]]:
        """Pages of hits by time, `want` in all, then the end. Each hit is the JSON that the server sent.

        Where the point in time expires, reading goes on from the time of the last row, and the rows of that very
        moment come again (`_Tally.again` counts them).
        """
        by_time: dict[str, Any] = {"order": order, "format": "strict_date_optional_time_nanos"}
        time_field = str(self._target.time)
        if self._target.types[time_field] >= _DATE:
            # Milliseconds and nanoseconds side by side sort wrongly unless told to be the same unit.
            by_time["numeric_type"] = "date_nanos"
        else:
            by_time["unmapped_type"] = "date"
        sort = [{time_field: by_time}, {"_shard_doc": "asc"}]
        after: list[Any] | None = None
        bounds: list[Query] = [query]
        moment, at_moment = None, 0
        while want > 0:
            size = min(self._size, want)
            body: dict[str, Any] = {"query": {"bool": {"filter": bounds}}, "sort": sort, "size": size}
            if after is not None:
                body["search_after"] = after
            try:
                answer = self.search(**body, track_total_hits=False, source=self._columns)
            except _PointGoneError:
                self.reopen()
                if moment is not None:
                    side = "gte" if order == "asc" else "lte"
                    bounds = [query, {"range": {time_field: {side: moment, "format": by_time["format"]}}}]
                    want += at_moment
                    self._tally.again += at_moment
                    at_moment = 0
                after = None
                continue
            hits: list[msgspec.Raw] = answer["hits"]["hits"]
            if not hits:
                return
            after = msgspec.json.decode(hits[-1], type=_Sorted).sort
            same = _same_moment(hits, after[0])
            at_moment = same + (at_moment if same == len(hits) and after[0] == moment else 0)
            moment = after[0]
            want -= len(hits)
            self._tally.rows += len(hits)
            weight = sum(map(_weight, hits)) // len(hits) + 1
            self._size = max(1, min(self._largest, _PAGE_BYTES // weight))
            yield hits
            if len(hits) < size and not self._tally.problems:
                return


class _Reading:
    """The answer to one `Ask`."""

    def __init__(self, source: ElasticsearchSource, calls: _Calls, target: _Target, ask: Ask) -> None:
        self.source = source
        self.calls = calls
        self.target = target
        self.ask = ask
        self.limit = max(0, min(ask.limit, source.options.max_lines))
        self.tally = _Tally()
        self.said: list[str] = []
        self.notes: list[str] = list(target.notes)
        self.pool: Any = None
        self.parsed: list[Any] = []
        self.held: list[msgspec.Raw] = []
        self.held_bytes = 0
        self.bytes = 0

    def run(self) -> Fetched:
        """Counts, reads, parses; the next page is under way while the last one is parsed."""
        from concurrent.futures import ThreadPoolExecutor

        columns: Any = source_fields(self.source.mapping) if self.ask.what == "logs" else True
        total: int | None = None
        stopped: SourceError | None = None
        with ThreadPoolExecutor(1) as self.pool:
            try:
                with _Point(self.calls, self.target, columns, self.source.options.page_size, self.tally) as point:
                    window = self._within(self.ask.window)
                    total = point.count(window)
                    self._read(point, window, total)
            except SourceError as error:
                # Rows in hand are worth more than the error, which the ledger tells; without any, it is the answer.
                if not self.tally.rows and not (total is not None and isinstance(error, _OutOfTimeError)):
                    raise
                stopped = error
            self._parse_held()
            tables = [future.result() for future in self.parsed]
        return self._answer(total or 0, tables, stopped)

    def _read(self, point: _Point, window: Query, total: int) -> None:
        if total <= self.limit:
            self.said.append("all rows")
            self._take(point, window, max(total, 1))
            return
        self.said.append(f"{total:,} rows match and {self.limit:,} are wanted")
        done: list[Query] = []
        left = self.limit
        tied, words = self._tied()
        steps = [(tied, words)] if tied else []
        failing = "at WARN or above or that speak of a failure" if self.ask.what == "logs" else "of failed spans"
        steps.append((self._bad(), failing))
        for query, words_of in steps:
            chosen = _all(window, query, without=done)
            found = point.count(chosen)
            read = self._nearest(point, chosen, found, left)
            of_how_many = "" if read == found else f" of {found:,}, those nearest to the middle"
            self.said.append(f"{read:,} rows {words_of}{of_how_many}")
            left -= read
            done.append(query)
        rest = _all(window, without=done)
        read = self._nearest(point, rest, None, left)
        self.said.append(f"{read:,} other rows, those nearest to the middle of the window")

    def _nearest(self, point: _Point, query: Query, found: int | None, left: int) -> int:
        """Reads up to `left` rows of `query`: all, or a stretch around the middle of the window. Returns how many."""
        before = self.tally.rows - self.tally.again
        if left > 0 and found is not None and found <= left:
            self._take(point, query, found)
        elif left > 0:
            window = self.ask.window
            self._stretch(point, query, window, window.start + (window.end - window.start) / 2, left)
        return self.tally.rows - self.tally.again - before

    def _stretch(self, point: _Point, query: Query, span: Span, middle: datetime, left: int) -> None:
        """The `left` rows of `query` inside `span` nearest to `middle`, as one stretch of time without holes."""
        width = max(1, int((span.end - span.start).total_seconds() * 1000) // _BUCKETS)
        inside = _all(query, self._within(span))
        at = middle.timestamp() * 1000
        by_distance = sorted(point.histogram(inside, width), key=lambda b: (abs(b[0] + width / 2 - at), b[0]))
        taken: list[tuple[int, int]] = []
        for start, rows in by_distance:
            if rows > left:
                part = Span(max(span.start, _from_ms(start)), min(span.end, _from_ms(start + width)))
                if taken or width == 1:
                    order = "asc" if start >= at else "desc"
                    self._take(point, _all(inside, self._within(part)), left, order)
                else:
                    self._stretch(point, query, part, middle, left)
                break
            taken.append((start, rows))
            left -= rows
        if taken:
            edges = [start for start, _ in taken]
            part = Span(max(span.start, _from_ms(min(edges))), min(span.end, _from_ms(max(edges) + width)))
            self._take(point, _all(inside, self._within(part)), sum(rows for _, rows in taken))

    def _take(self, point: _Point, query: Query, want: int, order: str = "asc") -> None:
        for hits in point.pages(query, want, order):
            self.held += hits
            weight = sum(map(_weight, hits))
            self.held_bytes += weight
            self.bytes += weight
            if self.held_bytes >= _BATCH_BYTES:
                self._parse_held()
            if self.bytes >= _MOST_BYTES:
                raise _FullError(f"{self.bytes >> 20:,} MiB were read, the most for one answer; narrow the window")

    def _parse_held(self) -> None:
        if self.held:
            self.parsed.append(self.pool.submit(self._parse, self.held))
            self.held, self.held_bytes = [], 0

    def _parse(self, hits: list[msgspec.Raw]) -> Any:
        ndjson = b"\n".join(hits)
        if ndjson.count(b"\n") >= len(hits):
            # Documents keep the line breaks that they were written with where the whole `_source` is asked for.
            ndjson = b"\n".join(msgspec.json.format(hit, indent=-1) for hit in hits)
        if self.ask.what == "logs":
            from parsers.documents import parse_documents

            zone = self.source.zone()
            mapping = self.source.mapping
            return parse_documents(ndjson, source=self.source.name, mapping=mapping, envelope="hit", zone=zone)
        from parsers.traces import parse_span_documents

        return parse_span_documents(ndjson, source=self.source.name, envelope="hit")

    def _answer(self, total: int, parts: list[Any], stopped: SourceError | None) -> Fetched:
        schema = LOGS if self.ask.what == "logs" else SPANS
        table = pa.concat_tables([part.table for part in parts]) if parts else empty(schema)
        duplicates = sum(part.duplicates for part in parts)
        before = table.num_rows
        table = self._without_edges(table)
        outside = before - table.num_rows
        before = table.num_rows
        table = _in_order(table)
        duplicates += before - table.num_rows
        fetched = self.tally.rows
        # Rows that came or went while an expired point in time was opened again move the total.
        natural = stopped is None and total <= self.limit
        matched = fetched - duplicates if natural else max(total, fetched - duplicates)
        cut = matched - (fetched - duplicates)
        problems = list(self.tally.problems)
        if stopped is not None:
            problems.insert(0, str(stopped))
        if self.tally.reopened:
            self.notes.append(f"the point in time expired and was opened again ({self.tally.reopened} times)")
        patterns = ", ".join(self.target.patterns)
        failed = bool(problems) or self.target.partly
        status: Status = "partial" if failed else "ok" if fetched else "empty"
        if status == "empty":
            self.notes.append(f"{patterns}: no row in the window")
        coverage = Coverage(
            source=self.source.name,
            kind=self.source.kind,
            what=self.ask.what,
            status=status,
            asked=f"{patterns} {_between(self.ask.window)}: {'; '.join(self.said) or 'counted only'}",
            window=_window(self.ask.window),
            matched=matched,
            fetched=fetched,
            used=table.num_rows,
            sampled=total > self.limit,
            cut=cut,
            duplicates=duplicates,
            unparsed=sum(part.unparsed for part in parts),
            outside=outside,
            error="; ".join(problems) or None,
            notes=self.notes,
        )
        return Fetched(table, coverage, complete=status in {"ok", "empty"} and not cut)

    def _without_edges(self, table: pa.Table) -> pa.Table:
        """`table` without the rows of the milliseconds at both ends that only the whole time stamp tells apart."""
        import pyarrow.compute as pc

        window = self.ask.window
        lower, upper = _floor_ms(window.start), _ceil_ms(window.end)
        times = table.column("@timestamp")
        if lower == window.start and upper == window.end:
            return table
        early = pc.and_(pc.greater_equal(times, _scalar(lower)), pc.less(times, _scalar(window.start)))
        late = pc.and_(pc.greater_equal(times, _scalar(window.end)), pc.less(times, _scalar(upper)))
        return table.filter(pc.invert(pc.fill_null(pc.or_(early, late), False)))

    # ---- queries

    def _within(self, span: Span) -> Query:
        """Rows of `span` by whole milliseconds, the resolution of a `date`."""
        bounds = {
            "gte": _stamp(_floor_ms(span.start)),
            "lt": _stamp(_ceil_ms(span.end)),
            "format": "strict_date_optional_time_nanos",
        }
        return {"range": {str(self.target.time): bounds}}

    def _tied(self) -> tuple[Query | None, str]:
        """Rows that name one of the ticket's identifiers, in a field of their own or in the text."""
        should: list[Query] = []
        named: list[str] = []
        target = self.target
        texts = self.source.message_fields() if self.ask.what == "logs" else []
        searched = 0
        fields = self.source.id_fields()
        for group, kinds in _KINDS.items():
            values = list(self.ask.values(*kinds))
            if not values:
                continue
            named.append(f"{_count(len(values), group + ' id', group + ' ids')}")
            should += [{"terms": {name: values}} for name in target.of(fields[group], _EXACT)]
            numbers = [int(v) for v in values if v.isdecimal() and len(v) < 19]
            if numbers:
                should += [{"terms": {name: numbers}} for name in target.of(fields[group], _NUMBER)]
            in_text = values[: max(0, _SEARCHED_IN_TEXT - searched)]
            searched += len(in_text)
            if len(in_text) < len(values):
                self.notes.append(
                    f"{len(values) - len(in_text)} {group} ids were looked for in fields, not in the text"
                )
            for value in in_text:
                should += [{"match_phrase": {name: value}} for name in target.of(fields[group], _TEXT)]
                for name in target.of(texts, _TEXT):
                    should.append({"match_phrase": {name: value}})
                    if value[0].isalpha():
                        should += [{"match_phrase": {name: f"{cue}:{value}"}} for cue in _CUES[group]]
                for name in target.of(texts, frozenset({"keyword", "wildcard"})):
                    should.append({"wildcard": {name: {"value": f"*{_escaped(value)}*"}}})
        if not should:
            return None, ""
        return {"bool": {"should": should, "minimum_should_match": 1}}, f"naming {', '.join(named)}"

    def _bad(self) -> Query:
        """Warnings and errors by level, by HTTP status, by the words in the text; of spans those that failed."""
        target = self.target
        should: list[Query] = []
        if self.ask.what == "spans":
            should += [{"terms": {name: ["failure"]}} for name in target.of(["event.outcome"], _EXACT)]
            words = ["Error", "ERROR", "STATUS_CODE_ERROR"]
            should += [{"terms": {name: words}} for name in target.of(["status.code"], _EXACT)]
            should += [{"term": {name: 2}} for name in target.of(["status.code"], _NUMBER)]
        else:
            levels = self.source.mapping.log_level
            spelled = sorted({f(word) for word in _LEVEL_WORDS for f in (str.lower, str.upper, str.capitalize)})
            should += [{"terms": {name: spelled}} for name in target.of(levels, _EXACT)]
            should += [{"match": {name: " ".join(_LEVEL_WORDS)}} for name in target.of(levels, _TEXT)]
            should += [{"range": {name: _LEVEL_NUMBERS.get(name, {"gte": 40})}} for name in target.of(levels, _NUMBER)]
            should += [{"exists": {"field": name}} for name in ("error.type",) if target.types.get(name)]
            for name in target.of(self.source.message_fields(), _TEXT):
                should.append({"match": {name: _BAD_WORDS}})
                should += [{"match_phrase": {name: phrase}} for phrase in _BAD_PHRASES]
        should += [{"range": {name: {"gte": 500}}} for name in target.of(["http.response.status_code"], _NUMBER)]
        return {"bool": {"should": should, "minimum_should_match": 1}} if should else {"match_none": {}}


# ---- small things


def _all(*queries: Query, without: Sequence[Query] = ()) -> Query:
    return {"bool": {"filter": list(queries), "must_not": list(without)}}


def _same_moment(hits: Sequence[msgspec.Raw], moment: Any) -> int:
    """How many hits at the end of a page have the sort time `moment`."""
    same = 0
    for hit in reversed(hits):
        if msgspec.json.decode(hit, type=_Sorted).sort[0] != moment:
            break
        same += 1
    return same


def _weight(raw: msgspec.Raw) -> int:
    """The bytes of a raw hit."""
    return memoryview(raw).nbytes


def _in_order(table: pa.Table) -> pa.Table:
    """`table` by time, index and id, each document once: the order of equal times differs from shard copy to copy."""
    if table.num_rows < 2:
        return table
    # Imported here: a tenth of a second that the settings need not pay, which only want `Options`.
    import pyarrow.compute as pc

    keys = [("@timestamp", "ascending"), ("_index", "ascending"), ("_id", "ascending")]
    order = pc.sort_indices(table.select(["@timestamp", "_index", "_id"]), sort_keys=keys)
    ids = pc.binary_join_element_wise(table.column("_index"), table.column("_id"), "\n").take(order).combine_chunks()
    same = pc.equal(ids.slice(1), ids.slice(0, len(ids) - 1))
    keep = pa.concat_arrays([pa.array([True]), pc.invert(pc.fill_null(same, False))])
    return table.take(order.filter(keep))


def _root_cause(body: Any) -> tuple[set[str], str]:
    """The error types in an Elasticsearch error, and one reason for people."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return set(), (str(error) if error else "no reason given")[:300]
    causes = [error, *error.get("root_cause", []), *(s.get("reason", {}) for s in error.get("failed_shards", []))]
    reasons = [str(c["reason"]) for c in reversed(causes) if isinstance(c, dict) and isinstance(c.get("reason"), str)]
    return {str(c.get("type")) for c in causes if isinstance(c, dict)}, (reasons or ["no reason given"])[0][:300]


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _slices(items: Sequence[Any], size: int) -> Iterator[Any]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _with_port(url: str) -> str:
    """`url` with the port that its scheme stands for, which the client wants to see."""
    parts = urlsplit(url)
    if parts.port:
        return url
    return urlunsplit(parts._replace(netloc=f"{parts.netloc}:{443 if parts.scheme == 'https' else 80}"))


def _login(options: Options) -> tuple[str, str] | None:
    from urllib.parse import unquote

    if options.username and options.password:
        return options.username, options.password
    for url in options.urls:
        parts = urlsplit(url)
        if parts.username and parts.password:
            return unquote(parts.username), unquote(parts.password)
    return None


def _escaped(value: str) -> str:
    return "".join(f"\\{c}" if c in "*?\\" else c for c in value)


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _between(window: Span) -> str:
    return f"from {_stamp(window.start)} to {_stamp(window.end)}"


def _window(window: Span) -> Window:
    return Window(start=_stamp(window.start), end=_stamp(window.end))


def _from_ms(ms: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=ms)


def _floor_ms(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _ceil_ms(moment: datetime) -> datetime:
    floor = _floor_ms(moment)
    return floor if floor == moment else floor + timedelta(milliseconds=1)


def _scalar(moment: datetime) -> pa.Scalar:
    return pa.scalar(moment, type=pa.timestamp("us", tz="UTC"))
