"""What a field's name says about its value: that it is secret, or a phone or a card."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from parsers.redaction.numbers import ID_CUE, PHONE_CUE
from parsers.redaction.strings import compiled_once
from parsers.redaction.words import SECRET_KEYS

_SECRET_NAME = rf"(?i)^(?:.*[_.-])?{SECRET_KEYS}$|(?i)^[a-z]+(?:Password|Secret|Token|ApiKey|PrivateKey)$"
_HEADER_NAME = r"(?i)^(?:.*[ ._-])?authorization$"
_COOKIE_NAME = r"(?i)^(?:.*[ ._-])?cookies?$"
_CVV_NAME = r"(?i)^(?:.*[ ._-])?(?:cvv2?|cvc2?|cvn2?|card_?security_?code|security_?code)$"
CARD_NAMES = (
    r"(?:card[ _-]?(?:no|num|number)|pan|(?:credit|debit)[ _-]?card(?:[ _-]?(?:no|num|number))?"
    r"|bank[ _-]?card(?:[ _-]?(?:no|num|number))?|卡号|银行卡号?)"
)
_CARD_NAME = rf"(?i)^(?:.*[ _.-])?{CARD_NAMES}$"
PHONE_NAMES = r"(?-i)[a-z](?:Phone|Mobile|Telephone|Tel)(?:No|Num|Number)?"
_PHONE_NAME = rf"(?i)^(?:.*[ _.-])?{PHONE_CUE}$|{PHONE_NAMES}$"
_ID_NAME = rf"(?i)^(?:.*[ _.-])?{ID_CUE}$"


# Keys repeat from row to row.
@lru_cache(maxsize=4096)
def secret_kind(key: str) -> str | None:
    """The kind of secret that a field of this name holds, or None."""
    for kind, pattern in (
        ("secret", _SECRET_NAME),
        ("auth", _HEADER_NAME),
        ("cookie", _COOKIE_NAME),
        ("cvv", _CVV_NAME),
    ):
        if compiled_once(pattern).search(key):
            return kind
    return None


@lru_cache(maxsize=4096)
def _cue(key: str) -> str:
    if compiled_once(_PHONE_NAME).search(key):
        return "phone: "
    if compiled_once(_ID_NAME).search(key):
        return "id card: "
    return "card_no: " if compiled_once(_CARD_NAME).search(key) else ""


def key_of(mapping: Mapping[Any, Any], name: str, above: str) -> str:
    """The key that says what the value under `name` is, which is not always `name`.

    Ticket systems write fields as `{"id": "phone", "value": "..."}`, and all that lies below a secret's name is secret.
    """
    if name == "value":
        label = next((mapping[key] for key in ("id", "name", "key") if isinstance(mapping.get(key), str)), None)
        return label or above or name
    return above if secret_kind(above) else name


def with_cue(key: str, text: str) -> str:
    """`text` behind the word for its field where the field is a phone or a card: a number needs the word to be seen."""
    return _cue(key) + text
