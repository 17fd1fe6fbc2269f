"""Any system that sends JSON by HTTP: what its deliveries hold, how they are signed and how it is called back is configured.

A signature is an HMAC of the raw body, alone or with a timestamp and an id, as most senders do it; or a token that both know.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Literal

import msgspec

from pipeline.tickets._mapped import MappedOptions, MappedSystem
from pipeline.tickets._payload import decode
from pipeline.tickets.signatures import based, check, check_time, check_token, hexed, signed_time
from pipeline.tickets.system import Incoming, Unverified

_HEADER = re.compile(r"[A-Za-z0-9-]{1,100}", re.ASCII)
_PART = re.compile(rb"\{(\w+)\}")
_PARTS = frozenset({"body", "timestamp", "id"})


class Signature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a delivery is signed.

    `header` holds the signature: `prefix` and an HMAC by `algorithm`, written as `encoding` says; or with the algorithm `token` the
    secret itself. `signed` is what the HMAC is of: `{body}`, `{timestamp}` from `timestamp_header` (seconds or milliseconds since 1970,
    or ISO 8601; five minutes are allowed) and `{id}` from `id_header`.
    """

    header: str
    algorithm: Literal["sha1", "sha256", "sha384", "sha512", "token"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""
    timestamp_header: str = ""
    id_header: str = ""
    signed: str = "{body}"

    def __post_init__(self) -> None:
        """Refuses what would sign nothing, or not what it seems to."""
        for name in ("header", "timestamp_header", "id_header"):
            value = getattr(self, name)
            if (value or name == "header") and not _HEADER.fullmatch(value):
                raise ValueError(f"signature.{name}: {value!r} is no header's name")
        named = {part.decode() for part in _PART.findall(self.signed.encode())}
        if unknown := sorted(named - _PARTS):
            raise ValueError(
                f"signature.signed: {{{unknown[0]}}} stands for nothing; there are {{body}}, {{timestamp}}, {{id}}"
            )
        if self.algorithm == "token":
            return
        if "body" not in named:
            raise ValueError("signature.signed has no {body}: then anything could be sent with a signature once seen")
        for part, header in (("timestamp", self.timestamp_header), ("id", self.id_header)):
            # An id that is not signed may still tell deliveries apart; a time that is not signed proves nothing.
            if (part in named) > bool(header) or (part == "timestamp" and bool(header) > (part in named)):
                raise ValueError(f"signature: {part}_header and {{{part}}} in signed go together")

    def verify(self, request: Incoming, secrets: tuple[str, ...]) -> None:
        """Raises `Unverified` unless the request carries a signature by one of `secrets`."""
        header = self.header.lower()
        given = request.headers.get(header)
        if not given or not given.startswith(self.prefix):
            raise Unverified(
                f"the request has no {self.header}" + (f" that begins with {self.prefix!r}" if given else "")
            )
        bare = given[len(self.prefix) :]
        if self.algorithm == "token":
            check_token(bare, secrets, f"token in {header}")
            return
        parts = {b"body": request.body}
        for part, name in ((b"timestamp", self.timestamp_header), (b"id", self.id_header)):
            if name and not request.headers.get(name.lower()):
                raise Unverified(f"the request has no {name}")
            parts[part] = request.headers.get(name.lower(), "").encode() if name else b""
        data = _PART.sub(lambda found: parts[found[1]], self.signed.encode())
        write = hexed if self.encoding == "hex" else based
        bare = bare.lower() if self.encoding == "hex" else bare
        check(bare, (write(secret, data, self.algorithm) for secret in secrets), f"signature in {self.header}")
        if self.timestamp_header:
            check_time(signed_time(parts[b"timestamp"].decode()), request.received_at)


class Options(MappedOptions, tag="generic", tag_field="kind", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`signature` says how deliveries are signed by `secrets`; the rest is that of `MappedOptions`."""

    signature: Signature | None = None

    def __post_init__(self) -> None:
        """Refuses secrets that nothing is verified with."""
        super().__post_init__()
        if self.secrets and self.signature is None:
            raise ValueError("signature is missing: it says how secrets are used")


class GenericSystem(MappedSystem):
    """A ticket system that the configuration describes whole."""

    kind = "generic"
    title = "the ticket system"
    _options: Options

    def _verify(self, request: Incoming) -> None:
        if self._options.signature is None:
            raise Unverified(f"[tickets.{self.name}] has no signature, so that no delivery can be verified")
        self._options.signature.verify(request, self._options.secrets)

    def _document(self, request: Incoming) -> tuple[dict[str, Any], str | None]:
        signature = self._options.signature
        document, headers = decode(request.body), request.headers
        if signature and signature.id_header:
            return document, headers.get(signature.id_header.lower())
        if signature and signature.timestamp_header and not self._options.event.delivery:
            # Two changes may have the same body; what was signed at another time is not the same delivery.
            sent = headers.get(signature.timestamp_header.lower(), "")
            return document, f"{sent}:{hashlib.sha256(request.body).hexdigest()}"
        return document, None
