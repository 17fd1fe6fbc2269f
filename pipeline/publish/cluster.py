"""Requests to the cluster, tried again after what passes, and our errors for what does not."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

from pipeline.errors import NotPublished, Refused, SnapshotError, SourceError, TargetUnreachable, UsageError
from pipeline.publish.options import DEFAULT_INDEX, PublishOptions

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch


_PASSING = frozenset({429, 502, 503, 504})


class Cluster:
    """The cluster that is published to, asked again after what passes; what fails leaves as one of our errors."""

    def __init__(self, options: PublishOptions) -> None:
        self.options = options
        self.connection = options.connection()
        # Imported here: the settings, which only want the options, need not pay for it.
        from pipeline.sources.elasticsearch import ElasticsearchSource

        self.source = ElasticsearchSource("publish", self.connection)
        self.index = options.index
        # The status of the last answer that was an error.
        self.status = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.source.close()

    @property
    def place(self) -> str:
        """The index and the cluster, for people."""
        return f"{self.index} at {self.connection.places}"

    def ask(self, request: Callable[[Elasticsearch], Any], what: str, accept: Iterable[int] = ()) -> Any:
        """What `request` is answered with, or None where it is answered by a status of `accept`.

        It is tried again after 429, 502, 503, 504, a lost connection or a timeout: all that is asked may be asked twice.
        Foreign errors leave as ours. `what` completes "the account lacks the right".
        """
        import elastic_transport
        import tenacity
        from elasticsearch import ApiError

        options = self.options
        began = time.monotonic()

        def is_passing(error: BaseException) -> bool:
            if isinstance(error, ApiError):
                return error.status_code in _PASSING
            lost = isinstance(error, elastic_transport.ConnectionError | elastic_transport.ConnectionTimeout)
            return lost and not isinstance(error, elastic_transport.TlsError)

        def is_too_late(state: tenacity.RetryCallState) -> bool:
            late = time.monotonic() + state.upcoming_sleep >= began + 2 * options.timeout
            return state.attempt_number > options.retries or late

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_passing),
            wait=tenacity.wait_exponential(multiplier=0.2, max=5.0) + tenacity.wait_random(0.0, 0.2),
            stop=is_too_late,
            reraise=True,
        )
        self.status = 0
        try:
            client = self.source.client().options(request_timeout=options.timeout)
            answer = retrying(request, client)
        except SourceError as error:
            raise NotPublished(f"publish: {self._clean(str(error))}") from None
        except ApiError as error:
            self.status = error.status_code
            kinds, reason = _root_cause(error.body)
            if error.status_code in accept and "cluster_block_exception" not in kinds:
                return None
            if "resource_already_exists_exception" in kinds:
                return {}
            raise self._from_status(error, kinds, self._clean(reason), what) from None
        except elastic_transport.TransportError as error:
            raise self._from_transport(error) from None
        body = answer.body if isinstance(answer, elastic_transport.ApiResponse) else answer
        if not isinstance(body, dict | list):
            raise NotPublished(f"{self.place} answered no JSON; check the address, and any proxy before it")
        return body

    def _from_transport(self, error: Any) -> SnapshotError:
        import elastic_transport

        reason = self._clean(str(error.message))
        if isinstance(error, elastic_transport.ConnectionTimeout):
            return TargetUnreachable(f"{self.place} did not answer within {self.options.timeout:g} s; try again later")
        if isinstance(error, elastic_transport.TlsError):
            advice = "check publish.ca_certs, the fingerprint and the client certificate"
            return TargetUnreachable(f"{self.place}: TLS failed: {reason}; {advice}")
        if isinstance(error, elastic_transport.ConnectionError):
            return TargetUnreachable(f"{self.place} cannot be reached: {reason}; check the address and that it runs")
        return NotPublished(f"{self.place} answered something that is not JSON; is it Elasticsearch?")

    def _from_status(self, error: Any, kinds: set[str], reason: str, what: str) -> SnapshotError:
        from elasticsearch import UnsupportedProductError

        if isinstance(error, UnsupportedProductError):
            return NotPublished(
                f"{self.place} is not Elasticsearch: its answers lack the product header; check the address"
            )
        if error.status_code == 401:
            return Refused(f"{self.place} refused the login (401); check publish.api_key, or username and password")
        return self._error(error.status_code, kinds, reason, what)

    def _error(self, status: int, kinds: set[str], reason: str, what: str) -> SnapshotError:
        """Our error for a status, be it a request's or one document's."""
        if "creates data streams only" in reason or "allowed in data streams" in reason:
            return self.is_stream()
        if "no write index is defined" in reason:
            return self.no_write_index(())
        if "cluster_block_exception" in kinds:
            return NotPublished(
                f"{self.place} is closed for writing: {reason} Lift the block (index.blocks.*), or free disk space"
            )
        if status == 403:
            return Refused(
                f"{self.place}: this account lacks the right {what} (403): {reason}; "
                "give it `read`, `index`, `delete` and `view_index_metadata` on the index"
            )
        if status in _PASSING:
            return TargetUnreachable(f"{self.place} is overloaded or restarting ({status}): {reason}; try again later")
        return NotPublished(f"{self.place} answered {status}: {reason}")

    def reason(self, name: str, status: int, error: Any) -> str:
        """Why a document was not taken. Raises where no other would be either."""
        kinds, reason = _root_cause({"error": error})
        told = self._error(status, kinds, self._clean(reason), "to write documents")
        if isinstance(told, Refused | UsageError):
            raise told
        return f"{name}: {told}"

    def _clean(self, text: str) -> str:
        """`text` without any of our secrets, also as a login is sent."""
        connection = self.connection
        if connection.username and connection.password:
            sent = base64.b64encode(f"{connection.username}:{connection.password}".encode()).decode()
            text = text.replace(sent, "***")
        return self.source.clean(text)

    def is_stream(self) -> UsageError:
        """The name stands for a data stream."""
        return UsageError(
            f"publish.index: {self.index} is a data stream, or a template makes it one; it refuses documents with an id of "
            "their own and changes to them, so a snapshot would be there twice. Name an index, such as "
            f"{DEFAULT_INDEX}, that no data stream's template matches"
        )

    def no_write_index(self, found: Sequence[str]) -> UsageError:
        """The name is an alias of `found`, of which none is to be written to."""
        named = f" of {', '.join(found[:3])}{' and more' if len(found) > 3 else ''}" if found else ""
        return UsageError(
            f"publish.index: {self.index} is an alias{named} without an index to write to; "
            "set is_write_index for one of them, or name the index itself"
        )


def _root_cause(body: Any) -> tuple[set[str], str]:
    """The error types in an Elasticsearch error, and one reason for people."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return set(), (str(error) if error else "no reason given")[:300]
    causes = [error]
    while isinstance(causes[-1].get("caused_by"), dict):
        causes.append(causes[-1]["caused_by"])
    reasons = [str(cause["reason"]) for cause in causes if cause.get("reason")]
    causes += [cause for cause in error.get("root_cause", ()) if isinstance(cause, dict)]
    # The outer reason names the document or the field, the inner one what is wrong with it.
    shown = ": ".join(dict.fromkeys([*reasons[:1], *reasons[-1:]]))
    return {str(cause.get("type")) for cause in causes}, (shown or "no reason given")[:400]
