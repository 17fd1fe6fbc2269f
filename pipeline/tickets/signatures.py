"""Whether a delivery was signed by one of the secrets that hold: HMACs of the raw body, compared in constant time."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipeline.tickets.system import Incoming, Unverified

if TYPE_CHECKING:
    from pipeline.tickets._api import SystemOptions

# How far a signed timestamp may be from our clock, in seconds: what Standard Webhooks and Zendesk's documentation suggest.
TOLERANCE = 300.0

# A sender that changes its key signs with two; more than these nobody has to check.
_SIGNATURES = 10
_DIGITS = 16
# As seconds this would be the year 5138.
_MILLISECONDS = 10**11


def to_verify(name: str, options: SystemOptions) -> bool:
    """Whether deliveries carry a signature that has to match; False where unsigned ones are taken on purpose.

    Raises `Unverified` where neither was configured: then nothing is taken.
    """
    if options.secrets:
        return True
    if options.insecure:
        return False
    raise Unverified(
        f"[tickets.{name}] has no secrets, so that no delivery can be verified: set secrets, or insecure = true where"
        " the system cannot sign and the network is trusted"
    )


def hexed(secret: str, data: bytes, digest: str = "sha256") -> str:
    """The HMAC of `data`, as lower-case hex digits.

    >>> hexed("It's a Secret to Everybody", b"Hello, World!")
    '757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17'
    """
    return hmac.new(secret.encode(), data, digest).hexdigest()


def based(secret: str, data: bytes, digest: str = "sha256") -> str:
    """The HMAC of `data`, as base64."""
    return base64.b64encode(hmac.new(secret.encode(), data, digest).digest()).decode()


def check(given: str | None, wanted: Iterable[str], what: str) -> None:
    """Raises `Unverified` unless `given` is one of `wanted`; each is compared, in constant time."""
    if not given:
        raise Unverified(f"the request has no {what}")
    matches = [hmac.compare_digest(given.encode(), one.encode()) for one in wanted]
    if not any(matches):
        raise Unverified(f"the {what} does not match")


def check_token(given: str | None, secrets: Iterable[str], what: str) -> None:
    """Raises `Unverified` unless `given` is one of the secrets; hashes are compared, which have the same length."""
    check(_hashed(given) if given else None, map(_hashed, secrets), what)


def credential(request: Incoming) -> str | None:
    """The token or the password of an `Authorization` header; None where there is none that can be read."""
    scheme, _, value = request.headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":
        return value.strip() or None
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2] or None
    except ValueError:
        return None


def check_time(moment: datetime, now: datetime, tolerance: float = TOLERANCE) -> None:
    """Raises `Unverified` where a signed time is too far from now: a delivery that somebody kept and sent again."""
    apart = (now - moment).total_seconds()
    if abs(apart) > tolerance:
        when = "old" if apart > 0 else "early"
        raise Unverified(f"the signature is {abs(apart):.0f} s too {when}; {tolerance:.0f} s are allowed")


def check_standard(request: Incoming, secrets: Iterable[str]) -> None:
    """Raises `Unverified` unless the request is signed as Standard Webhooks say, by one of the secrets, in these five minutes.

    The signature covers `id.timestamp.body`; there may be several, separated by spaces. Secrets are base64, most of them after
    `whsec_`. `v1a` (Ed25519) is not supported. https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """
    from standardwebhooks import Webhook

    headers = request.headers
    message, stamp, given = (headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    if not (message and stamp and given):
        raise Unverified("the request lacks webhook-id, webhook-timestamp or webhook-signature")
    moment = signed_time(stamp)
    check_time(moment, request.received_at)
    try:
        body = request.body.decode()
        wanted = [Webhook(secret).sign(message, moment, body) for secret in secrets]
    except UnicodeDecodeError as error:
        raise Unverified("the body is not UTF-8, which a signed JSON body is") from error
    except (binascii.Error, ValueError, RuntimeError) as error:
        raise Unverified("a configured secret is no base64, so that nothing can be verified with it") from error
    matches = [
        hmac.compare_digest(one.encode(), other.encode()) for one in given.split(" ")[:_SIGNATURES] for other in wanted
    ]
    if not any(matches):
        raise Unverified("no signature of webhook-signature matches")


def signed_time(text: str) -> datetime:
    """A signed timestamp: seconds or milliseconds since 1970, or ISO 8601. Raises `Unverified`.

    >>> signed_time("1674087231").isoformat(), signed_time("2023-01-19T00:13:51Z").isoformat()
    ('2023-01-19T00:13:51+00:00', '2023-01-19T00:13:51+00:00')
    """
    try:
        if text.isascii() and text.isdecimal():
            number = int(text[:_DIGITS])
            return datetime.fromtimestamp(number / 1000 if number > _MILLISECONDS else number, tz=UTC)
        time = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError) as error:
        raise Unverified(f"the signed timestamp {text[:40]!r} is no time") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
