"""Whether a delivery was signed by one of the secrets that hold: HMACs of the raw body, compared in constant time."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime

from pipeline.tickets.system import Incoming, Unverified

# How far a signed timestamp may be from our clock, in seconds: what Standard Webhooks and Zendesk's documentation suggest.
TOLERANCE = 300.0


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


def check_token(request: Incoming, header: str, secrets: Iterable[str]) -> None:
    """Raises `Unverified` unless the header holds one of the secrets."""
    hashed = [hashlib.sha256(secret.encode()).hexdigest() for secret in secrets]
    given = request.headers.get(header)
    check(hashlib.sha256(given.encode()).hexdigest() if given else None, hashed, f"token in {header}")


def check_time(moment: datetime, now: datetime, tolerance: float = TOLERANCE) -> None:
    """Raises `Unverified` where a signed time is too far from now: a delivery that somebody kept and sent again."""
    apart = (now - moment).total_seconds()
    if abs(apart) > tolerance:
        when = "old" if apart > 0 else "early"
        raise Unverified(f"the signature is {abs(apart):.0f} s too {when}; {tolerance:.0f} s are allowed")
