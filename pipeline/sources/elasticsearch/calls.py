"""Requests to a cluster: tried again while there is hope, ended by a deadline, their errors translated into ours.

A page is never made into a list of dicts: the client's deserialiser cuts it to the raw bytes of its hits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline.errors import SourceBroken, SourceError, SourceRefused, SourceUnavailable
from pipeline.sources.elasticsearch.options import Options, login_of, with_port, without_login

if TYPE_CHECKING:
    from elastic_transport import ApiResponse
    from elasticsearch import Elasticsearch

_NO_CONTEXT = "search_context_missing_exception"
# What a cluster says of another one that it was to ask. It is told at once: asking again takes the time of the others.
_REMOTE_GONE = frozenset({
    "connect_transport_exception", "no_such_remote_cluster_exception", "no_seed_node_left_exception",
})  # fmt: skip


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
    clusters: dict[str, Any] = msgspec.field(name="_clusters", default_factory=dict)


class Sorted(msgspec.Struct):
    """A hit, of which only the place in the order is read."""

    sort: list[Any] = []


class OutOfTimeError(SourceUnavailable):
    """The deadline passed; what was read so far may still be handed over."""


class FullError(SourceUnavailable):
    """The bound of one answer's bytes is reached; what was read is handed over."""


class RemoteGoneError(SourceUnavailable):
    """A remote cluster that the question names cannot be asked; `reason` says which, and why."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.reason = reason


class PointGoneError(Exception):
    """The point in time has expired on the server."""


class Connection:
    """One cluster's client, shared by all threads, with a bound on the requests under way at once."""

    def __init__(self, name: str, options: Options) -> None:
        """Nothing is opened until the first request."""
        self.name = name
        self.options = options
        # One gate for all questions of this process: fifty tickets of a storm must not become fifty connections.
        self.gate = threading.BoundedSemaphore(options.connections)
        self._lock = threading.Lock()
        self._open: Elasticsearch | None = None

    def client(self) -> Elasticsearch:
        """The official client, made on first use."""
        with self._lock:
            if self._open is None:
                self._open = self._connect()
            return self._open

    def close(self) -> None:
        """Gives back the connections."""
        with self._lock:
            client, self._open = self._open, None
        if client is not None:
            client.close()

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
                    "_clusters": answer.clusters,
                }

        options = self.options
        settings: dict[str, Any] = {"max_retries": 0, "http_compress": options.compress}
        urls = [without_login(url) for url in options.urls]
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
        elif login := login_of(options):
            settings["basic_auth"] = login
        # What fails is told by our own errors; without a handler its warnings would go to the user's screen.
        logging.getLogger("elastic_transport").addHandler(logging.NullHandler())
        serializer = PageSerializer()
        plain = {"application/json": serializer, "application/vnd.elasticsearch+json": serializer}
        try:
            return Elasticsearch(
                hosts=[with_port(url) for url in urls],
                serializers=plain,
                connections_per_node=options.connections,
                **settings,
            )
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


class Calls:
    """Requests that end by a deadline: each is tried again after 429, 502, 503, 504, a lost connection or a timeout."""

    def __init__(self, connection: Connection, deadline: float) -> None:
        self.connection = connection
        self.began = time.monotonic()
        # What is left after the last page is parsing and sorting: a tenth of the time, half a second at most.
        self.deadline = deadline - min(0.5, max(0.0, deadline - self.began) / 10)

    def left(self) -> float:
        """Seconds until the deadline, an hour at most."""
        return min(3600.0, max(0.0, self.deadline - time.monotonic()))

    def ask(self, request: Callable[[Elasticsearch], ApiResponse[Any]], within: float | None = None) -> dict[str, Any]:
        """The body that `request` is answered with; `within` seconds where less than the deadline leaves.

        Foreign errors leave as ours, a vanished point in time as `PointGoneError`.
        """
        # Imported here, with the client: only who asks pays for them.
        import elastic_transport
        import tenacity
        from elasticsearch import ApiError

        client = self.connection.client()
        options = self.connection.options
        deadline = self.deadline if within is None else min(self.deadline, time.monotonic() + within)

        def attempt() -> ApiResponse[Any]:
            left = min(3600.0, deadline - time.monotonic())
            if left <= 0:
                raise self.out_of_time()
            if not self.connection.gate.acquire(timeout=left):
                raise OutOfTimeError(
                    f"{self.connection.where()}: all of its {options.connections} connections were busy for {left:.1f} s; "
                    "raise connections or --budget"
                )
            try:
                # While it waited at the gate its time ran on.
                left = max(0.05, deadline - time.monotonic())
                return request(client.options(request_timeout=min(options.timeout, left)))
            finally:
                self.connection.gate.release()

        def is_passing(error: BaseException) -> bool:
            if isinstance(error, elastic_transport.TlsError):
                return False
            if isinstance(error, ApiError):
                return error.status_code in {429, 502, 503, 504} and not root_cause(error.body)[0] & _REMOTE_GONE
            return isinstance(error, elastic_transport.ConnectionError | elastic_transport.ConnectionTimeout)

        def is_too_late(state: tenacity.RetryCallState) -> bool:
            return state.attempt_number > options.retries or time.monotonic() + state.upcoming_sleep >= deadline

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
                f"{self.connection.where()} answered no JSON object; check the address, and any proxy before it"
            )
        return answer.body

    def out_of_time(self) -> OutOfTimeError:
        """The error of a deadline that passed."""
        waited = time.monotonic() - self.began
        return OutOfTimeError(
            f"{self.connection.where()} did not answer in time ({waited:.1f} s); raise --budget or narrow the window"
        )

    def _from_transport(self, error: Any) -> SourceError:
        import elastic_transport

        where, reason = self.connection.where(), self.connection.clean(str(error.message))
        if isinstance(error, elastic_transport.ConnectionTimeout):
            return self.out_of_time()
        if isinstance(error, elastic_transport.TlsError):
            advice = "check ca_certs, the fingerprint and the client certificate"
            return SourceUnavailable(f"{where}: TLS failed: {reason}; {advice}")
        if isinstance(error, elastic_transport.ConnectionError):
            return SourceUnavailable(f"{where} cannot be reached: {reason}; check the address and that it runs")
        return SourceBroken(f"{where} answered something that is not JSON; is it Elasticsearch?")

    def _from_status(self, error: Any) -> Exception:
        from elasticsearch import UnsupportedProductError

        where = self.connection.where()
        if isinstance(error, UnsupportedProductError):
            return SourceBroken(f"{where} is not Elasticsearch: its answers lack the product header; check the address")
        kinds, reason = root_cause(error.body)
        reason = self.connection.clean(reason)
        if _NO_CONTEXT in kinds:
            return PointGoneError(reason)
        if kinds & _REMOTE_GONE:
            return RemoteGoneError(where, f"a remote cluster is away: {reason}")
        if error.status_code == 401:
            return SourceRefused(f"{where} refused the login (401); check api_key, or username and password")
        if error.status_code == 403:
            return SourceRefused(f"{where} forbids this (403): {reason}; the account needs `read` on the indices")
        if error.status_code in {429, 502, 503, 504}:
            return SourceUnavailable(
                f"{where} is overloaded or restarting ({error.status_code}): {reason}; try again later"
            )
        return SourceBroken(f"{where} answered {error.status_code}: {reason}")


def root_cause(body: Any) -> tuple[set[str], str]:
    """The error types in an Elasticsearch error, and one reason for people."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return set(), (str(error) if error else "no reason given")[:300]
    causes = [error, *error.get("root_cause", []), *(s.get("reason", {}) for s in error.get("failed_shards", []))]
    reasons = [str(c["reason"]) for c in reversed(causes) if isinstance(c, dict) and isinstance(c.get("reason"), str)]
    return {str(c.get("type")) for c in causes if isinstance(c, dict)}, (reasons or ["no reason given"])[0][:300]
