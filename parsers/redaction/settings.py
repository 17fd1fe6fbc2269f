"""What is taken out: the built-in kinds, and the user's own patterns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RedactionSettings:
    """What is taken out beyond the built-in kinds.

    `ip` masks IPv4 and IPv6 addresses as well. `patterns` (name -> one RE2 or several) masks the user's own, such
    as names and addresses: the first group where there is one, else the whole match, becomes `[name]`. `off` names built-in kinds
    to leave alone: private_key, auth, cookie, secret, cvv, jwt, api_key, email, card, bank_account, id_number, iban, phone.
    """

    ip: bool = False
    patterns: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    off: frozenset[str] = frozenset()

    @property
    def own(self) -> tuple[tuple[str, str], ...]:
        """The user's own patterns, each with the name that it is replaced by."""
        return tuple(
            (name, one) for name, many in self.patterns.items() for one in ((many,) if isinstance(many, str) else many)
        )


DEFAULT = RedactionSettings()
