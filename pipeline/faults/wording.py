"""Families of wording: `wordings.toml`, compiled once into one RE2 set, so that a line is read in one pass."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from snapshots.model import Text

# A line of a megabyte says what it says early; the rest is body dumps.
_LONGEST = 8000


@dataclass(frozen=True)
class Family:
    """One way in which software words a fault."""

    id: str
    fault_class: str
    fault_subclass: str
    strength: float
    says: Text
    patterns: tuple[str, ...]


# A callback's signature failing is also "a signature failing": the narrower family stands for both. Likewise a
# certificate that we present is not the server's, and our own rule is not the channel's risk engine.
_NARROWER = {
    "notify_sign": ("sign_invalid", "credential"),
    "cert_invalid": ("tls",),
    "merchant_rule": ("channel_risk", "issuer", "card_data"),
    "internal_config": ("credential", "permission"),
    "idempotency": ("duplicate_request", "invalid_value"),
    "dns": ("connect", "timeout"),
    "tls": ("connect",),
    "amount_mismatch": ("amount_currency",),
    "amount_currency": ("invalid_value", "invalid_format"),
    "missing_param": ("invalid_value",),
    "customer_data": ("invalid_format", "invalid_value"),
    "duplicate_number": ("duplicate_request",),
    "duplicate_charge": ("duplicate_request", "already_paid"),
    "lock": ("qps",),
    "db": ("timeout", "duplicate_request"),
}


@cache
def families() -> tuple[Family, ...]:
    """Every family, in the order of the file."""
    data = tomllib.loads(resources.files("pipeline.faults").joinpath("wordings.toml").read_text("utf-8"))
    return tuple(
        Family(
            id=row["id"],
            fault_class=row["class"],
            fault_subclass=row["subclass"],
            strength=row["strength"],
            says=Text(en=row["en"], zh=row["zh"]),
            patterns=tuple(row["patterns"]),
        )
        for row in data["family"]
    )


def read_wording(text: str) -> list[Family]:
    """The families that `text` matches, narrower ones standing for broader ones; none where it matches none."""
    compiled, owner = _compiled()
    hits = {owner[i].id: owner[i] for i in compiled.Match(text[:_LONGEST]) or ()}
    for narrow, broad in _NARROWER.items():
        if narrow in hits:
            for name in broad:
                hits.pop(name, None)
    return [family for family in families() if family.id in hits]


@cache
def _compiled() -> tuple[Any, tuple[Family, ...]]:
    import re2

    compiled = re2.Set.SearchSet()
    owner = []
    for family in families():
        for pattern in family.patterns:
            compiled.Add("(?i)" + pattern)
            owner.append(family)
    compiled.Compile()
    return compiled, tuple(owner)
