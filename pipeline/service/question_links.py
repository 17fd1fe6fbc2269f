"""Links to the questions of a ticket, and to pictures that came as answers: signed for one ticket, and good for a while."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from pipeline.service.links import signed_link, signer

if TYPE_CHECKING:
    from pipeline.service.options import ServiceOptions

_QUESTIONS, _PICTURE = "intake-questions", "intake-picture"


@dataclass(frozen=True)
class Named:
    """What a link opens: a ticket of a system, and a snapshot, or the sha256 of a picture."""

    system: str
    ticket_id: str
    name: str


class QuestionLinks:
    """Makes the links, and reads them again."""

    def __init__(self, options: ServiceOptions, hold: float) -> None:
        """Links to questions are good for `hold` seconds, those to pictures as long as those to snapshots."""
        self._options = options
        self._hold = hold

    def questions(self, system: str, ticket_id: str, snapshot_id: str) -> str:
        """The link to the questions of a snapshot; nothing where no public address or no secret is configured."""
        return self._link(_QUESTIONS, f"intake/{snapshot_id}", (system, ticket_id, snapshot_id))

    def picture(self, system: str, ticket_id: str, sha256: str) -> str:
        """The link to a picture of a ticket, for who works on it."""
        return self._link(_PICTURE, f"intake/pictures/{sha256}", (system, ticket_id, sha256))

    def read_questions(self, key: str, snapshot_id: str) -> Named | Literal["expired", "invalid"]:
        """Whose questions the key of a link opens; why not, where it opens not these."""
        return self._read(_QUESTIONS, key, snapshot_id, self._hold)

    def read_picture(self, key: str, sha256: str) -> Named | Literal["expired", "invalid"]:
        """The same for a picture."""
        return self._read(_PICTURE, key, sha256, self._options.links_hold)

    def _link(self, salt: str, path: str, named: tuple[str, str, str]) -> str:
        return signed_link(self._options, salt, path, named)

    def _read(self, salt: str, key: str, name: str, hold: float) -> Named | Literal["expired", "invalid"]:
        import itsdangerous

        signing = signer(self._options, salt)
        if signing is None:
            return "invalid"
        try:
            system, ticket_id, named = msgspec.convert(signing.loads(key, max_age=int(hold)), tuple[str, str, str])
        except itsdangerous.SignatureExpired:
            return "expired"
        except (itsdangerous.BadData, msgspec.ValidationError):
            return "invalid"
        return Named(system, ticket_id, named) if named == name else "invalid"
