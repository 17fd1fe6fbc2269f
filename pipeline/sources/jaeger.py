"""Traces by Jaeger's HTTP API, which its user interface uses as well: `/api/traces/{id}`, `/api/traces`, `/api/services`.

Traces that the ticket names come first; then, service by service, those of the window. Jaeger answers a search with the
newest traces up to a limit and does not say whether there were more, so a full answer is asked again in halves of time.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec
import pyarrow as pa

from parsers.tables import LOGS, ORDER_EVENTS, SPANS, empty
from parsers.traces import ParsedSpans, drop_repeats, find_spans, parse_jaeger
from pipeline.errors import SourceBroken, SourceError, SourceRefused, SourceUnavailable
from pipeline.values import Ask, Fetched, Pointer, Span, What
from snapshots.model import Coverage, Status, Window, canonical_json

if TYPE_CHECKING:
    import httpx

_RETRIED = frozenset((429, 500, 502, 503, 504))
_LISTED = 5
_NEVER = float("inf")
_SECOND_US = 1_000_000
# A full answer is halved down to this window; more traces than the limit within it are left out, and noted.
_NARROWEST_US = 10_000
_DEEPEST = 24

Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(gt=0)]


class Options(msgspec.Struct, frozen=True, kw_only=True, tag="jaeger", tag_field="kind", forbid_unknown_fields=True):
    """`url` is the query service's, with its base path if it has one; `token` or `username` and `password` sign in.

    `services` are the services to search (all that Jaeger knows, where empty). `traces_per_search` is Jaeger's `limit`.
    `timeout` is of one request in seconds, `attempts` how often one is tried. `ca_certs`, `client_cert` and `client_key`
    are paths of PEM files. `max_bytes` bounds one answer.
    """

    url: str
    token: str | None = None
    username: str | None = None
    password: str | None = None
    services: tuple[str, ...] = ()
    traces_per_search: Count = 500
    max_services: Count = 200
    timeout: Positive = 10.0
    attempts: Count = 4
    ca_certs: str | None = None
    verify_certs: bool = True
    client_cert: str | None = None
    client_key: str | None = None
    max_bytes: Count = 512 << 20

    def __repr__(self) -> str:
        return f"Options(kind='jaeger', url={_shown(self.url)!r}, services={self.services!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("url", _shown(self.url)), ("services", self.services)]


@dataclass
class _Reading:
    """What one question came to so far."""

    tables: list[Any] = field(default_factory=list)
    traces: set[str] = field(default_factory=set)
    rows: int = 0
    unparsed: int = 0
    duplicates: int = 0
    notes: list[str] = field(default_factory=list)
    # What keeps the answer from being whole: a limit, or an error behind which the rest was not asked.
    full: list[str] = field(default_factory=list)
    stopped: SourceError | None = None

    def add(self, parsed: ParsedSpans) -> None:
        self.tables.append(parsed.table)
        self.rows += parsed.table.num_rows
        self.unparsed += parsed.unparsed
        self.duplicates += parsed.duplicates


class _TryAgainError(Exception):
    """A failure that may pass; carries what to raise when it does not."""

    def __init__(self, error: SourceError) -> None:
        super().__init__(str(error))
        self.error = error


class JaegerSource:
    """A Jaeger query service as a source of spans."""

    kind = "jaeger"
    holds: frozenset[What] = frozenset(("spans",))

    def __init__(self, name: str, options: Options) -> None:
        self.name = name
        self.options = options
        self._client: httpx.Client | None = None

    def fetch(self, ask: Ask) -> Fetched:
        """The spans of the asked traces, then those of the window, service by service, up to the limit.

        Services are those that the question names under `service`, else the configured ones, else all. Raises
        `SourceRefused`, `SourceUnavailable` or `SourceBroken` where not one answer came; a failure after that makes the
        answer `partial` and is told in the ledger.
        """
        if ask.what != "spans":
            note = ["holds spans only"]
            nothing = empty(LOGS if ask.what == "logs" else ORDER_EVENTS)
            return Fetched(nothing, self._coverage(ask, "skipped", "nothing", notes=note), complete=True)
        reading = _Reading()
        wanted = ask.values("trace_id")
        services: tuple[str, ...] = ()
        try:
            self._named(ask, wanted, reading)
            services = self._services(ask, reading)
            for service in services:
                self._search(ask, service, _micros(ask.window.start), _micros(ask.window.end), reading)
        except SourceError as error:
            if not reading.tables:
                raise
            reading.stopped = error
        return self._answer(ask, wanted, services, reading)

    def resolve(self, pointers: Iterable[Pointer]) -> dict[Pointer, bytes | None]:
        """The canonical JSON of each span's object, or None where its trace is gone. Raises as `fetch`."""
        from pipeline.sources.bundle import span_at

        answer: dict[Pointer, bytes | None] = dict.fromkeys(pointers)
        spans = [p for p in answer if p.kind == "span" and p.doc_id is not None]
        for trace in dict.fromkeys(p.index for p in spans if p.index):
            data = self._get(f"/api/traces/{quote(trace, safe='')}", {}, _NEVER)
            keys = {(p.index, p.doc_id) for p in spans if p.index == trace and p.doc_id}
            found = find_spans(data, keys) if data is not None else {}
            for pointer in spans:
                if pointer.index == trace and (objects := found.get((trace, str(pointer.doc_id)))):
                    answer[pointer] = canonical_json(span_at(objects, pointer.at))
        return answer

    def probe(self) -> list[str]:
        """How many services Jaeger knows, and whether the configured ones are among them. Raises as `fetch`."""
        known = self._known_services(time.monotonic() + self.options.timeout)
        lines = [f"Jaeger at {_shown(self.options.url)} knows {len(known):,} services"]
        strangers = [name for name in self.options.services if name not in known]
        if strangers:
            lines.append(f"not known to it, check `services`: {', '.join(strangers)}")
        return lines

    def close(self) -> None:
        """Closes the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    # What is asked

    def _named(self, ask: Ask, wanted: tuple[str, ...], reading: _Reading) -> None:
        """The traces that the question names, one by one. One that Jaeger does not have is not a failure."""
        absent = []
        for place, trace in enumerate(wanted):
            if reading.rows >= ask.limit:
                reading.full.append(
                    f"{len(wanted) - place} of {len(wanted)} named traces not asked: the limit was reached"
                )
                break
            data = self._get(f"/api/traces/{quote(trace, safe='')}", {}, ask.deadline)
            if data is None:
                absent.append(trace)
            else:
                reading.add(parse_jaeger(data, source=self.name, file=None))
        if absent:
            reading.notes.append(f"Jaeger does not have {_some(absent, 'trace')}")
            # An answer nevertheless: Jaeger was there and said so.
            reading.tables.append(empty(SPANS))

    def _services(self, ask: Ask, reading: _Reading) -> tuple[str, ...]:
        services = ask.values("service") or self.options.services
        if not services:
            services = tuple(sorted(self._known_services(ask.deadline)))
            reading.tables.append(empty(SPANS))
        most = self.options.max_services
        if len(services) > most:
            reading.full.append(f"{len(services) - most:,} of {len(services):,} services not searched (`max_services`)")
        return services[:most]

    def _known_services(self, deadline: float) -> list[str]:
        answer = self._decode(self._get("/api/services", {}, deadline) or b"{}", "/api/services")
        return [name for name in answer.get("data") or () if isinstance(name, str)]

    def _search(self, ask: Ask, service: str, start: int, end: int, reading: _Reading, depth: int = 0) -> None:
        """The traces of one service and window; in halves where there are more than one answer takes."""
        if reading.rows >= ask.limit:
            full = "the limit of rows was reached before every service was searched"
            reading.full.extend([] if full in reading.full else [full])
            return
        limit = self.options.traces_per_search
        asked = {"service": service, "start": str(start), "end": str(max(start, end - 1)), "limit": str(limit)}
        data = self._get("/api/traces", asked, ask.deadline)
        if data is None:
            reading.notes.append(f"Jaeger does not know the service {service}")
            reading.tables.append(empty(SPANS))
            return
        answer = self._decode(data, "/api/traces")
        number = len(answer.get("data") or ())
        if number >= limit and end - start > _NARROWEST_US and depth < _DEEPEST:
            middle = (start + end) // 2
            self._search(ask, service, start, middle, reading, depth + 1)
            self._search(ask, service, middle, end, reading, depth + 1)
            return
        if number >= limit:
            reading.full.append(f"{service}: {limit:,} traces within {end - start:,} microseconds, there may be more")
        reading.add(parse_jaeger(data, source=self.name, file=None))

    def _answer(self, ask: Ask, wanted: tuple[str, ...], services: tuple[str, ...], reading: _Reading) -> Fetched:
        """The table, the named traces first, and its row of the ledger."""
        import pyarrow.compute as pc

        table = pa.concat_tables(reading.tables) if reading.tables else empty(SPANS)
        before = table.num_rows
        table, again = drop_repeats(table)
        named = pc.is_in(table.column("trace.id"), pa.array([trace.lower() for trace in wanted], pa.string()))
        order = [(name, "ascending") for name in ("@timestamp", "trace.id", "span.id", "kind")]
        table = pa.concat_tables([table.filter(mask).sort_by(order) for mask in (named, pc.invert(named))])
        kept = table.slice(0, ask.limit)
        cut = table.num_rows - kept.num_rows
        short = bool(reading.full or cut or reading.stopped)
        asked = [f"{_some(wanted, 'trace')} by id"] if wanted else []
        if services:
            asked.append(f"the window of {_some(services, 'service')}")
        notes = [*reading.notes, *reading.full]
        if reading.unparsed:
            notes.append(f"{reading.unparsed:,} objects that are no readable span were left out")
        coverage = self._coverage(
            ask,
            "partial" if short else "ok" if kept.num_rows else "empty",
            "; then ".join(asked) or "nothing: Jaeger knows no service",
            matched=None if reading.full or reading.stopped else table.num_rows,
            fetched=before + reading.duplicates + reading.unparsed - cut,
            used=kept.num_rows,
            cut=cut,
            duplicates=reading.duplicates + again,
            unparsed=reading.unparsed,
            error=str(reading.stopped) if reading.stopped else None,
            notes=notes,
        )
        return Fetched(kept, coverage, complete=False)

    def _coverage(self, ask: Ask, status: Status, asked: str, **counts: Any) -> Coverage:
        return Coverage(
            source=self.name,
            kind=self.kind,
            what=ask.what,
            status=status,
            asked=asked,
            window=_window(ask.window),
            **counts,
        )

    # How it is asked

    def _get(self, path: str, query: Mapping[str, str], deadline: float) -> bytes | None:
        """The answer's bytes, None for 404; tried again with growing pauses as long as the deadline allows."""
        import tenacity

        left = deadline - time.monotonic()
        if left <= 0:
            raise SourceUnavailable(f"no time was left to ask {self._where(path)}")
        stop: Any = tenacity.stop_after_attempt(self.options.attempts)
        if left != _NEVER:
            stop |= tenacity.stop_before_delay(left)
        retrying = tenacity.Retrying(
            stop=stop,
            wait=tenacity.wait_exponential(multiplier=0.1, max=2.0),
            retry=tenacity.retry_if_exception_type(_TryAgainError),
            reraise=True,
        )
        try:
            return retrying(self._get_once, path, query, deadline)
        except _TryAgainError as error:
            raise error.error from error.__cause__

    def _get_once(self, path: str, query: Mapping[str, str], deadline: float) -> bytes | None:
        import httpx

        until = min(deadline, time.monotonic() + self.options.timeout)
        timeout = httpx.Timeout(max(0.001, until - time.monotonic()))
        with (
            self._translated(path),
            self._http().stream("GET", self._base() + path, params=dict(query), timeout=timeout) as response,
        ):
            self._check(path, response.status_code)
            if response.status_code == 404:
                return None
            pieces, size = [], 0
            for piece in response.iter_bytes():
                pieces.append(piece)
                size += len(piece)
                if size > self.options.max_bytes:
                    raise SourceBroken(
                        f"{self._where(path)} answered more than {self.options.max_bytes:,} bytes: "
                        "lower `traces_per_search` or raise `max_bytes`"
                    )
                # A read timeout starts anew with each piece, so a trickle would hold us for ever.
                if time.monotonic() > until:
                    raise SourceUnavailable(f"{self._where(path)} did not answer in time")
            return b"".join(pieces)

    def _check(self, path: str, status: int) -> None:
        """Raises what a status means, unless it is 200 or 404."""
        if status in (401, 403):
            raise SourceRefused(f"{self._where(path)} refused our credentials ({status}): check `token` or `username`")
        if status in _RETRIED:
            raise _TryAgainError(SourceUnavailable(f"{self._where(path)} answered {status}: see Jaeger's own log"))
        if status not in (200, 404):
            raise SourceBroken(f"{self._where(path)} answered {status}: check `url`, it must be the query service's")

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        """Turns httpx's exceptions into ours; those that may pass into ones that are tried again."""
        import httpx

        try:
            yield
        except httpx.TimeoutException as error:
            # Not tried again: it has used up its time, and so would the next.
            raise SourceUnavailable(f"{self._where(path)} did not answer in time") from error
        except httpx.TransportError as error:
            problem = f"{self._where(path)} could not be reached ({str(error) or type(error).__name__}): check `url`"
            raise _TryAgainError(SourceUnavailable(problem)) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise SourceBroken(f"{self._where(path)} gave no readable answer ({error})") from error

    def _decode(self, data: bytes, path: str) -> dict[str, Any]:
        """An answer's outer object, its traces left as they are."""
        try:
            answer = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
            read = {key: bytes(value) for key, value in answer.items() if key in ("data", "errors")}
            items = msgspec.json.decode(read.get("data", b"null"), type=list[msgspec.Raw] | None)
            errors = msgspec.json.decode(read.get("errors", b"null"))
            if path == "/api/services":
                return {"data": msgspec.json.decode(read.get("data", b"null"), type=list[str] | None)}
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SourceBroken(
                f"{self._where(path)} answered something that is not Jaeger's JSON: check `url`, it must be the query service's"
            ) from error
        if errors and not items:
            raise SourceBroken(f"{self._where(path)} answered an error: {str(errors)[:200]}")
        return {"data": items}

    def _http(self) -> httpx.Client:
        if self._client is None:
            import ssl

            import httpx

            options = self.options
            verify: Any = options.verify_certs
            try:
                if options.verify_certs and (options.ca_certs or options.client_cert):
                    verify = ssl.create_default_context(cafile=options.ca_certs)
                    if options.client_cert:
                        verify.load_cert_chain(options.client_cert, options.client_key)
            except (OSError, ssl.SSLError) as error:
                raise SourceBroken(
                    f"the certificates of the source {self.name!r} cannot be read ({error}): "
                    "check `ca_certs`, `client_cert` and `client_key`"
                ) from error
            headers = {"Accept": "application/json"}
            if options.token:
                headers["Authorization"] = f"Bearer {options.token}"
            parts = urlsplit(options.url)
            user = options.username or parts.username
            auth = (user, options.password or parts.password or "") if user and not options.token else None
            self._client = httpx.Client(verify=verify, headers=headers, auth=auth, follow_redirects=False)
        return self._client

    def _base(self) -> str:
        parts = urlsplit(self.options.url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))

    def _where(self, path: str) -> str:
        """Where we asked, for people: without sign-in and query."""
        return f"Jaeger at {_shown(self.options.url)}{path}"


def _shown(url: str) -> str:
    """A URL without the name and password that may stand in it."""
    try:
        parts = urlsplit(url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
    except ValueError:
        return "an unreadable URL"


def _some(names: Iterable[str], noun: str) -> str:
    names = list(names)
    more = len(names) - _LISTED
    listed = ", ".join(names[:_LISTED]) + (f" and {more:,} more" if more > 0 else "")
    return f"{noun}{'' if len(names) == 1 else 's'} {listed}"


def _micros(moment: datetime) -> int:
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * _SECOND_US + since.microseconds


def _window(window: Span) -> Window:
    start, end = (m.astimezone(UTC).isoformat().replace("+00:00", "Z") for m in (window.start, window.end))
    return Window(start=start, end=end)
