"""The answers of gateways in a text: their codes, message, status, address and trade numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc
import re2

from parsers.bodies.channels import channel_of
from parsers.bodies.fields import CODE, CODE_FIELDS, CODE_RANK, MESSAGE_RANK, NO_CODE, TRADE, plain_name
from parsers.bodies.shapes import XML, Pairs, alipay_line, loose_pairs, objects_in, pairs_of, xml_pairs

# Longest text that is looked at: an answer of a gateway is far smaller.
_LONGEST = 200_000


@dataclass(frozen=True)
class Reply:
    """One answer of a gateway.

    `codes` are (field, code) pairs, the most specific first; codes of success are among them. `http_status` and `url` may
    come from the text around. `trade_ids` are order, trade and transaction numbers, in order of appearance.
    """

    channel: str | None
    codes: tuple[tuple[str, str], ...]
    message: str | None = None
    http_status: int | None = None
    url: str | None = None
    trade_ids: tuple[str, ...] = ()


# Whatever a gateway calls it: what ends like this is told after the fields that are known.
_TELLING = re2.compile(r"(message|messages\[\]|msg|desc|description|detail|reasontext|errordes)$")
# Fields of these names are codes only beside other fields of a gateway; alone they are everyday words.
_WEAK = {"name", "type", "error", "code", "issue", "error.type", "errortype"}

_HINT = (
    r"(?i)sub_?code|err_?code|error_?code|decline_?code|result_?code|return_?code|resp(?:onse)?_?code|refusal_?reason|ret_?code"
    r"|channel_?err|reason_?code|biz_?code|\^_\^|request-id|issue[\"']|debug_id|l_errorcode|\back=|gateway_?rejection|status_detail"
    r"|\bcode\\?[\"'\]]*\s?(?:=>|[:=：])|_response\\?\"|\"error\\?\"|trade_?stat|rsncd|错误代码|错误码|结果代码|返回代码|返回码|应答码|响应码"
    r"|failure_?(?:code|reason)|gateway_?code|\"status\\?\":\s?[45]\d\d|<(?:xml|err_code|return_code|code)>|\b[45]\d\d [A-Z][A-Z0-9]+_[A-Z0-9_]+|failed validation\. Reason|rpc error"
)
_URL = re2.compile(r"https?://[^\s\"'<>，。；）)\]}|\\^]+")
_STATUSES = (
    re2.compile(r"\bHTTP/\d(?:\.\d)?\"? ([1-5]\d\d)\b"),
    re2.compile(r"(?i)\bHTTP(?: ?status)?(?: code)?[ :=]{1,2}([1-5]\d\d)\b"),
    re2.compile(
        r"(?i)(?:\bstatus(?:_?code)?|\bhttp_?(?:code|status)|\bresponse_code|状态码)\\?[\"']?\s?[:=：]\s?\\?[\"']?([1-5]\d\d)\b"
    ),
    re2.compile(r"\b([45]\d\d) (?:[A-Z][A-Z0-9]+_[A-Z0-9_]+|\{)"),
)
_REQUEST_ID = re2.compile(r"(?i)request-id\\?[\"']?\s*[:=：]?\s*\\?[\"']?[0-9A-F]{16,}[0-9A-F-]*-(\d{4,12})(?:\D|$)")


def may_hold_reply(messages: Any) -> Any:
    """A boolean Array: whether `read_replies` could find anything in each message. Null gives false."""
    return pc.fill_null(pc.match_substring_regex(messages, _HINT), fill_value=False)


def read_replies(text: str) -> list[Reply]:
    """The gateway answers in `text`, in order of appearance; empty where there are none. Never raises on bad text.

    >>> read_replies('HTTP 402 {"error":{"code":"card_declined","decline_code":"insufficient_funds"}}')[0].codes
    (('decline_code', 'insufficient_funds'), ('code', 'card_declined'))
    """
    text = text[:_LONGEST]
    replies: list[Reply] = []
    rest = []
    position = 0
    around: Pairs = []
    request = _REQUEST_ID.search(text)
    if request:
        around.append(("Request-Id", request.group(1)))
    if "^_^" in text:
        around.extend(alipay_line(text))
    for start, end, value in objects_in(text):
        rest.append(text[position:start])
        position = end
        reply = _reply(list(pairs_of("", value, 0)), text, sure=True, around=around)
        if reply is not None:
            replies.append(reply)
    rest.append(text[position:])
    loose = " ".join(rest)
    xml = xml_pairs(loose)
    if xml:
        reply = _reply(xml, text, sure=True, around=around)
        if reply is not None:
            replies.append(reply)
        loose = XML.sub(" ", loose)
    if not replies:
        reply = _reply([*around, *loose_pairs(loose)], text, sure=False, around=[])
        if reply is not None:
            replies.append(reply)
    return replies


def _names(path: str) -> list[str]:
    """The names under which `path` may be known, the longest first: its last three, two and one parts."""
    parts = path.split(".")
    return [plain_name(".".join(parts[-size:])) for size in (3, 2, 1) if size <= len(parts)]


def _reply(pairs: Pairs, text: str, *, sure: bool, around: Pairs) -> Reply | None:
    """The pairs as one answer, or None where they hold no code.

    `sure` is false for pairs from loose text. `around` are pairs of the text around an answer: they add to it, but make none.
    """
    own = len(pairs)
    pairs = [*pairs, *around]
    owned = False
    codes: list[tuple[int, str, str]] = []
    told: list[tuple[int, str]] = []
    trades: list[str] = []
    known: set[str] = set()
    for number, (path, value) in enumerate(pairs):
        names = _names(path)
        known.update(names)
        name = next((name for name in names if name in CODE_RANK), None)
        if name is not None:
            # In loose text a code is the value's first word.
            code = value if sure else value.split(" ")[0].strip("\"'[]()")
            if _is_code(name, code):
                codes.append((CODE_RANK[name], _shown(path), code))
                owned = owned or number < own
        name = next((name for name in names if name in MESSAGE_RANK), None)
        rank = MESSAGE_RANK[name] if name is not None else len(MESSAGE_RANK)
        telling = name is not None or _TELLING.search(names[-1]) is not None
        if telling and value.lower() not in NO_CODE and not value.startswith("{"):
            told.append((rank, value))
        if names[-1] in TRADE and 4 <= len(value) <= 64 and " " not in value:
            trades.append(value)
    if sure and {"status", "title", "detail"} <= known:
        # RFC 9457, which Mollie answers with: the status is the only code.
        problem = [value for path, value in pairs if path == "status" and value.isdigit()]
        codes += [(len(CODE_FIELDS), "status", value) for value in problem]
        owned = owned or bool(problem)
    unreached = any(path == "alipay" for path, _ in pairs) and not codes and bool(told)
    strong = [code for code in codes if plain_name(code[1]) not in _WEAK]
    if not unreached and (not owned or not (strong or sure or _weak_is_enough(codes, known))):
        return None
    if "requestid" in known and any(path == "Request-Id" for path, _ in pairs):
        known.add("requestid#")
    ordered = [(field, code) for _, field, code in sorted(codes, key=lambda one: one[0])]
    url = _URL.search(text)
    return Reply(
        channel=channel_of(pairs, known, ordered, url.group(0) if url else None, text),
        codes=tuple(dict.fromkeys(ordered)),
        message=min(told, key=lambda one: one[0])[1] if told else None,
        http_status=_status(text),
        url=url.group(0) if url else None,
        trade_ids=tuple(dict.fromkeys(trades)),
    )


def _weak_is_enough(codes: list[tuple[int, str, str]], known: set[str]) -> bool:
    """Whether everyday field names may be codes: beside a gateway's fields, or by the code's own look."""
    if known & {
        "debugid",
        "desc",
        "refusalreason",
        "pspreference",
        "outtradeno",
        "alipay",
        "msg",
        "message",
        "errormessage",
    }:
        return True
    return any(field == "code" and (code.isdigit() or code.isupper() or "_" in code) for _, field, code in codes)


def _is_code(name: str, value: str) -> bool:
    if value.lower() in NO_CODE or not CODE.search(value):
        return False
    if name in {"name", "error", "type", "issue"}:
        return "_" in value or value.isupper()
    if name in {"status", "error.type", "errortype"}:
        return not value.isdigit()
    return True


def _shown(path: str) -> str:
    """The field as its gateway's reference names it: the last part, with the list it stands in."""
    parts = path.split(".")
    if len(parts) > 1 and parts[-2].endswith("[]"):
        return f"{parts[-2]}.{parts[-1]}"
    return parts[-1]


def _status(text: str) -> int | None:
    for pattern in _STATUSES:
        match = pattern.search(text)
        if match:
            return int(match.group(1))
    return None
