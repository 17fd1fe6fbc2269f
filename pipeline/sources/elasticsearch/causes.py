"""Why a request failed: what Elasticsearch, the client and TLS say of it, whether it may pass, and what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

BUSY = frozenset({429, 502, 503, 504})
# What a cluster says of a request that asks more of it than its limits allow.
ASKS_TOO_MUCH = frozenset({"too_many_buckets_exception", "circuit_breaking_exception", "too_many_clauses"})
# What a cluster says of another one that it was to ask. It is told at once: asking again takes the time of the others.
REMOTE_GONE = frozenset({
    "connect_transport_exception", "no_such_remote_cluster_exception", "no_seed_node_left_exception",
})  # fmt: skip


def root_cause(body: Any) -> tuple[set[str], str]:
    """The error types in an Elasticsearch error, and one reason for people: the innermost that says anything."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return set(), (str(error) if error else "no reason given")[:300]
    causes = list(_causes(error))
    reasons = [reason for cause in reversed(causes) if (reason := _reason_of(cause))]
    kinds = [str(cause["type"]) for cause in causes if cause.get("type")]
    return set(kinds), [*reasons, *reversed(kinds), "no reason given"][0][:300]


def _causes(error: Any) -> Iterator[dict[str, Any]]:
    """`error`, then what it says of its causes, then what each failed shard says."""
    if not isinstance(error, dict):
        return
    yield error
    yield from _causes(error.get("caused_by"))
    for one in _list(error.get("root_cause")):
        yield from _causes(one)
    for shard in _list(error.get("failed_shards")):
        yield from _causes(shard.get("reason") if isinstance(shard, dict) else None)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _reason_of(cause: dict[str, Any]) -> str:
    """Its reason, or nothing where that is empty or speaks of none: `[node][address] ` alone, `null`, `None`."""
    reason = cause.get("reason")
    return reason.strip() if isinstance(reason, str) and reason.strip() not in {"", "null", "None"} else ""


def reason_of_shard(failure: Mapping[str, Any]) -> tuple[str, str]:
    """(type, reason for people) of a shard that failed."""
    causes = list(_causes(failure.get("reason")))
    kind = str(causes[0].get("type") or "") if causes else ""
    reason = next((reason for cause in reversed(causes) if (reason := _reason_of(cause))), "")
    return kind, reason or kind or "no reason given"


def _is_lasting(body: Any) -> bool:
    """Whether a breaker says that waiting does not help: what it counts is there to stay.

    `durability` is TRANSIENT or PERMANENT: org.elasticsearch.common.breaker.CircuitBreaker.Durability.
    """
    error = body.get("error") if isinstance(body, dict) else None
    return any(cause.get("durability") == "PERMANENT" for cause in _causes(error))


def is_passing(error: BaseException) -> bool:
    """Whether the same request may be answered a moment later."""
    import elastic_transport
    from elasticsearch import ApiError

    if isinstance(error, ApiError):
        return error.status_code in BUSY and not _is_lasting(error.body) and not root_cause(error.body)[0] & REMOTE_GONE
    if isinstance(error, elastic_transport.TlsError):
        return False
    return isinstance(error, elastic_transport.ConnectionError | elastic_transport.ConnectionTimeout)


def retry_after(error: Any) -> float:
    """Seconds that the answer asks to wait (RFC 9110, 10.2.3: seconds or a date), 0 where it does not."""
    import urllib3

    with contextlib.suppress(urllib3.exceptions.InvalidHeader):
        return float(urllib3.Retry().parse_retry_after(error.meta.headers.get("retry-after") or "0"))
    return 0.0


def _chain(error: BaseException) -> Iterator[BaseException]:
    """`error` and what led to it."""
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__, *getattr(one, "errors", ()), *one.args]


def was_connecting(error: BaseException) -> bool:
    """Whether what took too long was the connection itself."""
    import urllib3

    return any(isinstance(one, urllib3.exceptions.ConnectTimeoutError) for one in _chain(error))


def tls_advice(error: BaseException, reason: str) -> str:
    """What to do about a handshake that failed, by what the library says of the certificate.

    The numbers are OpenSSL's, https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/
    """
    import ssl

    codes = {one.verify_code for one in _chain(error) if isinstance(one, ssl.SSLCertVerificationError)}
    text = reason.lower()
    if codes & {62, 64} or "mismatch" in text or "doesn't match" in text:
        return "check the host name in the url: it must be one of those that the certificate is for"
    if 10 in codes or "expired" in text:
        return "the certificate must be renewed (and check this machine's clock)"
    if 9 in codes or "not yet valid" in text:
        return "the certificate is not valid yet; check this machine's clock"
    if codes & {18, 19, 20, 21} or "self-signed" in text or "self signed" in text or "issuer" in text:
        return "the authority is unknown; check ca_certs, which must hold the certificate of the one that signed"
    if "wrong_version_number" in text or "wrong version number" in text or "http request" in text:
        return "nobody speaks TLS there; check the address: perhaps it begins with http://"
    return "check ca_certs, the fingerprint and the client certificate"
