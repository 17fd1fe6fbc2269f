"""What a collected bundle says of itself: `manifest.json` in it, and the consent that it rests on.

It is sealed with the key of the upload's link (HMAC-SHA256 over its canonical JSON without the seal), so that what was taken is
what whoever holds the link says was taken, and the sha256 of each file stands in it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import datetime
from typing import IO, Annotated, Any, Literal

import msgspec

from pipeline.remote.manifest import FORMAT, Format, Manifest, Name, stamp
from pipeline.version import __version__
from snapshots.model import Text, canonical_json, sha256_hex
from snapshots.words import Language, text_in

Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
# So many things that were left are named one by one; the others are counted.
LISTED = 2000


class Consent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who decided, when (UTC), and which text was shown in which language. Refused, nothing is read."""

    decision: Literal["given", "refused"]
    who: Name
    at: str
    language: Literal["en", "zh"]
    text_sha256: Sha256
    # Of the manifest that was shown.
    asked_sha256: Sha256


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One file of the bundle, uncompressed."""

    bytes: Annotated[int, msgspec.Meta(ge=0)]
    sha256: Sha256


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one file of the machine: records kept, outside of the time asked for, and without any time.

    `broke` says why it could not be read to its end, `cut` that the bound of the manifest was reached in it.
    """

    path: str
    file: str | None
    kept: int
    outside: int
    undated: int
    broke: str | None = None
    cut: bool = False


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """What was named and not taken."""

    path: str
    why: Text


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of `manifest.json`. `offset` is the zone of plain files' times, in minutes east of UTC."""

    format: Format = FORMAT
    tool: str = "problem-snapshot"
    tool_version: str = __version__
    collection: str
    asked_sha256: Sha256
    system: str
    ticket: str
    start: str
    end: str
    offset: int
    consent: Consent
    files: dict[str, File]
    taken: tuple[Taken, ...]
    left: tuple[LeftOut, ...]
    left_more: int = 0
    # Kind -> values that were masked, and what the desk still found when it looked once more.
    masked: dict[str, int]
    masked_again: dict[str, int] = {}
    seal: str = ""

    @property
    def records(self) -> int:
        """How many records were taken in all."""
        return sum(one.kept for one in self.taken)


def consent_of(
    manifest: Manifest, decision: Literal["given", "refused"], who: str, at: datetime, language: Literal["en", "zh"]
) -> Consent:
    """The record of a decision on `manifest`, whose text was shown in `language`."""
    return Consent(
        decision=decision,
        who=who,
        at=stamp(at),
        language=language,
        text_sha256=text_sha256(manifest, language),
        asked_sha256=manifest.digest,
    )


def text_sha256(manifest: Manifest, language: Language) -> str:
    """The sha256 of the consent text in a language."""
    return sha256_hex(text_in(manifest.consent, language).encode())


def answers(consent: Consent, manifest: Manifest) -> bool:
    """Whether a decision is on this manifest and on the text that stands in it."""
    return consent.asked_sha256 == manifest.digest and consent.text_sha256 == text_sha256(manifest, consent.language)


def sealed(receipt: Receipt, key: str) -> Receipt:
    """The receipt with its seal."""
    return msgspec.structs.replace(receipt, seal=_seal(receipt, key))


def is_sealed(receipt: Receipt, key: str) -> bool:
    """Whether the seal is of this receipt and this key."""
    return hmac.compare_digest(receipt.seal.encode(), _seal(receipt, key).encode())


def repr_digest(file: IO[bytes]) -> str:
    """The sha256 of what a file still holds, as `Repr-Digest` (RFC 9530) writes it: what both sides call a bundle by."""
    told: Any = file
    return f"sha-256=:{base64.b64encode(hashlib.file_digest(told, 'sha256').digest()).decode()}:"


def _seal(receipt: Receipt, key: str) -> str:
    told = canonical_json(msgspec.structs.replace(receipt, seal=""))
    return hmac.new(key.encode(), told, hashlib.sha256).hexdigest()
