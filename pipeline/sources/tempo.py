"""Traces by Grafana Tempo's HTTP API: `/api/v2/traces/{id}`, `/api/search` and `/api/v2/search/tag/.../values`.

Traces that the ticket names come first, then those of the window: by TraceQL the ones with an error, then the rest. Tempo
answers a search with the first traces that it comes upon, up to a limit, and does not say whether there were more, so a
full answer is asked again in halves of time. Of more traces than are read those are taken that lie evenly in time.

The interface is documented at https://grafana.com/docs/tempo/latest/api_docs/. Its JSON has trace and span ids in base64
(https://github.com/grafana/tempo/issues/5437), `batches` instead of `resourceSpans` before version 2 of the interface, and
`"status": "PARTIAL"` with a message where a trace is too large for Tempo (https://github.com/grafana/tempo/pull/3941).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import msgspec

from parsers.traces.otlp import parse_otlp
from parsers.traces.rows import ParsedSpans
from pipeline.errors import SourceError, SourceUnavailable
from pipeline.sources._http import NEVER, Count, Http, HttpOptions, shown
from pipeline.sources._traces import Reading, answer, micros, read_traces, resolve_spans, skipped, some
from pipeline.values import Ask, Fetched, Pointer, What

_SECOND_US = 1_000_000
_DEEPEST = 24
# Ids that searches may find before no more is searched.
_MOST_FOUND = 20_000
_SERVICES = "/api/v2/search/tag/resource.service.name/values"
_OLD_SERVICES = "/api/search/tag/service.name/values"


class Options(HttpOptions, frozen=True, kw_only=True, tag="tempo", tag_field="kind", forbid_unknown_fields=True):
    """`url` is Tempo's (its query frontend's), with its base path if it has one; see `HttpOptions` for the connection.

    `tenant` is sent as `X-Scope-OrgID`. `services` are the services to search (all, where empty). `traces_per_search` is
    the `limit` of one search, `max_traces` the number of the window's traces that are read.
    """

    tenant: str | None = None
    services: tuple[str, ...] = ()
    traces_per_search: Count = 500
    max_services: Count = 200
    max_traces: Count = 2000

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("url", shown(self.url)), ("services", self.services)]


class _Whole(msgspec.Struct):
    """What version 2 answers; version 1 answers the trace alone."""

    trace: msgspec.Raw = msgspec.Raw(b"")
    status: str | int | None = None
    message: str | None = None


class _Trace(msgspec.Struct):
    trace_id: str = msgspec.field(name="traceID")
    start: str | int | None = msgspec.field(name="startTimeUnixNano", default=None)


class _Traces(msgspec.Struct):
    traces: list[_Trace] | None = None


class _Value(msgspec.Struct):
    value: str


class _Values(msgspec.Struct):
    values: list[_Value | str] | None = msgspec.field(name="tagValues", default=None)


class TempoSource:
    """A Tempo as a source of spans."""

    kind = "tempo"
    holds: frozenset[What] = frozenset(("spans",))

    def __init__(self, name: str, options: Options) -> None:
        self.name = name
        self.options = options
        headers = {"X-Scope-OrgID": options.tenant} if options.tenant else None
        check = "check `url`, it must be Tempo's, and `tenant`"
        self._http = Http(name, "Tempo", options, check=check, headers=headers)
        # Whether version 2 of the interface is there; None until it has given a trace, or version 1 has in its stead.
        self._second: bool | None = None

    def fetch(self, ask: Ask) -> Fetched:
        """The spans of the asked traces, then those of the window's traces, the ones with an error first, up to the limit.

        Services are those that the question names under `service`, else the configured ones, else all. Raises
        `SourceRefused`, `SourceUnavailable` or `SourceBroken` where not one answer came; a failure after that makes the
        answer `partial` and is told in the ledger, and so does a trace that Tempo gives in part.
        """
        if ask.what != "spans":
            return skipped(ask, source=self.name, kind=self.kind)
        reading = Reading()
        wanted = ask.values("trace_id")
        services = ask.values("service") or self.options.services
        most = self.options.max_services
        asked = [f"{some(wanted, 'trace')} by id"] if wanted else []

        def read_all(traces: Iterable[str], noun: str) -> None:
            read_traces(
                traces,
                lambda trace: self._read(trace, ask.deadline, reading),
                reading,
                system="Tempo",
                noun=noun,
                limit=ask.limit,
                parallel=self.options.parallel,
            )

        try:
            read_all(wanted, "named traces")
            if ask.rest:
                if len(services) > most:
                    reading.short_of(
                        f"{len(services) - most:,} of {len(services):,} services not searched (`max_services`)"
                    )
                of = some(services[:most], "service") if services else "all services"
                asked.append(f"the window of {of}, those with an error first")
                read_all(self._window(ask, wanted, services[:most], reading), "traces of the window")
        except SourceError as error:
            if not reading.tables:
                raise
            reading.stopped = error
        told = "; then ".join(asked) or "nothing: no trace was named"
        return answer(reading, ask, told, wanted, source=self.name, kind=self.kind)

    def resolve(self, pointers: Iterable[Pointer]) -> dict[Pointer, bytes | None]:
        """The canonical JSON of each span's object, or None where its trace is gone. Raises as `fetch`."""

        def fetch(trace: str) -> bytes | None:
            found = self._trace(trace, NEVER)
            return None if found is None else found[0]

        return resolve_spans(pointers, fetch, self.options.parallel)

    def probe(self) -> list[str]:
        """Tempo's version, how many services it knows, and whether the configured ones are among them. Raises as `fetch`."""
        deadline = time.monotonic() + self.options.timeout
        known = self._known_services(deadline)
        data = self._http.get("/api/status/buildinfo", {}, deadline)
        version = ""
        if data is not None:
            info = self._decode(data, dict[str, Any], "/api/status/buildinfo")
            version = f" {info['version']}" if isinstance(info.get("version"), str) and info["version"] else ""
        lines = [f"{self._http.where()}{version} knows {len(known):,} services of late"]
        strangers = [name for name in self.options.services if name not in known]
        if strangers:
            lines.append(f"not known to it of late, check `services`: {', '.join(strangers)}")
        return lines

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    # Traces by id

    def _read(self, trace: str, deadline: float, reading: Reading) -> ParsedSpans | None:
        found = self._trace(trace, deadline)
        if found is None:
            return None
        data, partial = found
        parsed = parse_otlp(data, source=self.name, file=None)
        if partial:
            reading.in_part[trace] = partial
        # Some versions answer an unknown id with nothing instead of 404.
        return parsed if parsed.spans or partial else None

    def _trace(self, trace: str, deadline: float) -> tuple[bytes, str | None] | None:
        """The trace as OTLP/JSON, and Tempo's words where it is not whole; None where Tempo does not have it."""
        path = f"/api/v2/traces/{quote(trace, safe='')}"
        data = self._http.get(path, {}, deadline) if self._second is not False else None
        if data is None and not self._second:
            # Before version 2.6 there is no second version of the interface, and that is 404 as well.
            path = f"/api/traces/{quote(trace, safe='')}"
            data = self._http.get(path, {}, deadline)
            if data is not None:
                self._second = False
        elif data is not None:
            self._second = True
        if data is None:
            return None
        whole = self._decode(data, _Whole, path)
        partial = None
        if whole.status in ("PARTIAL", 1):
            partial = whole.message or "Tempo calls it partial"
        body = bytes(whole.trace).strip()
        return (b"{}" if body == b"null" else body or data), partial

    # The window

    def _window(self, ask: Ask, wanted: tuple[str, ...], services: tuple[str, ...], reading: Reading) -> list[str]:
        """The ids of the window's traces, those with an error first, less the named ones, up to `max_traces`."""
        if reading.rows >= ask.limit:
            reading.short_of("the limit of rows was reached before the window was searched")
            return []
        # Half of the time that is left is for the traces themselves.
        now = time.monotonic()
        until = ask.deadline if ask.deadline == NEVER else now + (ask.deadline - now) / 2
        start, end = micros(ask.window.start) // _SECOND_US, -(-micros(ask.window.end) // _SECOND_US)
        names = [f"resource.service.name = {json.dumps(name, ensure_ascii=False)}" for name in services] or [""]
        chosen = {_plain_id(trace): None for trace in wanted}
        most = self.options.max_traces
        ids: list[str] = []
        try:
            for error in ("status = error", ""):
                found: dict[str, int] = {}
                for name in names:
                    query = " && ".join(part for part in (name, error) if part)
                    self._search(f"{{ {query} }}" if query else "{}", start, end, until, found, reading)
                fresh = sorted((at, trace) for trace, at in found.items() if _plain_id(trace) not in chosen)
                left = most - len(ids)
                if len(fresh) > left:
                    of = "with an error" if error else "without one"
                    reading.short_of(
                        f"{left:,} of {len(fresh):,} traces {of} read, evenly over the window (`max_traces`)"
                    )
                for _, trace in _spread(fresh, left):
                    ids.append(trace)
                    chosen[_plain_id(trace)] = None
        except SourceUnavailable as failed:
            if not ids and not reading.tables:
                raise
            reading.short_of(f"not all of the window was searched: {failed}")
        return ids

    def _search(
        self, query: str, start: int, end: int, until: float, found: dict[str, int], reading: Reading, depth: int = 0
    ) -> None:
        """Adds the ids and starts of the traces between two seconds of the epoch; in halves where there may be more."""
        if len(found) >= _MOST_FOUND:
            reading.short_of(f"the search was ended at {_MOST_FOUND:,} traces")
            return
        limit = self.options.traces_per_search
        asked = {"q": query, "start": str(start), "end": str(end), "limit": str(limit), "spss": "1"}
        data = self._http.get("/api/search", asked, until)
        traces = [] if data is None else self._decode(data, _Traces, "/api/search").traces or []
        reading.heard()
        found.update({one.trace_id: int(one.start or 0) for one in traces})
        if len(traces) < limit:
            return
        if end - start > 1 and depth < _DEEPEST:
            middle = (start + end) // 2
            self._search(query, start, middle, until, found, reading, depth + 1)
            self._search(query, middle, end, until, found, reading, depth + 1)
        else:
            reading.short_of(f"{query}: {limit:,} traces within {end - start:,} s, there may be more")

    def _known_services(self, deadline: float) -> list[str]:
        path = _SERVICES
        data = self._http.get(path, {}, deadline)
        if data is None:
            path = _OLD_SERVICES
            data = self._http.get(path, {}, deadline)
        values = self._decode(data or b"{}", _Values, path).values or []
        return sorted({one if isinstance(one, str) else one.value for one in values})

    def _decode(self, data: bytes, kind: Any, path: str) -> Any:
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._http.broken(path) from error


def _plain_id(trace: str) -> str:
    """A trace id for comparing: searches leave out its leading zeros."""
    return trace.lower().lstrip("0")


def _spread(found: list[tuple[int, str]], most: int) -> list[tuple[int, str]]:
    """At most `most` of `found`, evenly.

    >>> _spread([(at, "") for at in range(10)], 4)
    [(0, ''), (3, ''), (6, ''), (9, '')]
    """
    if len(found) <= most:
        return found
    if most <= 1:
        return found[:most]
    return [found[round(place * (len(found) - 1) / (most - 1))] for place in range(most)]


__all__ = ["Options", "TempoSource"]
