"""Requests to a cluster: tried again while there is hope, ended by a deadline, their errors translated into ours.

A page is never made into a list of dicts: the client's deserialiser leaves its hits as the bytes that they came in.
"""

from __future__ import annotations

import contextlib
import logging
import math
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline.errors import SourceBroken, SourceError, SourceRefused, SourceUnavailable
from pipeline.sources.elasticsearch.causes import (
    ASKS_TOO_MUCH,
    BUSY,
    REMOTE_GONE,
    is_passing,
    retry_after,
    root_cause,
    tls_advice,
    was_connecting,
)
from pipeline.sources.elasticsearch.options import Options, login_of, with_port, without_login

if TYPE_CHECKING:
    from elastic_transport import ApiResponse
    from elasticsearch import Elasticsearch

_NO_CONTEXT = "search_context_missing_exception"
# How long a point in time that is given back may take, and how long the end of the process waits for that.
_GIVE_BACK_SECONDS = 2.0
_PARTING_SECONDS = 0.2
# How long an address that failed is left alone where there are others.
_DEAD_SECONDS = 15.0
# How long a source that could not be reached is tried only once by whoever comes next.
_DOWN_SECONDS = 5.0
_LONGEST_WAIT = 5.0
_LONGEST_PAUSE = 60.0
_TOO_MANY = 429


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


class DeclinedError(SourceUnavailable):
    """The cluster answered that it does not do this now: it is overloaded, or the request asks too much of it."""


class UnreachableError(SourceUnavailable):
    """No connection, or one that broke, each time that it was tried."""


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
        self._parting: list[threading.Thread] = []
        # Until when a connection that was given up lately is tried once only, whichever ticket asks.
        self.down_until = 0.0
        # Until when nothing is sent, since the cluster said that it has too much to do.
        self.paused_until = 0.0
        # Whether the cluster has ES|QL that answers in Arrow; None until it has told.
        self.esql: bool | None = None

    def client(self) -> Elasticsearch:
        """The official client, made on first use."""
        with self._lock:
            if self._open is None:
                self._open = self._connect()
            return self._open

    def close(self) -> None:
        """Gives back the connections."""
        until = time.monotonic() + _PARTING_SECONDS
        with self._lock:
            parting, self._parting = self._parting, []
        for thread in parting:
            thread.join(max(0.0, until - time.monotonic()))
        with self._lock:
            client, self._open = self._open, None
        if client is not None:
            client.close()

    def part(self, request: Callable[[Elasticsearch], object]) -> None:
        """Carries out a request whose answer nobody needs, in a thread that nobody waits for."""
        with self._lock:
            client = self._open
        if client is None:
            return

        def work() -> None:
            # The server forgets by itself what is not given back, so that nothing needs to be tried twice or told.
            if not self.gate.acquire(timeout=_GIVE_BACK_SECONDS):
                return
            try:
                with contextlib.suppress(Exception):
                    request(client.options(request_timeout=_GIVE_BACK_SECONDS))
            finally:
                self.gate.release()

        thread = threading.Thread(target=work, name=f"{self.name}:give back", daemon=True)
        # Without a thread to be had the server forgets it by itself.
        with self._lock, contextlib.suppress(RuntimeError):
            thread.start()
            self._parting = [*(one for one in self._parting if one.is_alive()), thread]

    def _connect(self) -> Elasticsearch:
        # Imported here: the client and what it brings along take most of a second.
        from elastic_transport import Serializer
        from elasticsearch import Elasticsearch
        from elasticsearch.serializer import JsonSerializer

        from parsers.hits import Page
        from pipeline.sources.elasticsearch.transport import InTurn, nodes_of

        class PageSerializer(JsonSerializer):
            """Leaves the hits of a search as the bytes that they came in."""

            def json_loads(self, data: bytes) -> Any:
                page = Page.of(data)
                answer = msgspec.json.decode(page.around() if page else data, type=_Answer)
                if isinstance(answer.hits, msgspec.UnsetType):
                    return msgspec.json.decode(data)
                return {
                    "hits": {"hits": page or answer.hits.hits, "total": answer.hits.total},
                    "pit_id": answer.pit_id,
                    "timed_out": answer.timed_out,
                    "_shards": answer.shards,
                    "aggregations": answer.aggregations,
                    "bytes": len(data),
                    "_clusters": answer.clusters,
                }

        class ArrowSerializer(Serializer):
            """Leaves a stream of Arrow batches as the bytes that it came in; the client's own puts them into its error."""

            def loads(self, data: bytes) -> bytes:
                return data

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
        plain = {
            "application/json": serializer,
            "application/vnd.elasticsearch+json": serializer,
            "application/vnd.apache.arrow.stream": ArrowSerializer(),
        }
        try:
            return Elasticsearch(
                hosts=[with_port(url) for url in urls],
                serializers=plain,
                node_class=nodes_of(len(urls)),
                node_selector_class=InTurn,
                # One of several addresses that is dead is left alone for a while: asking it costs time each time.
                dead_node_backoff_factor=_DEAD_SECONDS,
                max_dead_node_backoff=4 * _DEAD_SECONDS,
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
    """The requests of one question, which end by its deadline, for several threads.

    Each is tried again after 429, 502, 503, 504, a lost connection or a timeout. When the cluster says that it has too much
    to do, all of them wait; when one of them gives the connection up, the others do so, too.
    """

    def __init__(self, connection: Connection, deadline: float) -> None:
        self.connection = connection
        self.began = time.monotonic()
        # What is left after the last page is parsing and sorting: a tenth of the time, half a second at most.
        self.deadline = deadline - min(0.5, max(0.0, deadline - self.began) / 10)
        # What the quickest answer took: nothing comes sooner, however little is asked for.
        self.quickest = math.inf
        self._given_up: UnreachableError | None = None

    def left(self) -> float:
        """Seconds until the deadline, an hour at most."""
        return min(3600.0, max(0.0, self.deadline - time.monotonic()))

    def _until(self, within: float | None) -> float:
        return self.deadline if within is None else min(self.deadline, time.monotonic() + within)

    def pause(self, attempt: int) -> bool:
        """Waits before the next of some attempts, the first being 0; False, at once, where the time does not allow it."""
        seconds = self._backoff(attempt)
        if seconds >= self.left():
            return False
        time.sleep(seconds)
        return True

    @staticmethod
    def _backoff(attempt: int) -> float:
        # With jitter: those who were turned away together shall not come back together.
        return float(min(_LONGEST_WAIT, 0.2 * 2.0 ** min(attempt, 10))) + random.uniform(0.0, 0.2)  # noqa: S311 - no secret

    def ask(
        self,
        request: Callable[[Elasticsearch], ApiResponse[Any]],
        within: float | None = None,
        patience: float | None = None,
        holds: str | None = None,
    ) -> dict[str, Any]:
        """The body that `request` is answered with, which has the key `holds`; `within` seconds where less than the deadline leaves.

        The time bounds the whole of it: name, handshake, header and body, and all attempts. An attempt that takes longer
        than `patience` seconds ends it, for whoever can ask for less. Foreign errors leave as ours, a vanished point in time
        as `PointGoneError`.
        """
        # Imported here, with the client: only who asks pays for them.
        import elastic_transport
        import tenacity
        from elasticsearch import ApiError

        connection, options = self.connection, self.connection.options
        client = connection.client()
        deadline = self._until(within)
        others = len(options.urls) - 1
        # A source that was just given up is tried once, at each address.
        most = others + (0 if time.monotonic() < connection.down_until else options.retries)

        def wait(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            return self._wait_after(error, state.attempt_number, others)

        def is_too_late(state: tenacity.RetryCallState) -> bool:
            return state.attempt_number > most or time.monotonic() + state.upcoming_sleep >= deadline

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_passing), wait=wait, stop=is_too_late, reraise=True
        )
        began = time.monotonic()
        try:
            answer = retrying(self._once, client, request, deadline, patience)
        except ApiError as error:
            raise self._from_status(error) from error
        except elastic_transport.TransportError as error:
            ours = self._from_transport(error)
            if isinstance(ours, UnreachableError):
                if deadline < self.deadline and retrying.statistics["attempt_number"] <= most:
                    # Not all attempts were made, so that it may still come back.
                    raise self.out_of_time() from error
                self._given_up = ours
                connection.down_until = time.monotonic() + _DOWN_SECONDS
            raise ours from error
        self.quickest = min(self.quickest, time.monotonic() - began)
        connection.down_until = 0.0
        if not isinstance(answer.body, dict):
            raise SourceBroken(
                f"{self.connection.where()} answered no JSON object; check the address, and any proxy before it"
            )
        if holds is not None and holds not in answer.body:
            raise SourceBroken(
                f"{self.connection.where()} answered JSON without {holds!r}: that is not Elasticsearch; check the address, "
                "and any proxy before it"
            )
        return answer.body

    def stream(
        self, request: Callable[[Elasticsearch], ApiResponse[Any]], within: float | None, patience: float | None = None
    ) -> bytes:
        """The body of an answer in Arrow, as it came; times as for `ask`.

        Asked for once, since whoever asks has another way, and a failure here does not give the connection up for the rest.
        """
        import elastic_transport
        from elasticsearch import ApiError

        deadline = self._until(within)
        try:
            body = self._once(self.connection.client(), request, deadline, patience).body
        except ApiError as error:
            raise self._from_status(error) from error
        except elastic_transport.TransportError as error:
            raise self._from_transport(error) from error
        if not isinstance(body, bytes):
            raise SourceBroken(f"{self.connection.where()} answered no Arrow stream")
        return body

    def _wait_after(self, error: BaseException | None, attempt: int, others: int) -> float:
        """Seconds to wait after the `attempt`-th (from 1) failed; `others` are the further addresses."""
        from elasticsearch import ApiError

        if not isinstance(error, ApiError):
            # The next address may well be alive.
            return 0.0 if attempt <= others else self._backoff(attempt - 1 - others)
        seconds = max(self._backoff(attempt - 1), retry_after(error))
        if error.status_code == _TOO_MANY:
            connection = self.connection
            connection.paused_until = max(connection.paused_until, time.monotonic() + min(seconds, _LONGEST_PAUSE))
        return seconds

    def _once(
        self,
        client: Elasticsearch,
        request: Callable[[Elasticsearch], ApiResponse[Any]],
        deadline: float,
        patience: float | None,
    ) -> ApiResponse[Any]:
        """One attempt, which is left behind at `deadline`. It holds its place among the connections until it has ended."""
        import elastic_transport

        from pipeline.sources.elasticsearch.transport import Request, TooLateError

        connection, options = self.connection, self.connection.options
        if self._given_up is not None:
            raise self._given_up
        pause = connection.paused_until - time.monotonic()
        if 0 < pause < deadline - time.monotonic():
            time.sleep(pause + random.uniform(0.0, 0.1))  # noqa: S311 - no secret
        left = min(3600.0, deadline - time.monotonic())
        if left <= 0:
            raise self.out_of_time()
        if not connection.gate.acquire(timeout=left):
            raise OutOfTimeError(
                f"{connection.where()}: all of its {options.connections} connections were busy for {left:.1f} s; "
                "raise connections or --budget"
            )
        # While it waited at the gate its time ran on.
        seconds = min(options.timeout, patience or math.inf, max(0.05, deadline - time.monotonic()))
        sent = Request(
            lambda: request(client.options(request_timeout=seconds)),
            connection.gate.release,
            f"{connection.name}:request",
        )
        try:
            sent.start()
        except RuntimeError as error:
            connection.gate.release()
            raise SourceUnavailable(f"{connection.where()}: no more threads can be started: {error}") from error
        try:
            # The socket's own timeout comes first where it comes at all: it knows more of what was waited for.
            answer: ApiResponse[Any] = sent.answer(seconds + 0.05)
        except (TooLateError, elastic_transport.ConnectionTimeout) as error:
            if patience is not None and not was_connecting(error):
                raise self.out_of_time() from error
            if isinstance(error, TooLateError):
                message = "the answer was not complete in time"
                raise elastic_transport.ConnectionTimeout(message) from None
            raise
        return answer

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
            if not was_connecting(error) or time.monotonic() >= self.deadline:
                return self.out_of_time()
            return UnreachableError(f"{where} cannot be reached: nobody accepts the connection; check the address")
        if isinstance(error, elastic_transport.TlsError):
            return SourceUnavailable(f"{where}: TLS failed: {reason}; {tls_advice(error, reason)}")
        if isinstance(error, elastic_transport.ConnectionError):
            # A node that speaks TLS hangs up on whoever does not.
            plain = math.isinf(self.quickest) and any(url.startswith("http:") for url in self.connection.options.urls)
            advice = "the address, https or http," if plain and "closed connection" in reason else "the address"
            return UnreachableError(f"{where} cannot be reached: {reason}; check {advice} and that it runs")
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
        if kinds & REMOTE_GONE:
            return RemoteGoneError(where, f"a remote cluster is away: {reason}")
        if error.status_code == 401:
            return SourceRefused(f"{where} refused the login (401); check api_key, or username and password")
        if error.status_code == 403:
            return SourceRefused(f"{where} forbids this (403): {reason}; the account needs `read` on the indices")
        if error.status_code in BUSY:
            return DeclinedError(
                f"{where} is overloaded or restarting ({error.status_code}): {reason}; try again later"
            )
        if kinds & ASKS_TOO_MUCH:
            return DeclinedError(f"{where} declined ({error.status_code}): {reason}")
        return SourceBroken(f"{where} answered {error.status_code}: {reason}")
