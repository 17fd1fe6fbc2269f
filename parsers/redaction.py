"""Takes secrets and personal data out of text before anything is stored or shown.

Markers are the same in every language and name the kind: `[card:…4242]` and `[phone:…4057]` keep the last four, by
which support finds an order; everything else keeps nothing. Order and trade numbers, trace ids and times stay: a
number is a card only with an issuer's prefix, a length that issuer uses, a Luhn sum that fits, and no sign around it
that it is an order; an IBAN needs its checksum, and so does an identity number that no word before it names.
What is escaped for an address (`%40`), or by its number as JSON does, is seen too; JSON in base64 goes as a whole, unread.

All patterns are RE2 and run as Arrow kernels over whole columns; only numbers with a checksum are looked at one by one.
A text that was redacted is redacted to itself.

Sources: Luhn ISO/IEC 7812-1; identity number GB 11643-1999 (ISO 7064 MOD 11-2); IBAN ISO 13616 (MOD 97-10) with the
lengths of the SWIFT registry; phone numbers by `phonenumbers` (libphonenumber's tables).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import re2

from parsers.identifiers import values_in

KINDS = (
    "private_key", "auth", "cookie", "secret", "cvv", "jwt", "encoded", "api_key", "email", "card", "bank_account",
    "id_number", "iban", "phone", "ip",
)  # fmt: skip


@dataclass(frozen=True)
class RedactionSettings:
    """What is taken out beyond the built-in kinds.

    `ip` masks IPv4 and IPv6 addresses as well. `patterns` (name -> one RE2 or several) masks the user's own, such
    as names and addresses: the first group where there is one, else the whole match, becomes `[name]`. `off` names built-in kinds
    to leave alone.
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


_DEFAULT = RedactionSettings()

# A sign of an address's query, once or twice escaped, or one that JSON names by its number.
_ESCAPED = r"%(?:25)?[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}"
# "=" or ":", so escaped.
_ESCAPED_IS = r"%(?:25)?3[AaDd]|\\u003[AaDd]"
# A key's end and what stands between it and its value, in JSON (also escaped), logfmt, Java maps, YAML and prose.
_SEP = r"\\?[\"']?\s{0,4}(?:[:=]|:|＝|=>)\s{0,4}"

_SECRET_KEYS = (
    r"(?:password|passwd|passphrase|pwd|client[_-]?secret|app[_-]?secret|api[_-]?secret|secret[_-]?key|secretkey|secret"  # noqa: S105 - the names of keys
    r"|access[_-]?token|refresh[_-]?token|id[_-]?token|auth[_-]?token|session[_-]?token|csrf[_-]?token|token|api[_-]?key|apikey"
    r"|x-api-key|api[_-]?v[23][_-]?key|mch[_-]?key|pay[_-]?key|merchant[_-]?key|access[_-]?key(?:[_-]?(?:id|secret))?|signing[_-]?key|encrypt(?:ion)?[_-]?key"
    r"|private[_-]?key|aes[_-]?key|hmac[_-]?key|webhook[_-]?secret|session[_-]?key|credentials?|密码|口令|密钥|秘钥)"
)
_CARD_SHAPE = (
    r"(?:4\d{3}[ -]?\d{4}[ -]?\d{4}[ -]?\d{4}(?:[ -]?\d{3})?|4\d{12}|5[1-5]\d{2}[ -]?\d{4}[ -]?\d{4}[ -]?\d{4}"
    r"|2[2-7]\d{2}[ -]?\d{4}[ -]?\d{4}[ -]?\d{4}|3[47]\d{2}[ -]?\d{6}[ -]?\d{5}"
    r"|3(?:0[0-5]|[68]\d)\d[ -]?\d{6}[ -]?\d{4}"
    r"|35\d{2}[ -]?\d{4}[ -]?\d{4}[ -]?\d{4}|6\d{3}[ -]?\d{4}[ -]?\d{4}[ -]?\d{4}(?:[ -]?\d{1,3})?)"
)
_OPEN = rf"(^|[^0-9A-Za-z_.\-…]|{_ESCAPED})"
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

_PHONE_CUE = (
    r"(?:phone(?:[_ ]?(?:number|no))?|mobile(?:[_ ]?(?:phone|number|no))?|telephone|tel|cell(?:phone)?|msisdn|whatsapp"
    r"|手机号码|手机号|手机|电话号码|电话|联系方式)"
)
_CARD_CUE = (
    r"(?:card[_ -]?(?:no|num|number)|credit[_ -]?card|debit[_ -]?card|bank[_ -]?card(?:[_ -]?(?:no|num|number))?|\bpan"
    r"|卡号|银行卡号?|信用卡号?|储蓄卡号?|借记卡号?)"
)
_ID_CUE = (
    r"(?:id[_ ]?card(?:[_ -]?(?:no|num|number))?|identity[_ ]?(?:card|no|num|number)|passport(?:[_ -]?(?:no|num|number))?"
    r"|身份证(?:号码|号)?|证件号码?|护照(?:号码|号)?)"
)
# With and without the century and the check digit of 1999, and passports.
_ID_CUED = r"[1-9]\d{5}[ -]?\d{8}[ -]?\d{3}[0-9Xx]|[1-9]\d{14}|[A-Za-z]{1,2}\d{7,8}"
_BANK_CUE = (
    r"(?:bank[_ -]?(?:account|acct|acc)(?:[_ -]?(?:no|num|number))?|account[_ -]?iban"
    r"|银行账[号户]|开户账号|收款账号|对公账[号户]|银行帐号)"
)
_IS = rf"(?:\\?[\"']?\s{{0,3}}(?:[:=：]|{_ESCAPED_IS}|=>|是|为|\bis\b)?\s{{0,3}}\\?[\"']?)"
# Words right before a number that make it an order, a trade or an amount, not a card.
_ORDER_CUE = (
    r"(?:order|trade|txn|transaction|payment|refund|invoice|request|trace|mch|merchant|seq|serial|uid|user|id|no|nr|number|ref|time|timestamp|ts"
    r"|订单|单号|流水|交易|编号|商户号?|号|单)[_ ]?(?:id|no|num|number|号)?[\"'\\]*\s?[:=：#]?\s?[\"'\\\[(]*$"
)


@dataclass(frozen=True)
class _Pass:
    """One kind of replacement that needs no checksum: `pattern` becomes `replacement`, which has `marker`."""

    kind: str
    pattern: str
    replacement: str
    marker: str


def _mark(kind: str) -> str:
    return f"[{kind.replace('_', '-')}]"


@cache
def _passes() -> tuple[_Pass, ...]:
    """The replacements, containers first: a key block, then a header, then a field, then a bare token."""
    # Before a key: a word's start, a joiner, or the small letter of "loginPassword".
    key = rf"((?:\b|_|-|[a-z]|[^\x00-\x7F]|{_ESCAPED})(?i:{_SECRET_KEYS})"
    start_zh = rf"(^{_SECRET_KEYS}"
    quoted, bare = (
        r"\\?\"\s{0,4}:\s{0,4}\\?\")[^\"\\]+",
        rf"\s{{0,4}}(?:[=:：＝]|{_ESCAPED_IS})\s{{0,4}})[^\s\"'&,;<>(){{}}\\]+",
    )
    # Either a list of name="value" pairs (WECHATPAY2, Digest, AWS4), or one credential.
    credential = (
        r"(?:[a-z_]+=\\?\"[^\"\\]*\\?\"(?:,\s?[a-z_]+=\\?\"[^\"\\]*\\?\")*"
        r"|[^\s\"'\\,;\[\]{}]{5,}(?:,\s?[a-z_]+=[^\",\s\\]+)*)"
    )
    rules: tuple[tuple[str, str, str], ...] = (
        (
            "private_key",
            r"(?s)-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]{0,40}-----|$)",
            "",
        ),
        (
            "auth",
            rf"(?i)\b((?:proxy-)?authorization{_SEP}\\?[\"'\[]?)(?:[a-z][a-z0-9-]{{2,30}}\s+)?{credential}",
            r"\1",
        ),
        ("auth", r"(?i)\b((?:bearer|basic)\s+)[A-Za-z0-9+/_.~-]{16,}=*", r"\1"),
        (
            "cookie",
            rf"(?i)\b((?:set-)?cookie{_SEP}\\?[\"'\[]?)[^\s;,\"'\[\]=\\]+=[^\s;,\"'\]\\]*"
            r"(?:;\s*[^\s;,\"'\[\]=\\]+(?:=[^\s;,\"'\]\\]*)?)*",
            r"\1",
        ),
        ("secret", key + quoted, r"\1"),
        ("secret", rf"{key}{_SEP}\")[^\"]+", r"\1"),
        ("secret", rf"{key}{_SEP}')[^']+", r"\1"),
        ("secret", key + bare, r"\1"),
        ("secret", start_zh + bare, r"\1"),
        ("secret", rf"(<(?i:{_SECRET_KEYS})>)(?:<!\[CDATA\[[^\]]*\]\]>|[^<]+)", r"\1"),
        # WeChat signs "...&key=<32 characters>"; a short value after a bare "key" is some map's key.
        ("secret", r"(\b[Kk]ey=)[0-9A-Za-z]{24,}", r"\1"),
        ("cvv", rf"(?i)\b((?:cvv2?|cvc2?|cvn2?|card[_ ]?security[_ ]?code|security[_ ]?code){_IS})\d{{3,4}}\b", r"\1"),
        ("cvv", rf"((?:安全码|卡背后三位){_IS})\d{{3,4}}\b", r"\1"),
        ("jwt", r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?", ""),
        # How base64 of an object or a list begins: {" and [{", with or without a blank or a line's end between.
        ("encoded", r"\b(?:eyJ|eyAi|ewogI|ew0KI|W3si|WyJ)(?:[A-Za-z0-9+/_-]|%2[BbFf]){16,}(?:=|%3[Dd]){0,2}", ""),
        (
            "api_key",
            r"\b(?:(?:sk|rk)_(?:live|test)_[0-9A-Za-z]{10,}|whsec_[0-9A-Za-z+/=]{16,}|(?:AKIA|ASIA)[0-9A-Z]{16}"
            r"|gh[pousr]_[0-9A-Za-z]{30,}|github_pat_[0-9A-Za-z_]{30,}|glpat-[0-9A-Za-z_-]{20,}|xox[abposr]-[0-9A-Za-z-]{10,}"
            r"|AIza[0-9A-Za-z_-]{35}|sk-[0-9A-Za-z_-]{32,}|EAAA[0-9A-Za-z_-]{50,}|LTAI[0-9A-Za-z]{12,26})",
            "",
        ),
        (
            "email",
            r"\b[0-9A-Za-z][0-9A-Za-z._%+-]{0,63}@[0-9A-Za-z](?:[0-9A-Za-z-]{0,62}\.){1,8}[A-Za-z]{2,24}\b",
            "",
        ),
        (
            "email",
            r"\b[0-9A-Za-z][0-9A-Za-z._+-]{0,63}(?:%(?:25)?40|\\u0040|&#64;)[0-9A-Za-z](?:[0-9A-Za-z-]{0,62}\.){1,8}[A-Za-z]{2,24}\b",
            "",
        ),
    )
    url = _Pass(
        "secret", r"([a-zA-Z][a-zA-Z0-9+.-]*://)[^\s/:@\"'\[\]]*:[^\s/@\"'\[\]]+@", r"\1[secret]@", _mark("secret")
    )
    return (url, *(_Pass(kind, pattern, kept + _mark(kind), _mark(kind)) for kind, pattern, kept in rules))


@cache
def _gates() -> tuple[str, str]:
    """Two patterns that together fit every line in which a rule may find something: by its words, by its numbers.

    Clean lines, nearly all of a log, are read by these two and by nothing else.
    """
    cues = "|".join(f"(?:{number.pattern})" for number in _numbers(by_cue=True))
    shapes = "|".join(f"(?:{number.pattern})" for number in _numbers(by_cue=False))
    return f"(?:{_hints()})|{cues}", shapes


@cache
def _hints() -> str:
    """Whether a line may hold anything that `_passes` takes out: a superset, cheap to look for."""
    return (
        r"(?i)PRIVATE KEY|authorization|bearer|basic\s|cookie|://[^\s/]*@|pass|pwd|secret|token|key|credential|cvv|cvc|cvn|security.?code"
        r"|eyJ|eyAi|ewogI|ew0KI|W3si|WyJ|[sr]k_|whsec_|AKIA|ASIA|gh[pousr]_|github_pat|glpat|xox|AIza|sk-|EAAA|LTAI"
        r"|@|%(?:25)?40|\\u0040|&#64;|密码|口令|密钥|秘钥|安全码|三位"
    )


# Arrow compiles a pattern at each call: a few strings are quicker through a compiled one. Same engine, same answer.
_FEW = 64


@cache
def _compiled(pattern: str) -> Any:
    return re2.compile(pattern)


def _fits(text: Any, pattern: str) -> Any:
    """Which strings `pattern` is found in; null is no."""
    if len(text) > _FEW:
        return pc.fill_null(pc.match_substring_regex(text, pattern), False)
    compiled = _compiled(pattern)
    return pa.array([line is not None and compiled.search(line) is not None for line in text.to_pylist()], pa.bool_())


def _swapped(text: Any, pattern: str, replacement: str) -> Any:
    """`text` with each match of `pattern` replaced."""
    if len(text) > _FEW:
        return pc.replace_substring_regex(text, pattern, replacement)
    compiled = _compiled(pattern)
    lines = text.to_pylist()
    return pa.array([None if line is None else compiled.sub(replacement, line) for line in lines], text.type)


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
    before = re2.sub(_ESCAPED_IS, "=", match.string[max(0, match.start(2) - 28) : match.start(2)])
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
        return bool(phonenumbers.is_valid_number(phonenumbers.parse("+" + match.group(2).lstrip("+%2Bb"), None)))
    except phonenumbers.NumberParseException:
        return False


def _always(_match: Any) -> bool:
    return True


def _looks_like_phone(match: Any) -> bool:
    value = match.group(2)
    digits = sum(c.isdigit() for c in value)
    return 7 <= digits <= (15 if value[0] == "+" else 13) and not re2.match(r"20\d\d-[01]\d-[0-3]\d", value)


@dataclass(frozen=True)
class _Number:
    """A kind that is checked value by value. Group 1 stays, group 2 goes; `keep` says to show the last four digits."""

    kind: str
    pattern: str
    holds: Callable[[Any], bool]
    keep: bool


@cache
def _numbers(*, by_cue: bool) -> tuple[_Number, ...]:
    """The checked kinds: those that a word before the number gives away, and those known by their own shape."""
    if by_cue:
        return (
            _Number("card", rf"(?i)({_CARD_CUE}{_IS})(\d(?:[ -]?\d){{12,18}})", _always, keep=True),
            _Number("bank_account", rf"(?i)({_BANK_CUE}{_IS})(\d(?:[ -]?\d){{7,29}})", _always, keep=True),
            _Number("id_number", rf"(?i)({_ID_CUE}{_IS})({_ID_CUED})", _always, keep=False),
            _Number(
                "phone", rf"(?i)({_PHONE_CUE}{_IS})(\+?\(?\d(?:[ ().-]{{0,2}}\d){{6,14}})", _looks_like_phone, keep=True
            ),
        )
    return (
        _Number("card", rf"{_OPEN}({_CARD_SHAPE})", _is_card, keep=True),
        _Number("id_number", rf"{_OPEN}({_ID_SHAPE})", _is_id_number, keep=False),
        _Number("iban", rf"{_OPEN}({_IBAN_SHAPE})", _is_iban, keep=True),
        _Number(
            "phone",
            rf"(^|[^0-9A-Za-z_.\-…+]|{_ESCAPED})((?:\+?86[ -]?)?1[3-9]\d(?:\d{{8}}|[ -]\d{{4}}[ -]\d{{4}}))",
            _always,
            keep=True,
        ),
        _Number(
            "phone",
            rf"(^|[^0-9A-Za-z_+]|{_ESCAPED})((?:\+|%2[Bb])[1-9](?:[ ().-]{{0,2}}\d){{7,14}})",
            _is_phone_abroad,
            keep=True,
        ),
    )


_IPS = (
    r"(^|[^0-9A-Za-z.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b",
    r"(^|[^0-9A-Za-z:.])(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}\b",
    r"(^|[^0-9A-Za-z:.])(?:[0-9A-Fa-f]{1,4}:){1,6}(?::[0-9A-Fa-f]{1,4}){1,6}\b",
)

# Allowed values are hidden in private-use characters while the patterns run, and come back after.
_HIDE, _UNHIDE, _DIGIT_BASE = "\ue000", "\ue001", 0xE010
# A replacement may bring a neighbour into reach ("138…,139…" share a comma); more rounds than this never happen.
_ROUNDS = 6


def redact(
    text: str, *, allow: Collection[str] = (), settings: RedactionSettings = _DEFAULT
) -> tuple[str, dict[str, int]]:
    """`text` without secrets and personal data, and how many values of each kind went.

    `allow` holds known identifiers (order and trade numbers): they stay, unless a word before them says that they are a
    phone or a card. `redact(redact(x)[0])` gives the same text and no counts. Raises `ValueError` for a bad own
    pattern.

    >>> redact("卡号 4242 4242 4242 4242, 手机 13800138000")
    ('卡号 [card:…4242], 手机 [phone:…8000]', {'card': 1, 'phone': 1})
    """
    array, counts = redact_array(pa.array([text], pa.string()), allow=allow, settings=settings)
    return array[0].as_py(), counts


def redact_array(
    array: Any, *, allow: Collection[str] = (), settings: RedactionSettings = _DEFAULT
) -> tuple[Any, dict[str, int]]:
    """Each string of a string array (or chunked array) redacted, nulls kept, and the counts over all of them.

    The answer has the type and length of `array`. Only lines that may hold something are rewritten.
    """
    _own_patterns(settings)
    if isinstance(array, pa.ChunkedArray):
        total: Counter[str] = Counter()
        chunks = []
        for chunk in array.chunks:
            done, counts = redact_array(chunk, allow=allow, settings=settings)
            chunks.append(done)
            total.update(counts)
        return pa.chunked_array(chunks, type=array.type), dict(total)
    counts_all: Counter[str] = Counter()
    rows, text = None, array
    for _ in range(_ROUNDS):
        before = text
        text, counts = _round(before, allow, settings)
        counts_all.update(counts)
        changed = pc.indices_nonzero(pc.fill_null(pc.not_equal(text, before), False))
        if len(changed) == 0:
            break
        if rows is None:
            rows, whole = changed, text
        else:
            whole = _put(whole, rows, text)
            rows = rows.take(changed)
        text = text.take(changed)
    return (array if rows is None else whole), {k: n for k, n in sorted(counts_all.items()) if n > 0}


def _put(whole: Any, rows: Any, values: Any) -> Any:
    """`whole` with `values` at `rows` (ascending)."""
    mask = np.zeros(len(whole), dtype=bool)
    mask[rows.to_numpy()] = True
    return pc.replace_with_mask(whole, pa.array(mask), values)


def _round(text: Any, allow: Collection[str], settings: RedactionSettings) -> tuple[Any, Counter[str]]:
    """Every rule once over `text`."""
    counts: Counter[str] = Counter()
    rows = pc.indices_nonzero(_suspect(text, settings))
    if len(rows) == 0:
        return text, counts
    done = _rules(text.take(rows), allow, settings, counts)
    return _put(text, rows, done), counts


def _suspect(text: Any, settings: RedactionSettings) -> Any:
    """Which strings may hold something that a rule takes out; null is no."""
    gates = [*_gates(), *(_IPS if settings.ip else ()), *(pattern for _, pattern in settings.own)]
    suspect = _fits(text, gates[0])
    for gate in gates[1:]:
        suspect = pc.or_(suspect, _fits(text, gate))
    return suspect


def _rules(text: Any, allow: Collection[str], settings: RedactionSettings, counts: Counter[str]) -> Any:
    for number in _numbers(by_cue=True):
        text = _checked(text, number, counts, settings)
    hidden = [v for v in dict.fromkeys(allow) if v]
    if hidden:
        text = _hide(text, hidden)
    text = _by_words(text, counts, settings)
    for number in _numbers(by_cue=False):
        text = _checked(text, number, counts, settings)
    if settings.ip and "ip" not in settings.off:
        for pattern in _IPS:
            text = _replaced(text, _Pass("ip", pattern, r"\1[ip]", "[ip]"), counts)
    for name, pattern in settings.own:
        text = _own(text, name, pattern, counts)
    if hidden:
        text = _show(text, hidden)
    return text


def _by_words(text: Any, counts: Counter[str], settings: RedactionSettings) -> Any:
    rows = pc.indices_nonzero(_fits(text, _hints()))
    if len(rows) == 0:
        return text
    part = text.take(rows)
    for rule in _passes():
        if rule.kind not in settings.off:
            part = _replaced(part, rule, counts)
    return _put(text, rows, part)


def _replaced(text: Any, rule: _Pass, counts: Counter[str]) -> Any:
    after = _swapped(text, rule.pattern, rule.replacement)
    # Markers gained, not matches: what was masked already matches again and is no new value.
    gained = pc.subtract(pc.count_substring(after, rule.marker), pc.count_substring(text, rule.marker))
    counts[rule.kind] += max(0, pc.sum(gained).as_py() or 0)
    return after


def _checked(text: Any, number: _Number, counts: Counter[str], settings: RedactionSettings) -> Any:
    """`text` with the values that pass the check masked. Only lines with the shape are looked at in Python."""
    if number.kind in settings.off:
        return text
    rows = pc.indices_nonzero(_fits(text, number.pattern))
    if len(rows) == 0:
        return text
    pattern = _compiled(number.pattern)
    made = []
    for line in text.take(rows).to_pylist():
        pieces, last = [], 0
        for match in pattern.finditer(line):
            value, (start, end) = match.group(2), match.span(2)
            follower = line[end : end + 1]
            goes_on = bool(follower) and (
                (follower.isascii() and (follower.isalnum() or follower == "_"))
                or (follower in ".-" and line[end + 1 : end + 2].isdigit())
            )
            if goes_on or not number.holds(match):
                continue
            digits = "".join(c for c in value if c.isalnum())
            shown = f"[{number.kind.replace('_', '-')}:…{digits[-4:]}]" if number.keep else _mark(number.kind)
            pieces += [line[last:start], shown]
            last = end
            counts[number.kind] += 1
        made.append("".join([*pieces, line[last:]]))
    return _put(text, rows, pa.array(made, text.type))


def _own(text: Any, name: str, pattern: str, counts: Counter[str]) -> Any:
    compiled = _compiled(pattern)
    rows = pc.indices_nonzero(_fits(text, pattern))
    if len(rows) == 0:
        return text
    group = 1 if compiled.groups else 0
    marker = f"[{name}]"
    made = []
    for line in text.take(rows).to_pylist():
        pieces, last = [], 0
        for match in compiled.finditer(line):
            start, end = match.span(group)
            value = match.group(group)
            # A pattern that fits its own marker, or a part of it, must not mask the mask.
            if not value or start < last or value in marker or marker in value:
                continue
            pieces += [line[last:start], marker]
            last = end
            counts[name] += 1
        made.append("".join([*pieces, line[last:]]))
    return _put(text, rows, pa.array(made, text.type))


def _own_patterns(settings: RedactionSettings) -> None:
    for name, pattern in settings.own:
        try:
            _compiled(pattern)
        except re2.error as error:
            raise ValueError(f"redaction pattern {pattern!r} for {name} is not valid RE2: {error}") from error


def _hide(text: Any, values: list[str]) -> Any:
    rows = pc.indices_nonzero(values_in(text, values))
    if len(rows) == 0:
        return text
    place = {v: n for n, v in enumerate(values)}
    longest = sorted(values, key=len, reverse=True)
    pattern = re2.compile(rf"(^|[^0-9A-Za-z]|{_ESCAPED})(" + "|".join(re2.escape(v) for v in longest) + r")\b")

    def stand_in(match: Any) -> str:
        code = "".join(chr(_DIGIT_BASE + int(c)) for c in str(place[match.group(2)]))
        return f"{match.group(1)}{_HIDE}{code}{_UNHIDE}"

    made = [pattern.sub(stand_in, pattern.sub(stand_in, line)) for line in text.take(rows).to_pylist()]
    return _put(text, rows, pa.array(made, text.type))


def _show(text: Any, values: list[str]) -> Any:
    rows = pc.indices_nonzero(pc.fill_null(pc.match_substring(text, _HIDE), False))
    if len(rows) == 0:
        return text
    pattern = re2.compile(f"{_HIDE}([{chr(_DIGIT_BASE)}-{chr(_DIGIT_BASE + 9)}]{{1,7}}){_UNHIDE}")

    def value(match: Any) -> str:
        number = int("".join(str(ord(c) - _DIGIT_BASE) for c in match.group(1)))
        return values[number] if number < len(values) else str(match.group())

    return _put(text, rows, pa.array([pattern.sub(value, line) for line in text.take(rows).to_pylist()], text.type))


_SECRET_NAME = rf"(?i)^(?:.*[_.-])?{_SECRET_KEYS}$|(?i)^[a-z]+(?:Password|Secret|Token|ApiKey|PrivateKey)$"
_HEADER_NAME = r"(?i)^(?:.*[ ._-])?authorization$"
_COOKIE_NAME = r"(?i)^(?:.*[ ._-])?cookies?$"
_CVV_NAME = r"(?i)^(?:.*[ ._-])?(?:cvv2?|cvc2?|cvn2?|card_?security_?code|security_?code)$"
_CARD_NAMES = (
    r"(?:card[ _-]?(?:no|num|number)|pan|(?:credit|debit)[ _-]?card(?:[ _-]?(?:no|num|number))?"
    r"|bank[ _-]?card(?:[ _-]?(?:no|num|number))?|卡号|银行卡号?)"
)
_CARD_NAME = rf"(?i)^(?:.*[ _.-])?{_CARD_NAMES}$"
_PHONE_NAMES = r"(?-i)[a-z](?:Phone|Mobile|Telephone|Tel)(?:No|Num|Number)?"
_PHONE_NAME = rf"(?i)^(?:.*[ _.-])?{_PHONE_CUE}$|{_PHONE_NAMES}$"

_ID_NAME = rf"(?i)^(?:.*[ _.-])?{_ID_CUE}$"

# What the text of JSON does not show to the gates: a character by its number, a number with an exponent, and fields whose name says
# what their value is, wherever below them that stands.
_VEILED = rf'\\u|[:\[,]\s*-?\d[\d.]*[eE]|(?i:[" _.-](?:{_PHONE_CUE}|{_CARD_NAMES}|{_ID_CUE})")|{_PHONE_NAMES}"'
# A backslash is put aside first, since the second of two begins no escape.
_ESCAPES = (
    ("\\\\", "\ue002"), ('\\"', '"'), ("\\/", "/"), ("\\n", "\n"), ("\\r", "\r"), ("\\t", "\t"), ("\\b", "\b"),
    ("\\f", "\f"), ("\ue002", "\\"),
)  # fmt: skip


def _unescaped(text: Any) -> Any:
    """`text` with the escapes of JSON as what they stand for, but those that name a character by its number."""
    for escape, meant in _ESCAPES:
        text = pc.replace_substring(text, escape, meant)
    return text


def _json_suspect(lines: Any, settings: RedactionSettings) -> Any:
    """As `_suspect`, of lines of JSON: which may hold something in one of their values, however that is written."""
    if any(_is_anchored(pattern) for _, pattern in settings.own):
        return pa.repeat(pa.scalar(value=True), len(lines))
    # The sign of a mail address stands in every document's "@timestamp".
    text = pc.replace_substring_regex(lines, r'"@[a-z]+"', '""')
    suspect = pc.or_(_suspect(text, settings), _fits(text, _VEILED))
    escaped = pc.fill_null(pc.match_substring(text, "\\"), False)
    rows = pc.indices_nonzero(pc.and_not(escaped, suspect))
    if len(rows) == 0:
        return suspect
    return _put(suspect, rows, _suspect(_unescaped(text.take(rows)), settings))


@cache
def _is_anchored(pattern: str) -> bool:
    """Whether a pattern may fit a value alone that it does not fit within a line, by `^` for instance."""
    return bool(re2.search(r"[$^]|\\[AzB]", re2.sub(r"\\[^AzB]|\[\^", "", pattern)))


# Values are walked by recursion.
_DEEPEST = 100


def _nests(value: Any, levels: int) -> bool:
    """Whether lists and objects in `value` lie more than so many levels in each other."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_nests(one, levels - 1) for one in inner)


def _with_repeats(text: str, value: Any) -> Any:
    """The `value` of the JSON `text`, or where an object in it has a name twice, also the values that the last one hides."""
    if text == msgspec.json.encode(value).decode():
        return value
    repeated = False

    def named(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        made: dict[str, Any] = {}
        numbers: dict[str, int] = {}
        for name, inner in reversed(pairs):
            repeated |= name in made
            made[_free_name(name, made, numbers)] = inner
        return dict(reversed(made.items()))

    try:
        whole = json.loads(text, object_pairs_hook=named)
    except (ValueError, RecursionError):
        return value
    return whole if repeated else value


def _free_name(name: str, taken: Mapping[str, Any], numbers: dict[str, int]) -> str:
    """`name`, or where that is taken "name#2", "name#3"; `numbers` holds how far each name has come."""
    shown = name
    while shown in taken:
        numbers[name] = numbers.get(name, 1) + 1
        shown = f"{name}#{numbers[name]}"
    return shown


class Redactor:
    """Redacts with one set of settings and keeps count over everything that it was given (`counts`)."""

    def __init__(
        self,
        settings: RedactionSettings = _DEFAULT,
        *,
        allow: Collection[str] = (),
        masked: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`allow` is as in `redact`. Raises `ValueError` for an own pattern that RE2 cannot take.

        `masked` has values that are personal data whatever stands around them, as whole tokens, each with its marker.
        """
        _own_patterns(settings)
        self.settings = settings
        self.allow = tuple(allow)
        self.masked = {value: marker for value, marker in masked.items() if value}
        self.counts: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """How many values went in all."""
        return sum(self.counts.values())

    def redact(self, text: str) -> str:
        """`text` redacted."""
        return str(self.redact_array(pa.array([text], pa.string()))[0].as_py())

    def redact_array(self, array: Any) -> Any:
        """A string array (or chunked array) redacted, nulls kept."""
        if self.masked:
            array = self._known(array)
        done, counts = redact_array(array, allow=self.allow, settings=self.settings)
        self.counts.update(counts)
        return done

    def redact_json_lines(self, lines: Any) -> Any:
        """A string array of JSON, one value a string, each redacted as `redact_value` does it and written as JSON again.

        A string that holds nothing keeps its bytes. Of two values under one name the last keeps it. What is no JSON, or nests
        deeper than a hundred levels, is redacted as text, also what escapes in it stand for.
        """
        suspect = _json_suspect(lines, self.settings)
        if self.masked:
            suspect = pc.or_(suspect, values_in(_unescaped(lines), list(self.masked)))
        rows = pc.indices_nonzero(suspect)
        if len(rows) == 0:
            return lines
        made = lines.take(rows).to_pylist()
        values: dict[int, Any] = {}
        for row, text in enumerate(made):
            with suppress(msgspec.DecodeError, RecursionError):
                value = msgspec.json.decode(text)
                if text.count("[") + text.count("{") <= _DEEPEST or not _nests(value, _DEEPEST):
                    values[row] = value
        whole = [_with_repeats(made[row], value) for row, value in values.items()]
        for (row, before), after in zip(values.items(), self.redact_value(whole), strict=True):
            if after != before:
                made[row] = msgspec.json.encode(after).decode()
        broken = [row for row in range(len(made)) if row not in values]
        texts = self._redact_escaped(pa.array([made[row] for row in broken], lines.type))
        for row, text in zip(broken, texts.to_pylist(), strict=True):
            made[row] = text
        return _put(lines, rows, pa.array(made, lines.type))

    def _redact_escaped(self, text: Any) -> Any:
        """`text` redacted as it stands, and where something shows only behind its escapes, without them."""
        done = self.redact_array(text)
        # One line stays one line.
        plain = _unescaped(pc.replace_substring_regex(done, r"\\[rn]", " "))
        again = self.redact_array(plain)
        return pc.if_else(pc.equal(again, plain), done, again)

    def _known(self, text: Any) -> Any:
        """`text` with every value of `masked` as its marker."""
        if isinstance(text, pa.ChunkedArray):
            return pa.chunked_array([self._known(chunk) for chunk in text.chunks], type=text.type)
        rows = pc.indices_nonzero(values_in(text, list(self.masked)))
        if len(rows) == 0:
            return text
        longest = sorted(self.masked, key=len, reverse=True)
        pattern = re2.compile("(^|[^0-9A-Za-z])(" + "|".join(re2.escape(value) for value in longest) + ")")
        made = []
        for line in text.take(rows).to_pylist():
            pieces, at = [], 0
            while match := pattern.search(line, at):
                start, end = match.span(2)
                follower = line[end : end + 1]
                if follower.isascii() and follower.isalnum():
                    # A part of something longer.
                    pieces.append(line[at:end])
                else:
                    marker = self.masked[match.group(2)]
                    pieces += [line[at:start], marker]
                    self.counts[_kind_of(marker)] += 1
                at = end
            made.append("".join([*pieces, line[at:]]))
        return _put(text, rows, pa.array(made, text.type))

    def redact_value(self, value: Any) -> Any:
        """Nested JSON (dicts, lists, strings, numbers) redacted: strings by their text, fields also by their key.

        All strings are redacted as one column. A key that itself holds personal data is redacted as well; where two
        keys become equal, the later one gets "#2", "#3": no entry is lost.
        """
        leaves: list[str] = []
        self._walk(value, "", leaves.append)
        done = iter(self.redact_array(pa.array(leaves, pa.string())).to_pylist()) if leaves else iter(())
        return self._rebuild(value, "", done)

    def _walk(self, value: Any, key: str, give: Callable[[str], None]) -> None:
        if isinstance(value, Mapping):
            for name, inner in value.items():
                give(str(name))
                self._walk(inner, _key_of(value, str(name), key), give)
        elif isinstance(value, (list, tuple)):
            for inner in value:
                self._walk(inner, key, give)
        elif _as_text(value) is not None and self._by_key(value, key) is None:
            give(_with_cue(key, str(_as_text(value))))

    def _rebuild(self, value: Any, key: str, done: Iterator[str]) -> Any:
        if isinstance(value, Mapping):
            made: dict[str, Any] = {}
            numbers: dict[str, int] = {}
            for name, inner in value.items():
                shown = _free_name(next(done), made, numbers)
                made[shown] = self._rebuild(inner, _key_of(value, str(name), key), done)
            return made
        if isinstance(value, (list, tuple)):
            return [self._rebuild(inner, key, done) for inner in value]
        marker = self._by_key(value, key)
        if marker is not None:
            if marker != value:
                self.counts[_kind_of(marker)] += 1
            return marker
        text = _as_text(value)
        if text is None:
            return value
        cued = _with_cue(key, text)
        shown = next(done)
        if shown == cued:
            return value
        return shown.removeprefix(cued[: len(cued) - len(text)])

    def _by_key(self, value: Any, key: str) -> str | None:
        """The marker for a field whose name alone says that it is secret, or None."""
        if not key or value is None or value == "" or isinstance(value, bool):
            return None
        kind = _secret_kind(key)
        return _mark(kind) if kind and kind not in self.settings.off else None


# Keys repeat from row to row.
@lru_cache(maxsize=4096)
def _secret_kind(key: str) -> str | None:
    for kind, pattern in (
        ("secret", _SECRET_NAME),
        ("auth", _HEADER_NAME),
        ("cookie", _COOKIE_NAME),
        ("cvv", _CVV_NAME),
    ):
        if _compiled(pattern).search(key):
            return kind
    return None


@lru_cache(maxsize=4096)
def _cue(key: str) -> str:
    if _compiled(_PHONE_NAME).search(key):
        return "phone: "
    if _compiled(_ID_NAME).search(key):
        return "id card: "
    return "card_no: " if _compiled(_CARD_NAME).search(key) else ""


def _key_of(mapping: Mapping[Any, Any], name: str, above: str) -> str:
    """The key that says what the value under `name` is, which is not always `name`.

    Ticket systems write fields as `{"id": "phone", "value": "..."}`, and all that lies below a secret's name is secret.
    """
    if name == "value":
        label = next((mapping[key] for key in ("id", "name", "key") if isinstance(mapping.get(key), str)), None)
        return label or above or name
    return above if _secret_kind(above) else name


def _kind_of(marker: str) -> str:
    """The kind that a marker names: "id_number" of "[id-number]"."""
    return marker.partition("[")[2].partition("]")[0].partition(":")[0].replace("-", "_")


def _with_cue(key: str, text: str) -> str:
    """`text` behind the word for its field where the field is a phone or a card: a number needs the word to be seen."""
    return _cue(key) + text


def _as_text(value: Any) -> str | None:
    """Strings as they are, long whole numbers as digits; None for what cannot hold anything."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        # A spreadsheet's phone number.
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 100:
        return str(value)
    return None
