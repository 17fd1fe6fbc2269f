"""Traces by Jaeger's HTTP API, which its user interface uses as well: `/api/traces/{id}`, `/api/traces`, `/api/services`.

Traces that the ticket names come first; then, service by service, those of the window. Jaeger answers a search with the
newest traces up to a limit and does not say whether there were more, so a full answer is asked again in halves of time.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import msgspec

from parsers.traces.jaeger import parse_jaeger
from parsers.traces.rows import ParsedSpans
from pipeline.errors import SourceBroken, SourceError
from pipeline.sources._http import NEVER, Count, Http, HttpOptions, TooLarge, shown
from pipeline.sources._traces import Reading, answer, micros, read_traces, resolve_spans, skipped, some
from pipeline.values import Ask, Fetched, Pointer, What

# A full answer is halved down to this window; more traces than the limit within it are left out, and noted.
_NARROWEST_US = 10_000
_DEEPEST = 24


class Options(HttpOptions, frozen=True, kw_only=True, tag="jaeger", tag_field="kind", forbid_unknown_fields=True):
    """`url` is the query service's, with its base path if it has one; see `HttpOptions` for the rest of the connection.

    `services` are the services to search (all that Jaeger knows, where empty). `traces_per_search` is Jaeger's `limit`.
    """

    services: tuple[str, ...] = ()
    traces_per_search: Count = 500
    max_services: Count = 200

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("url", shown(self.url)), ("services", self.services)]


class JaegerSource:
    """A Jaeger query service as a source of spans."""

    kind = "jaeger"
    holds: frozenset[What] = frozenset(("spans",))

    def __init__(self, name: str, options: Options) -> None:
        self.name = name
        self.options = options
        self._http = Http(name, "Jaeger", options, check="check `url`, it must be the query service's")

    def fetch(self, ask: Ask) -> Fetched:
        """The spans of the asked traces, then those of the window, service by service, up to the limit.

        Services are those that the question names under `service`, else the configured ones, else all. Raises
        `SourceRefused`, `SourceUnavailable` or `SourceBroken` where not one answer came; a failure after that makes the
        answer `partial` and is told in the ledger. A named trace that is too large is told, and the others are read.
        """
        if ask.what != "spans":
            return skipped(ask, source=self.name, kind=self.kind)
        reading = Reading()
        wanted = ask.values("trace_id")
        services: tuple[str, ...] = ()

        def read(trace: str) -> ParsedSpans | None:
            data = self._trace(trace, ask.deadline)
            return None if data is None else parse_jaeger(data, source=self.name, file=None)

        try:
            read_traces(
                wanted,
                read,
                reading,
                system="Jaeger",
                noun="named traces",
                limit=ask.limit,
                parallel=self.options.parallel,
            )
            services = self._services(ask, reading) if ask.rest else ()
            for service in services:
                self._search(ask, service, micros(ask.window.start), micros(ask.window.end), reading)
        except SourceError as error:
            if not reading.tables:
                raise
            reading.stopped = error
        asked = [f"{some(wanted, 'trace')} by id"] if wanted else []
        if services:
            asked.append(f"the window of {some(services, 'service')}")
        nothing = "nothing: Jaeger knows no service" if ask.rest else "nothing: no trace was named"
        return answer(reading, ask, "; then ".join(asked) or nothing, wanted, source=self.name, kind=self.kind)

    def resolve(self, pointers: Iterable[Pointer]) -> dict[Pointer, bytes | None]:
        """The canonical JSON of each span's object, or None where its trace is gone. Raises as `fetch`."""
        return resolve_spans(pointers, lambda trace: self._trace(trace, NEVER), self.options.parallel)

    def probe(self) -> list[str]:
        """How many services Jaeger knows, and whether the configured ones are among them. Raises as `fetch`."""
        known = self._known_services(time.monotonic() + self.options.timeout)
        lines = [f"{self._http.where()} knows {len(known):,} services"]
        strangers = [name for name in self.options.services if name not in known]
        if strangers:
            lines.append(f"not known to it, check `services`: {', '.join(strangers)}")
        return lines

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _trace(self, trace: str, deadline: float) -> bytes | None:
        return self._http.get(f"/api/traces/{quote(trace, safe='')}", {}, deadline)

    def _services(self, ask: Ask, reading: Reading) -> tuple[str, ...]:
        services = ask.values("service") or self.options.services
        if not services:
            services = tuple(sorted(self._known_services(ask.deadline)))
            reading.heard()
        most = self.options.max_services
        if len(services) > most:
            reading.short_of(f"{len(services) - most:,} of {len(services):,} services not searched (`max_services`)")
        return services[:most]

    def _known_services(self, deadline: float) -> list[str]:
        known = self._decode(self._http.get("/api/services", {}, deadline) or b"{}", "/api/services")
        return [name for name in known.get("data") or () if isinstance(name, str)]

    def _search(self, ask: Ask, service: str, start: int, end: int, reading: Reading, depth: int = 0) -> None:
        """The traces of one service and window; in halves where there are more than one answer takes."""
        if reading.rows >= ask.limit:
            reading.short_of("the limit of rows was reached before every service was searched")
            return
        limit = self.options.traces_per_search
        asked = {"service": service, "start": str(start), "end": str(max(start, end - 1)), "limit": str(limit)}
        divisible = end - start > _NARROWEST_US and depth < _DEEPEST
        data: bytes | None = None
        number = limit
        try:
            data = self._http.get("/api/traces", asked, ask.deadline)
        except TooLarge as error:
            if not divisible:
                reading.short_of(f"{service}: the traces within {end - start:,} microseconds are left out: {error}")
                reading.heard()
                return
        else:
            if data is None:
                reading.notes.append(f"Jaeger does not know the service {service}")
                reading.heard()
                return
            number = len(self._decode(data, "/api/traces").get("data") or ())
        if data is None or (number >= limit and divisible):
            middle = (start + end) // 2
            self._search(ask, service, start, middle, reading, depth + 1)
            self._search(ask, service, middle, end, reading, depth + 1)
            return
        if number >= limit:
            reading.short_of(f"{service}: {limit:,} traces within {end - start:,} microseconds, there may be more")
        reading.add(parse_jaeger(data, source=self.name, file=None))

    def _decode(self, data: bytes, path: str) -> dict[str, Any]:
        """An answer's outer object, its traces left as they are."""
        try:
            outer = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
            read = {key: bytes(value) for key, value in outer.items() if key in ("data", "errors")}
            items = msgspec.json.decode(read.get("data", b"null"), type=list[msgspec.Raw] | None)
            errors = msgspec.json.decode(read.get("errors", b"null"))
            if path == "/api/services":
                return {"data": msgspec.json.decode(read.get("data", b"null"), type=list[str] | None)}
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._http.broken(path) from error
        if errors and not items:
            raise SourceBroken(f"{self._http.where(path)} answered an error: {str(errors)[:200]}")
        return {"data": items}
