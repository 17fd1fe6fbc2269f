"""Identifiers in a ticket's words and in log lines: orders, trade numbers, traces, customers, phones, devices, refunds.

A cue word before a value ("订单号", "trace id", "会员编号") decides its kind; without one its shape does, and only
shapes that amounts, dates, versions and device models do not have. Patterns are RE2: linear time, whatever a customer
pastes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import re2

Kind = Literal[
    "order_id",
    "out_trade_no",
    "channel_txn_id",
    "trace_id",
    "customer_id",
    "phone",
    "phone_tail",
    "device",
    "refund_id",
]
KINDS: tuple[Kind, ...] = (
    "order_id", "out_trade_no", "channel_txn_id", "trace_id", "customer_id", "phone", "phone_tail", "device",
    "refund_id",
)  # fmt: skip

# Same length after as before, so that a position in one is a position in the other.
_NARROW = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}

_TOKEN = r"([0-9A-Za-z][0-9A-Za-z_-]{0,79})"  # noqa: S105 - a pattern
_NO = r"(?:[\s_-]?(?:numbers?|nos?\b\.?|num|nr\b\.?|ids?|ref(?:erence)?|code)|\s?编号|号码?|\s?ID)"
_IS = r"[\s\"']*(?:[:=#]|是|为|\bis\b|\bwas\b)?[\s\"'#\[(]*"
_PHONE = r"(\+?[0-9](?:[ ()-]{0,2}[0-9]){6,14})"

# First match in the text wins; on the same words, the earlier rule. `strict` values need a digit and some length.
_CUES: tuple[tuple[Kind, str], ...] = (
    ("refund_id", rf"\b(?:out[_ ]?)?refund{_NO}{_IS}{_TOKEN}"),
    ("refund_id", rf"退款(?:单|流水)?{_NO}{_IS}{_TOKEN}"),
    ("refund_id", rf"退款单{_IS}{_TOKEN}"),
    (
        "channel_txn_id",
        r"(?:微信|支付宝|渠道|银行|第三方|平台|贝宝|PayPal|Stripe)\s?(?:支付|付款|交易)?(?:订单|单|流水)"
        rf"{_NO}?{_IS}{_TOKEN}",
    ),
    ("channel_txn_id", rf"(?:交易单|交易流水|流水|交易|凭证|参考|付款流水|支付流水)(?:编号|号码?){_IS}{_TOKEN}"),
    ("channel_txn_id", rf"(?:渠道流水|交易流水|流水){_IS}{_TOKEN}"),
    (
        "channel_txn_id",
        rf"\b(?:channel[_ ]?|paypal |stripe |alipay |wechat |bank )?(?:txn|transaction|trade|capture|charge"
        rf"|payment[_ ]intent|psp){_NO}{_IS}{_TOKEN}",
    ),
    ("channel_txn_id", rf"\b(?:pspReference|payment[_ ]intent|reference number|payment reference){_IS}{_TOKEN}"),
    (
        "out_trade_no",
        rf"\b(?:out[_ ]?trade[_ ]?no|merchant[_ ](?:order|trade){_NO}?|payment{_NO}|payOrderId){_IS}{_TOKEN}",
    ),
    ("out_trade_no", rf"(?:商户(?:订单|单)|商家(?:订单|单)|外部订单|支付单|付款单|支付订单){_NO}?{_IS}{_TOKEN}"),
    ("trace_id", rf"\b(?:trace[\s_.-]?id|traceparent|trace|tid|request[\s_-]?id){_IS}{_TOKEN}"),
    ("trace_id", rf"(?:链路|追踪|跟踪|请求|调用链){_NO}{_IS}{_TOKEN}"),
    (
        "device",
        r"\b(?:device[\s_-]?(?:id|no\b\.?|number|serial)|serial (?:number|no\b\.?)|imei|udid|idfa|oaid)"
        rf"{_IS}{_TOKEN}",
    ),
    ("device", rf"(?:设备|机身|终端)(?:编号|序列号|号码?|\s?ID|标识){_IS}{_TOKEN}"),
    (
        "customer_id",
        rf"(?:会员|用户|客户|账户|帐户|账号|帐号|买家|顾客)\s?(?:编号|账号|帐号|号码?|ID|卡号|名)?{_IS}{_TOKEN}",
    ),
    (
        "customer_id",
        r"\b(?:account|user|customer|member(?:ship)?|buyer|client)(?:[\s_-]?(?:id|no\b\.?|number|num|name|code))?"
        rf"{_IS}{_TOKEN}",
    ),
    ("customer_id", rf"\buid{_IS}{_TOKEN}"),
    ("order_id", rf"\b(?:order|purchase|booking|invoice){_NO}?{_IS}{_TOKEN}"),
    ("order_id", rf"(?:订单|业务单|单){_NO}{_IS}{_TOKEN}"),
    ("order_id", rf"(?:订单|业务单){_IS}{_TOKEN}"),
)  # fmt: skip
_PHONE_CUES = (
    rf"\b(?:phone|mobile|cell(?:phone)?|tel(?:ephone)?|whatsapp|call me (?:at|on)|my number){_NO}?{_IS}{_PHONE}",
    rf"(?:手机|电话|联系方式|手机号码?|联系电话|号码)(?:号码?)?{_IS}{_PHONE}",
)
_TAIL_CUES = (
    r"(?:尾号|后四位|末四位|最后四位|后4位|尾数)[\s\"']*(?:[:=]|是|为)?[\s\"']*([0-9]{4})",
    r"\b(?:phone|mobile|number|cell)[^0-9.;\n]{0,24}\b(?:ending|ends)\s?(?:in|with)?[\s:]*([0-9]{4})",
    r"\b(?:ending|ends) (?:in|with)[\s:]*([0-9]{4})",
    r"\blast (?:four|4)(?: digits)?(?: of)?(?: my| the)?(?: phone| mobile| number)*{is}([0-9]{4})".replace("{is}", _IS),
    r"\bphone[_ ]tail[\"']?\s?[:=]?\s?[\"']?([0-9]{4})",
)
_CARD_CUE = r"(?:card|visa|master ?card|amex|unionpay|银行卡|信用卡|储蓄卡|借记卡|卡号|卡)[^。.;\n]{0,14}$"

# Shapes that need no cue. Each is a whole token; `_shape_holds` has the last word.
_SHAPES: tuple[tuple[Kind, str], ...] = (
    ("trace_id", r"00-([0-9a-f]{32})-[0-9a-f]{16}-0[0-9a-f]"),
    ("order_id", r"([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})"),
    ("trace_id", r"([0-9a-fA-F]{32})"),
    ("channel_txn_id", r"((?:pi|ch|py|cs|seti|in|txn)_[0-9A-Za-z_]{10,})"),
    ("refund_id", r"((?:re|pyr)_[0-9A-Za-z]{10,})"),
    ("channel_txn_id", r"(4200[0-9]{22,24})"),
    ("refund_id", r"(50[0-9]{26})"),
    ("channel_txn_id", r"(20[0-9]{26})"),
    ("channel_txn_id", r"([0-9A-Z]{17})"),
    ("customer_id", r"(u[0-9]{5,12})"),
    ("order_id", r"([A-Za-z]{1,4}[-_]?[0-9]{8,24})"),
    ("order_id", r"([0-9]{12,32})"),
    ("order_id", r"([0-9A-Za-z]{2,8}(?:[-_][0-9A-Za-z]{3,12}){1,3}|[0-9A-Za-z]{14,32})"),
)
_MOBILE = r"(?:\+?86[ -]?)?(1[3-9][0-9][ -]?[0-9]{4}[ -]?[0-9]{4})"
_ABROAD = r"(\+[1-9](?:[ ()-]{0,2}[0-9]){7,13})"
_DATE = r"(?:19|20)\d{2}[-_/.]?(?:0?[1-9]|1[0-2])[-_/.]?(?:0?[1-9]|[12]\d|3[01])(?:[T_-]?\d{2,6})?"


@cache
def _compiled() -> dict[str, Any]:
    """Every pattern, compiled at the first use."""
    flag = "(?i)"
    return {
        "cues": [(kind, re2.compile(flag + pattern)) for kind, pattern in _CUES],
        "phones": [re2.compile(flag + p) for p in _PHONE_CUES],
        "tails": [re2.compile(flag + p) for p in _TAIL_CUES],
        "card": re2.compile(flag + _CARD_CUE),
        "mobile": re2.compile(_MOBILE),
        "abroad": re2.compile(_ABROAD),
        "token": re2.compile(r"[0-9A-Za-z]+(?:[_-][0-9A-Za-z]+)*"),
        "shapes": [(kind, re2.compile(p)) for kind, p in _SHAPES],
        "date": re2.compile(_DATE),
        "and": re2.compile(rf"(?i)\s?(?:[,、;/&]|和|及|与|\band\b|\bor\b)\s?#?{_TOKEN}"),
    }


def read_identifiers(
    text: str, *, patterns: Mapping[str, Sequence[str]] | None = None, found_in: str = "description"
) -> list[tuple[str, str, str]]:
    """`(kind, value, found_in)` for each identifier that `text` names, in order, each kind and value once.

    A phone gives two: `phone` with its digits ("+" kept), and `phone_tail` with the last four. `patterns` adds the
    user's own RE2 patterns by kind, tried first; a group, where there is one, is the value. Raises `ValueError` for a
    kind that does not exist or a pattern that RE2 cannot take.

    >>> read_identifiers("订单号 SO20261180630727, 手机尾号 1928")
    [('order_id', 'SO20261180630727', 'description'), ('phone_tail', '1928', 'description')]
    """
    narrow = text.translate(_NARROW)
    taken = bytearray(len(narrow))
    found: list[tuple[int, str, str]] = []

    def keep(kind: str, value: str, start: int, end: int) -> None:
        if not any(taken[start:end]):
            taken[start:end] = b"\x01" * (end - start)
            found.append((start, kind, value))

    for kind, pattern in _own_patterns(patterns):
        for match in pattern.finditer(narrow):
            group = 1 if pattern.groups else 0
            if match.group(group):
                keep(kind, match.group(group), *match.span(group))
    for value, start, end in _phones(narrow):
        if not any(taken[start:end]):
            keep("phone", value, start, end)
            found.append((start, "phone_tail", value[-4:]))
    for kind, value, start, end in (*_tails(narrow), *_by_cue(narrow), *_by_shape(narrow)):
        keep(kind, value, start, end)
    found.sort(key=lambda hit: hit[0])
    return [(kind, value, found_in) for kind, value in dict.fromkeys((kind, value) for _, kind, value in found)]


def _own_patterns(patterns: Mapping[str, Sequence[str]] | None) -> Iterator[tuple[str, Any]]:
    for kind, own in (patterns or {}).items():
        if kind not in KINDS:
            raise ValueError(f"identifier kind {kind!r} does not exist; use one of {', '.join(KINDS)}")
        for pattern in own:
            try:
                yield kind, re2.compile(pattern)
            except re2.error as error:
                raise ValueError(f"identifier pattern {pattern!r} for {kind} is not valid RE2: {error}") from error


def _phones(text: str) -> Iterator[tuple[str, int, int]]:
    """Phone numbers as digits: after a cue, a mainland mobile number, or one with a country code."""
    rules = _compiled()
    for pattern in (*rules["phones"], rules["mobile"], rules["abroad"]):
        for match in pattern.finditer(text):
            start, end = match.span(1)
            if _whole(text, start, end) or (pattern is rules["mobile"] and _whole(text, match.start(), end)):
                raw = match.group(1)
                value = ("+" if raw.startswith("+") else "") + "".join(c for c in raw if c.isdigit())
                if value.startswith("+86") and len(value) == 14:
                    value = value[3:]
                if pattern is rules["abroad"] and len(value) < 9:
                    continue
                if not rules["date"].fullmatch(raw.replace(" ", "")):
                    yield value, start, end


def _tails(text: str) -> Iterator[tuple[Kind, str, int, int]]:
    """The last four digits of a phone; those of a card are none of our identifiers."""
    rules = _compiled()
    for pattern in rules["tails"]:
        for match in pattern.finditer(text):
            before = text[max(0, match.start() - 20) : match.start(1)]
            by_phone = re2.search("(?i)手机|电话|phone|mobile|cell", before)
            if _whole(text, *match.span(1)) and (by_phone or not rules["card"].search(before)):
                yield "phone_tail", match.group(1), *match.span(1)


def _whole(text: str, start: int, end: int) -> bool:
    """Whether no letter, digit or decimal goes on at either edge."""
    before, after = text[start - 1 : start], text[end : end + 1]
    return not (before.isascii() and (before.isalnum() or before in ("_", "+"))) and not (
        after.isascii()
        and (after.isalnum() or after == "_" or (after in (".", ":") and text[end + 1 : end + 2].isdigit()))
    )


def _by_cue(text: str) -> Iterator[tuple[Kind, str, int, int]]:
    """Values after a cue word, and those that follow in a list ("订单 A1、A2 和 A3")."""
    rules = _compiled()
    hits: list[tuple[int, int, Kind, str, int, int]] = []
    for rank, (kind, pattern) in enumerate(rules["cues"]):
        for match in pattern.finditer(text):
            cue = text[match.start() : match.start(1)]
            at: Any = match
            while at is not None:
                value, start, end = at.group(1).rstrip("-_"), at.start(1), at.start(1) + len(at.group(1).rstrip("-_"))
                if not _whole(text, start, end) or not _cue_holds(kind, value, cue, text[end : end + 12]):
                    break
                hits.append((start, rank, kind, value, start, end))
                at = rules["and"].match(text, end)
    hits.sort(key=lambda hit: (hit[0], hit[1]))
    for _, _, kind, value, start, end in hits:
        if kind == "trace_id" and (w3c := re2.fullmatch(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}", value)):
            yield kind, w3c.group(1), start, end
        else:
            yield kind, value, start, end


def _cue_holds(kind: Kind, value: str, cue: str, after: str) -> bool:
    """Whether a token after a cue is an identifier, not a date, an amount, a count or a plain word."""
    digits = sum(c.isdigit() for c in value)
    # "Order #7", "单号: 42": the cue says outright that a number follows.
    outright = any(c in cue for c in "#:=号") or bool(
        re2.search(r"(?i)\b(?:numbers?|nos?|ids?|nr|编号)\b", cue.replace("_", " "))
    )
    if digits < (1 if "#" in cue else 2 if outright else 4) or (len(value) < 2 and "#" not in cue):
        return False
    if re2.match(
        r"(?i)\s?(?:元|块|个|件|次|笔|天|分钟|小时|dollars?|usd|eur|cny|rmb|%|times|items?|days?|hours?|minutes?|am\b|pm\b|点|年|月)",
        after,
    ):
        return False
    if _compiled()["date"].fullmatch(value) and (not value.isdigit() or len(value) == 8):
        return False
    if not outright and len(value) == 4 and value.isdigit() and value[:2] in ("19", "20"):
        return False
    if kind == "trace_id":
        return len(value) >= 8 and bool(re2.fullmatch(r"[0-9A-Za-z-]+", value))
    if kind == "device":
        return len(value) >= 6
    if kind in ("channel_txn_id", "refund_id", "out_trade_no"):
        return len(value) >= 5
    return True


def _by_shape(text: str) -> Iterator[tuple[Kind, str, int, int]]:
    """Tokens that can hardly be anything but an identifier."""
    rules = _compiled()
    for token in rules["token"].finditer(text):
        word, (start, end) = token.group(), token.span()
        if len(word) < 6 or not _whole(text, start, end) or sum(c.isdigit() for c in word) < 4:
            continue
        if text[start - 1 : start] in ("$", "€", "¥", "£", ".", "@") or text[end : end + 1] == "@":
            continue
        for kind, pattern in rules["shapes"]:
            match = pattern.fullmatch(word)
            if match and _shape_holds(kind, match.group(1)):
                yield kind, match.group(1), start, end
                break


def _shape_holds(kind: str, value: str) -> bool:
    letters = sum(c.isalpha() for c in value)
    digits = sum(c.isdigit() for c in value)
    if len(value) == 18 and value[:17].isdigit() and value[17] in "Xx":
        return not _is_personal(value[:17] + "0")
    if value.isdigit():
        return not _is_date(value) and not _is_personal(value)
    if kind == "trace_id":
        return letters >= 2 and digits >= 2
    if kind == "channel_txn_id" and len(value) == 17:
        return letters >= 3 and digits >= 4
    if kind == "order_id" and not re2.fullmatch(
        r"[A-Za-z]{1,4}[-_]?[0-9]{8,24}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", value
    ):
        # A loose shape: many digits, and no date with a clock time behind it.
        return digits >= 8 and not _compiled()["date"].fullmatch(value)
    return not _compiled()["date"].fullmatch(value)


def _is_date(value: str) -> bool:
    """Whether a run of digits reads as a date with time, or as milliseconds since 1970 in this age."""
    if len(value) == 13 and value[0] == "1" and value[1] in "3456789":
        return True
    if len(value) in (12, 14, 17):
        try:
            moment = datetime.strptime(value[:14].ljust(14, "0"), "%Y%m%d%H%M%S")  # noqa: DTZ007 - only its shape counts
        except ValueError:
            return False
        return 2000 <= moment.year < 2100
    return False


def _is_personal(value: str) -> bool:
    """Whether a run of digits is shaped like a payment card or a Chinese identity number: no identifier of ours."""
    if len(value) == 18 and re2.fullmatch(
        r"[1-9]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{4}", value
    ):
        return True
    if not re2.fullmatch(r"(?:4|5[1-5]|2[2-7]|3[47]|35|6)\d{11,18}", value) or not 13 <= len(value) <= 19:
        return False
    total = 0
    for place, char in enumerate(reversed(value)):
        digit = int(char) * (1 + place % 2)
        total += digit - 9 * (digit > 9)
    return total % 10 == 0


_EDGE = "[^0-9A-Za-z]"


def values_in(messages: Any, values: Sequence[str]) -> Any:
    """Whether each line holds any of `values` as a whole token.

    Letters and digits end a token, so 123 is not in 91234 nor in A123, but is in "id=123," and "订单123已付". A null
    line gives false. `messages` is a string array or chunked array; so is the answer.
    """
    wanted = sorted({v for v in values if v})
    answer = pc.fill_null(pc.equal(pc.binary_length(messages), -1), False)
    # Some hundred literals a pattern keep RE2's automaton small.
    for first in range(0, len(wanted), 200):
        body = "|".join(re2.escape(v) for v in wanted[first : first + 200])
        pattern = rf"(?:^|{_EDGE})(?:{body})(?:{_EDGE}|$)"
        answer = pc.or_(answer, pc.fill_null(pc.match_substring_regex(messages, pattern), False))
    return answer


# Whole tokens of a log line by kind. `order_id` and `out_trade_no` have one shape: which it is, the orders must tell.
_TOKENS: dict[str, str] = {
    "trace_id": r"^[0-9a-f]*[a-f][0-9a-f]*$",
    "order_id": r"^(?:[A-Z]{1,4}[0-9]{8,24}|[0-9]{14,24}|[0-9a-f]{8}(?:_[0-9a-f]{4}){3}_[0-9a-f]{12})$",
    "out_trade_no": r"^(?:[A-Z]{1,4}[0-9]{8,24}|[0-9]{14,24})$",
    "channel_txn_id": r"^(?:(?:pi|ch|py|cs|seti|txn)_[0-9A-Za-z]{10,}|4200[0-9]{22,24}|20[0-9]{26}"
    r"|[0-9A-Z]*[A-Z][0-9A-Z]*)$",
    "refund_id": r"^(?:(?:re|pyr)_[0-9A-Za-z]{10,}|50[0-9]{26})$",
    "customer_id": r"^u[0-9]{5,12}$",
    "phone": r"^1[3-9][0-9]{9}$",
}
# What a line must hold at all before it is cut into tokens.
_HINTS: dict[str, str] = {
    "trace_id": r"[0-9a-f]{32}",
    "order_id": r"[A-Z][0-9]{8}|[0-9]{14}|[0-9a-f]{8}-[0-9a-f]{4}-",
    "out_trade_no": r"[A-Z][0-9]{8}|[0-9]{14}",
    "channel_txn_id": r"(?:pi|ch|py|cs|ti|xn)_[0-9A-Za-z]{10}|4200[0-9]{22}|20[0-9]{26}|[0-9A-Z]{17}",
    "refund_id": r"(?:re|yr)_[0-9A-Za-z]{10}|50[0-9]{26}",
    "customer_id": r"u[0-9]{5}",
    "phone": r"1[3-9][0-9]{9}",
}
_UUID = r"\b([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})\b"


def tokens_like(messages: Any, kinds: Sequence[str]) -> Any:
    """Every token of `messages` that has the shape of one of `kinds`: a table of `row` (int64), `kind`, `value`.

    Rows count from 0; a token that fits two kinds gives two rows. Only shapes speak here, no cue words: what comes back
    is a candidate to join with known values. Raises `ValueError` for a kind without a shape.
    """
    missing = [kind for kind in kinds if kind not in _TOKENS]
    if missing:
        raise ValueError(f"no token shape for {', '.join(missing)}; there is one for {', '.join(_TOKENS)}")
    lines = messages.combine_chunks() if isinstance(messages, pa.ChunkedArray) else messages
    parts = [part for kind in dict.fromkeys(kinds) for part in _tokens_of(lines, kind)]
    schema = pa.schema([("row", pa.int64()), ("kind", pa.string()), ("value", pa.string())])
    return (
        pa.concat_tables(parts).sort_by([("row", "ascending"), ("kind", "ascending")])
        if parts
        else schema.empty_table()
    )


def _tokens_of(lines: Any, kind: str) -> list[Any]:
    rows = pc.indices_nonzero(pc.fill_null(pc.match_substring_regex(lines, _HINTS[kind]), False))
    if len(rows) == 0:
        return []
    text = lines.take(rows)
    if kind == "order_id":
        text = pc.replace_substring_regex(text, _UUID, r"\1_\2_\3_\4_\5")
    split = pc.split_pattern_regex(text, "[^0-9A-Za-z_]+")
    tokens, owner = pc.list_flatten(split), pc.list_parent_indices(split)
    fits = pc.match_substring_regex(tokens, _TOKENS[kind])
    width = pc.binary_length(tokens)
    if kind == "trace_id":
        fits = pc.and_(fits, pc.equal(width, 32))
    elif kind == "channel_txn_id":
        # PayPal's seventeen characters: capitals and at least four digits.
        bare = pc.match_substring_regex(tokens, "^[0-9A-Z]+$")
        paypal = pc.and_(pc.equal(width, 17), pc.greater_equal(pc.count_substring_regex(tokens, "[0-9]"), 4))
        numbers = pc.match_substring_regex(tokens, "^[0-9]+$")
        fits = pc.and_(fits, pc.or_(pc.or_(pc.invert(bare), numbers), paypal))
    values = tokens.filter(fits)
    if kind == "order_id":
        values = pc.if_else(pc.match_substring(values, "_"), pc.replace_substring(values, "_", "-"), values)
    at = pc.cast(rows.take(owner.filter(fits)), pa.int64())
    table = pa.table({"row": at, "kind": pa.array([kind] * len(values), pa.string()), "value": values})
    return [table]
