"""Numbers that are personal data: cards, bank accounts, identity numbers, IBANs and phones.

Sources: Luhn ISO/IEC 7812-1; identity number GB 11643-1999 (ISO 7064 MOD 11-2); IBAN ISO 13616 (MOD 97-10) with the
lengths of the SWIFT registry; phone numbers by `phonenumbers` (libphonenumber's tables).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import re2

from parsers.redaction.words import ESCAPED, ESCAPED_IS, IS_SIGN

_CARD_SHAPE = (
    r"(?:4\d{3}[ -]?\d{4}[ -]?\d{4}[ -]?\d{4}(?:[ -]?\d{3})?|4\d{12}|5[1-5]\d{2}[ -]?\d{4}[ -]?\d{4}[ -]?\d{4}"
    r"|2[2-7]\d{2}[ -]?\d{4}[ -]?\d{4}[ -]?\d{4}|3[47]\d{2}[ -]?\d{6}[ -]?\d{5}"
    r"|3(?:0[0-5]|[68]\d)\d[ -]?\d{6}[ -]?\d{4}"
    r"|35\d{2}[ -]?\d{4}[ -]?\d{4}[ -]?\d{4}|6\d{3}[ -]?\d{4}[ -]?\d{4}[ -]?\d{4}(?:[ -]?\d{1,3})?)"
)
_OPEN = rf"(^|[^0-9A-Za-z_.\-…]|{ESCAPED})"
_ID_SHAPE = r"[1-9]\d{5}[ -]?(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[ -]?\d{3}[0-9Xx]"
# SWIFT registry: total length -> countries.
_IBAN_LENGTHS = {
    15: "NO", 16: "BE", 18: "DK|FO|FI|GL|NL|SD|FK", 19: "MK|SI", 20: "AT|BA|EE|KZ|XK|LT|LU|MN", 21: "HR|LV|LI|CH",
    22: "BH|BG|CR|GE|DE|IE|ME|RS|GB|VA", 23: "TL|GI|IQ|IL|AE|OM|SO", 24: "AD|CZ|MD|PK|RO|SA|SK|ES|SE|TN|VG",
    25: "LY|PT|ST", 26: "IS|TR", 27: "FR|GR|IT|MR|MC|SM|BI|DJ", 28: "AL|AZ|BY|CY|DO|SV|GT|HU|LB|PL|NI",
    29: "BR|EG|PS|QA|UA",
    30: "JO|KW|MU|YE", 31: "MT|SC", 32: "LC", 33: "RU",
}  # fmt: skip
_IBAN_SHAPE = "(?:" + "|".join(rf"(?:{c})\d{{2}}(?: ?[0-9A-Z]){{{n - 4}}}" for n, c in _IBAN_LENGTHS.items()) + ")"

PHONE_CUE = (
    r"(?:phone(?:[_ ]?(?:number|no))?|mobile(?:[_ ]?(?:phone|number|no))?|telephone|tel|cell(?:phone)?|msisdn|whatsapp"
    r"|手机号码|手机号|手机|电话号码|电话|联系方式)"
)
_CARD_CUE = (
    r"(?:card[_ -]?(?:no|num|number)|credit[_ -]?card|debit[_ -]?card|bank[_ -]?card(?:[_ -]?(?:no|num|number))?|\bpan"
    r"|卡号|银行卡号?|信用卡号?|储蓄卡号?|借记卡号?)"
)
ID_CUE = (
    r"(?:id[_ ]?card(?:[_ -]?(?:no|num|number))?|identity[_ ]?(?:card|no|num|number)|passport(?:[_ -]?(?:no|num|number))?"
    r"|身份证(?:号码|号)?|证件号码?|护照(?:号码|号)?)"
)
# With and without the century and the check digit of 1999, and passports.
_ID_CUED = r"[1-9]\d{5}[ -]?\d{8}[ -]?\d{3}[0-9Xx]|[1-9]\d{14}|[A-Za-z]{1,2}\d{7,8}"
_BANK_CUE = (
    r"(?:bank[_ -]?(?:account|acct|acc)(?:[_ -]?(?:no|num|number))?|account[_ -]?iban"
    r"|银行账[号户]|开户账号|收款账号|对公账[号户]|银行帐号)"
)
# Words right before a number that make it an order, a trade or an amount, not a card.
_ORDER_CUE = (
    r"(?:order|trade|txn|transaction|payment|refund|invoice|request|trace|mch|merchant|seq|serial|uid|user|id|no|nr|number|ref|time|timestamp|ts"
    r"|订单|单号|流水|交易|编号|商户号?|号|单)[_ ]?(?:id|no|num|number|号)?[\"'\\]*\s?[:=：#]?\s?[\"'\\\[(]*$"
)


def _luhn(digits: str) -> bool:
    total = 0
    for place, char in enumerate(reversed(digits)):
        digit = int(char) * (1 + place % 2)
        total += digit - 9 * (digit > 9)
    return total % 10 == 0


def _is_card(match: Any) -> bool:
    """A card by issuer's prefix, length, Luhn and the words before it."""
    raw = match.group(2)
    digits = "".join(c for c in raw if c.isdigit())
    if not 13 <= len(digits) <= 19 or len(set(digits)) < 2 or not _luhn(digits):
        return False
    # Four-by-four is how people write cards. A bare run may be an order number: one in ten has a Luhn sum that fits.
    if raw != digits:
        return True
    before = re2.sub(ESCAPED_IS, "=", match.string[max(0, match.start(2) - 28) : match.start(2)])
    return not bool(_order_cue().search(before))


@cache
def _order_cue() -> Any:
    return re2.compile("(?i)" + _ORDER_CUE)


_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def _is_id_number(match: Any) -> bool:
    value = re2.sub("[ -]", "", match.group(2))
    total = sum(weight * int(digit) for weight, digit in zip(_ID_WEIGHTS, value[:17], strict=True))
    return bool("10X98765432"[total % 11] == value[17].upper())


def _is_iban(match: Any) -> bool:
    value = match.group(2).replace(" ", "")
    turned = value[4:] + value[:4]
    return int("".join(str(int(c, 36)) for c in turned)) % 97 == 1


def _is_phone_abroad(match: Any) -> bool:
    # Its tables take 60 ms to load: only where a "+" number was seen.
    import phonenumbers

    try:
        return bool(phonenumbers.is_valid_number(phonenumbers.parse(re2.sub("^%2[Bb]", "+", match.group(2)), None)))
    except phonenumbers.NumberParseException:
        return False


def _always(_match: Any) -> bool:
    return True


def _looks_like_phone(match: Any) -> bool:
    value = match.group(2)
    digits = sum(c.isdigit() for c in value)
    return 7 <= digits <= (15 if value[0] == "+" else 13) and not re2.match(r"20\d\d-[01]\d-[0-3]\d", value)


@dataclass(frozen=True)
class Number:
    """A kind that is checked value by value. Group 1 stays, group 2 goes; `keep` says to show the last four digits."""

    kind: str
    pattern: str
    holds: Callable[[Any], bool]
    keep: bool


@cache
def checked_numbers(*, by_cue: bool) -> tuple[Number, ...]:
    """The checked kinds: those that a word before the number gives away, and those known by their own shape."""
    if by_cue:
        return (
            Number("card", rf"(?i)({_CARD_CUE}{IS_SIGN})(\d(?:[ -]?\d){{12,18}})", _always, keep=True),
            Number("bank_account", rf"(?i)({_BANK_CUE}{IS_SIGN})(\d(?:[ -]?\d){{7,29}})", _always, keep=True),
            Number("id_number", rf"(?i)({ID_CUE}{IS_SIGN})({_ID_CUED})", _always, keep=False),
            Number(
                "phone",
                rf"(?i)({PHONE_CUE}{IS_SIGN})(\+?\(?\d(?:[ ().-]{{0,2}}\d){{6,14}})",
                _looks_like_phone,
                keep=True,
            ),
        )
    return (
        Number("card", rf"{_OPEN}({_CARD_SHAPE})", _is_card, keep=True),
        Number("id_number", rf"{_OPEN}({_ID_SHAPE})", _is_id_number, keep=False),
        Number("iban", rf"{_OPEN}({_IBAN_SHAPE})", _is_iban, keep=True),
        Number(
            "phone",
            rf"(^|[^0-9A-Za-z_.\-…+]|{ESCAPED})((?:\+?86[ -]?)?1[3-9]\d(?:\d{{8}}|[ -]\d{{4}}[ -]\d{{4}}))",
            _always,
            keep=True,
        ),
        Number(
            "phone",
            rf"(^|[^0-9A-Za-z_+]|{ESCAPED})((?:\+|%2[Bb])[1-9](?:[ ().-]{{0,2}}\d){{7,14}})",
            _is_phone_abroad,
            keep=True,
        ),
    )
