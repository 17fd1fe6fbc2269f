"""What the desk asks a customer's machine for: one JSON file that people can read, signed by the desk.

    {"manifest": {...}, "signature": {"key": "ed25519:...", "value": "..."}}

Signed is the manifest's canonical JSON (sorted keys, UTF-8, no space) by Ed25519, RFC 8032. The desk's key comes from the secret of
`[service]`, so that there is no second secret to keep; whoever has the key's name alone can check a signature and make none.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec

from pipeline.errors import Refused, UsageError
from snapshots.model import Text, canonical_json, sha256_hex

Format = Literal["problem-snapshot collection 1"]
FORMAT: Format = "problem-snapshot collection 1"
# A manifest is some kilobytes; what is larger is another file.
MAX_BYTES = 1 << 20
_KEY = "ed25519:"

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be read, cut and sent, for which ticket, until when.

    `paths` are files or globs (`**` for folders below); `start` and `end` bound the records' times, UTC, half-open. `max_bytes`
    bounds the text that is taken and the bundle that is sent, `max_files` the files. `redact_ip` and `redact` (kind -> RE2) are masked beside
    what always is; the identifiers in `keep` stay readable. `upload` takes the bundle, and `key` opens it. `screen` is a
    link to the desk's screen sharing, or empty.
    """

    format: Format = FORMAT
    id: Annotated[str, msgspec.Meta(pattern=r"^c[0-9a-f]{16}$")]
    desk: Name
    system: Name
    ticket: Name
    title: str = ""
    language: Literal["en", "zh"] = "en"
    created_at: str
    paths: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1, max_length=200)]
    start: str
    end: str
    max_bytes: Annotated[int, msgspec.Meta(ge=1)]
    max_files: Annotated[int, msgspec.Meta(ge=1)]
    redact_ip: bool = False
    redact: dict[str, tuple[str, ...]] = {}
    keep: tuple[str, ...] = ()
    upload: str
    key: str
    screen: str = ""
    issued_at: str
    expires_at: str
    consent: Text

    @property
    def span(self) -> tuple[datetime, datetime]:
        """Start and end, aware."""
        return moment(self.start), moment(self.end)

    @property
    def digest(self) -> str:
        """The sha256 of the canonical JSON, by which a bundle names what it answers."""
        return sha256_hex(canonical_json(self))

    @property
    def most_sent(self) -> int:
        """How large the bundle may be: what text that cannot be compressed takes in a zip, with its list."""
        return self.max_bytes + self.max_bytes // 1000 + (4 << 20)

    def expired(self, now: datetime) -> bool:
        """Whether the desk takes nothing for it any more."""
        return now >= moment(self.expires_at)


class _Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: str
    value: str


class _Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    # As it came: what is signed is what stands there, not what a reader of this version makes of it.
    manifest: msgspec.Raw
    signature: _Signature


@dataclass(frozen=True)
class Opened:
    """A manifest whose signature holds, and the name of the key that signed it."""

    manifest: Manifest
    key: str


def moment(text: str) -> datetime:
    """A time with its offset, in UTC. Raises `ValueError`.

    >>> moment("2026-11-23T10:00:00+08:00").isoformat()
    '2026-11-23T02:00:00+00:00'
    """
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text!r} has no offset")
    return found.astimezone(UTC)


def stamp(value: datetime) -> str:
    """A time as manifests have it: UTC, to the second.

    >>> stamp(datetime(2026, 11, 23, 2, 0, tzinfo=UTC))
    '2026-11-23T02:00:00Z'
    """
    return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def key_name(secret: str) -> str:
    """The name of the key that `secret` signs with: all that is needed to check a signature."""
    return _name_of(_private(secret).public_key())


def sign(manifest: Manifest, secret: str) -> bytes:
    """The manifest as a signed file."""
    private = _private(secret)
    told = {
        "manifest": msgspec.to_builtins(manifest),
        "signature": {
            "key": _name_of(private.public_key()),
            "value": base64.urlsafe_b64encode(private.sign(canonical_json(manifest))).decode(),
        },
    }
    return msgspec.json.format(msgspec.json.encode(told), indent=1) + b"\n"


def open_manifest(data: bytes, name: str, *, key: str | None = None) -> Opened:
    """The manifest of a signed file that is called `name`.

    With `key` it must be signed by that one. Raises `UsageError` for what is no manifest, `Refused` where it was changed after
    it was signed, or signed by another.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        signed = msgspec.json.decode(data, type=_Signed)
        value: Any = msgspec.json.decode(signed.manifest)
        public = Ed25519PublicKey.from_public_bytes(_raw(signed.signature.key))
        signature = base64.urlsafe_b64decode(signed.signature.value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise UsageError(f"{name}: is no manifest of a desk ({error}); ask for it again") from error
    try:
        public.verify(signature, canonical_json(value))
    except InvalidSignature as error:
        raise Refused(f"{name}: was changed after the desk signed it; nothing was read. Ask for it again") from error
    if key is not None and not hmac.compare_digest(key.strip(), signed.signature.key):
        raise Refused(f"{name}: is signed by {signed.signature.key}, not by {key.strip()}; nothing was read")
    try:
        manifest = msgspec.convert(value, Manifest)
        start, end = manifest.span
        moment(manifest.expires_at)
        moment(manifest.created_at)
    except (msgspec.ValidationError, ValueError) as error:
        raise UsageError(f"{name}: cannot be read by this version ({error}); update problem-snapshot") from error
    if start >= end:
        raise UsageError(f"{name}: asks for {manifest.start} to {manifest.end}, which is no span of time")
    return Opened(manifest, signed.signature.key)


def is_safe_address(url: str) -> bool:
    """Whether logs may be sent there: by https, or to this machine itself.

    >>> [is_safe_address(f"{url}/x") for url in ("https://a.example", "http://a.example", "http://127.0.0.1:8750")]
    [True, False, True]
    """
    place = urlsplit(url)
    return place.scheme == "https" or (place.scheme == "http" and place.hostname in {"127.0.0.1", "::1", "localhost"})


def _private(secret: str) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    # The secret signs links as well: what is made for one purpose is of no use for the other.
    seed = hmac.new(secret.encode(), FORMAT.encode(), hashlib.sha256).digest()
    return Ed25519PrivateKey.from_private_bytes(seed)


def _name_of(public: Any) -> str:
    return _KEY + base64.urlsafe_b64encode(public.public_bytes_raw()).decode().rstrip("=")


def _raw(name: str) -> bytes:
    if not name.startswith(_KEY):
        raise ValueError(f"{name[:40]!r} names no key of a kind that is known")
    text = name.removeprefix(_KEY)
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
