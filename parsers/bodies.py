"""The answers of payment gateways inside log messages.

A gateway's answer comes as JSON, as XML, as a language's way to print a mapping, or as loose `field=value` text. Whatever the
shape, the wanted fields are few and their names are known, so each shape is brought to (field, value) pairs and read by one
set of rules. Nothing is executed or expanded: XML is read by a linear-time expression, so entities stay what they are.

Field names follow the gateways' own references: Alipay's common error codes (`sub_code`), WeChat Pay v2 (`err_code`) and v3
(`code`, the number behind the last dash of Request-Id), Stripe (`decline_code`), PayPal (`details[].issue`, NVP
`L_ERRORCODE0`), Adyen (`refusalReasonCode`), Braintree, Checkout.com, UnionPay (`respCode`), Mercado Pago, Razorpay, Mollie.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc
import re2

# Longest text that is looked at, and how many objects in it: an answer of a gateway is far smaller.
_LONGEST = 200_000
_MOST = 24
# Longest value of a loose field.
_VALUE = 1_000


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


# Most specific first. Compared without case, underscores and dashes.
_CODE_FIELDS = (
    "Request-Id",
    "sub_code",
    "network_decline_code",
    "decline_code",
    "details[].issue",
    "issue",
    "err_code",
    "refusalReasonCode",
    "gateway_rejection_reason",
    "gatewayRejectionReason",
    "processor_response_code",
    "processorResponseCode",
    "processor_response.response_code",
    "network_response_code",
    "networkResponseCode",
    "response_code",
    "responseCode",
    "status_detail",
    "failure_code",
    "failureCode",
    "failureReason",
    "failure_reason",
    "gatewayCode",
    "gateway_code",
    "RsnCd",
    "DE39",
    "respCode",
    "channelErrCode",
    "channel_err_code",
    "origRespCode",
    "L_ERRORCODE0",
    "L_ERRORCODE1",
    "pfError",
    "reason_code",
    "reasonCode",
    "error_codes[]",
    "errorCode",
    "error_code",
    "errcode",
    "errors[].code",
    "errors[].reason",
    "cause[].code",
    "error.reason",
    "retCode",
    "ret_code",
    "bizCode",
    "biz_code",
    "code",
    "error.code",
    "error",
    "name",
    "type",
    "error.type",
    "errorType",
    "error_type",
    "result_code",
    "resultCode",
    "return_code",
    "returnCode",
    "trade_state",
    "tradeState",
    "trade_status",
    "tradeStatus",
    "ACK",
    "错误代码",
    "错误码",
    "结果代码",
    "返回代码",
    "返回码",
    "应答码",
    "响应码",
    "业务码",
)
_MESSAGE_FIELDS = (
    "sub_msg",
    "err_code_des",
    "errCodeDes",
    "refusalReason",
    "details[].description",
    "processor_response_text",
    "processorResponseText",
    "response_summary",
    "channelErrMsg",
    "respMsg",
    "error.message",
    "error.description",
    "L_LONGMESSAGE0",
    "L_SHORTMESSAGE0",
    "errmsg",
    "errMsg",
    "error_message",
    "errorMessage",
    "error_description",
    "errors[].detail",
    "errors[].message",
    "cause[].description",
    "message",
    "description",
    "detail",
    "msg",
    "return_msg",
    "reason",
    "desc",
    "title",
    "错误详情",
    "错误信息",
    "错误描述",
    "返回信息",
    "异常信息",
)
_TRADE_FIELDS = (
    "out_trade_no",
    "outTradeNo",
    "trade_no",
    "tradeNo",
    "transaction_id",
    "transactionId",
    "out_refund_no",
    "refund_id",
    "pspReference",
    "originalReference",
    "merchantReference",
    "payment_intent",
    "charge",
    "payment_id",
    "paymentId",
    "orderId",
    "order_id",
    "orderNo",
    "order_no",
    "mchOrderNo",
    "payOrderId",
    "channelOrderId",
    "queryId",
    "TRANSACTIONID",
    "external_reference",
    "m_payment_id",
    "pf_payment_id",
    "invoice_id",
    "capture_id",
    "reference",
    "id",
)


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


_CODE_RANK = {_plain(name): rank for rank, name in reversed(list(enumerate(_CODE_FIELDS)))}
_MESSAGE_RANK = {_plain(name): rank for rank, name in reversed(list(enumerate(_MESSAGE_FIELDS)))}
_TRADE = {_plain(name) for name in _TRADE_FIELDS}
# Whatever a gateway calls it: what ends like this is told after the fields that are known.
_TELLING = re2.compile(r"(message|messages\[\]|msg|desc|description|detail|reasontext|errordes)$")
# Fields of these names are codes only beside other fields of a gateway; alone they are everyday words.
_WEAK = {"name", "type", "error", "code", "issue", "error.type", "errortype"}
_NO_CODE = {"", "null", "none", "nil", "true", "false", "undefined", "n/a", "-", "\\n"}

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
_XML = re2.compile(r"<([A-Za-z_][\w.]*)(?:\s[^<>]*)?>\s*(?:<!\[CDATA\[((?:[^\]]|\][^\]]|\]\][^>])*)\]\]>|([^<]*))\s*</")
_KEY = re2.compile(
    r"(?:^|[^\w.\]-])[\[\"'\\]*([A-Za-z_][\w.-]*(?:\[\d*\])?|错误代码|错误码|结果代码|返回代码|返回码|应答码|响应码|业务码|错误详情|错误信息|错误描述|返回信息|异常信息)"
    r"[\]\"'\\】]*\s?(?:=>|[=:：])\s?"
)
_QUOTED = re2.compile(r"^\\?(?:\"((?:[^\"\\]|\\[^\"])*)\\?\"|'((?:[^'\\]|\\.)*)')")
_BARE = re2.compile(r"^[^\s\"'{}\[\](),，;；&|\n][^\"{}\[\](),，;；&|\n]*")
_RPC = re2.compile(r"rpc error: code = (\w+) desc = ([^\n]*)")
_STATUS_CODE = re2.compile(r"\b[45]\d\d ([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)\b")
_VALIDATION = re2.compile(r"failed validation\. Reason: (\w+)")
_CODE = re2.compile(r"^[A-Za-z0-9][\w./:-]{0,79}$")
_ALIPAY = re2.compile(r"alipay_[a-z_]+_response|error_response")

_HOSTS = {
    "alipay": "alipay",
    "alipaydev": "alipay",
    "weixin.qq": "wechatpay",
    "tenpay": "wechatpay",
    "wechatpay": "wechatpay",
    "stripe": "stripe",
    "paypal": "paypal",
    "adyen": "adyen",
    "95516": "unionpay",
    "unionpay": "unionpay",
    "chinaums": "unionpay",
    "braintree": "braintree",
    "checkout.com": "checkout",
    "mercadopago": "mercadopago",
    "mercadolibre": "mercadopago",
    "razorpay": "razorpay",
    "mollie": "mollie",
    "payfast": "payfast",
    "squareup": "square",
    "klarna": "klarna",
    "worldpay": "worldpay",
    "authorize.net": "authorizenet",
    "cybersource": "cybersource",
    "paystack": "paystack",
    "flutterwave": "flutterwave",
    "gocardless": "gocardless",
    "xendit": "xendit",
    "midtrans": "midtrans",
    "paytm": "paytm",
    "payu": "payu",
    "2checkout": "2checkout",
}
_WORDS = re2.compile(
    r"(?i)(alipay|支付宝|wechat ?pay|weixin|wxpay|微信支付|stripe|paypal|adyen|unionpay|银联|云闪付|ysfpay|braintree|checkout\.com"
    r"|mercado ?pago|razorpay|mollie|payfast|squareup|klarna|worldpay|cybersource|paystack|flutterwave|gocardless|xendit|midtrans|paytm)"
)
_WORD_CHANNELS = {
    "支付宝": "alipay",
    "wechatpay": "wechatpay",
    "weixin": "wechatpay",
    "wxpay": "wechatpay",
    "微信支付": "wechatpay",
    "银联": "unionpay",
    "云闪付": "unionpay",
    "ysfpay": "unionpay",
    "checkout.com": "checkout",
    "squareup": "square",
}
# Fields that only one channel has.
_MARKS = (
    ("alipay", {"submsg"}),
    ("adyen", {"pspreference"}),
    ("adyen", {"refusalreasoncode"}),
    ("adyen", {"refusalreason"}),
    ("paypal", {"debugid"}),
    ("paypal", {"lerrorcode0"}),
    ("paypal", {"correlationid", "ack"}),
    ("wechatpay", {"errcodedes"}),
    ("wechatpay", {"returncode", "resultcode"}),
    ("wechatpay", {"mchid"}),
    ("wechatpay", {"requestid#"}),
    ("wechatpay", {"错误代码", "返回代码"}),
    ("stripe", {"error.declinecode"}),
    ("stripe", {"declinecode"}),
    ("stripe", {"error.docurl"}),
    ("stripe", {"error.paymentintent"}),
    ("stripe", {"errorparam", "errortype"}),
    ("stripe", {"error.requestlogurl"}),
    ("braintree", {"processorresponsecode"}),
    ("braintree", {"gatewayrejectionreason"}),
    ("checkout", {"responsesummary"}),
    ("checkout", {"errorcodes[]", "errortype"}),
    ("mercadopago", {"statusdetail"}),
    ("mercadopago", {"cause[].code"}),
    ("razorpay", {"error.source", "error.step"}),
    ("razorpay", {"error.reason", "error.description"}),
    ("mollie", {"links.documentation.href"}),
    ("payfast", {"mpaymentid"}),
    ("payfast", {"pfpaymentid"}),
    ("unionpay", {"respcode", "respmsg"}),
    ("unionpay", {"respcode", "txnamt"}),
    ("unionpay", {"respcode", "queryid"}),
    ("unionpay", {"respcode", "orderid"}),
    ("square", {"errors[].category"}),
)
_STRIPE_TYPES = {
    "card_error",
    "invalid_request_error",
    "api_error",
    "idempotency_error",
    "authentication_error",
    "rate_limit_error",
}

Pairs = list[tuple[str, str]]


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
        around.extend(_alipay_line(text))
    for start, end, value in _objects(text):
        rest.append(text[position:start])
        position = end
        reply = _reply(list(_pairs("", value, 0)), text, sure=True, around=around)
        if reply is not None:
            replies.append(reply)
    rest.append(text[position:])
    loose = " ".join(rest)
    xml = _xml_pairs(loose)
    if xml:
        reply = _reply(xml, text, sure=True, around=around)
        if reply is not None:
            replies.append(reply)
        loose = _XML.sub(" ", loose)
    if not replies:
        reply = _reply([*around, *_loose_pairs(loose)], text, sure=False, around=[])
        if reply is not None:
            replies.append(reply)
    return replies


# Shapes


def _objects(text: str) -> Iterator[tuple[int, int, Any]]:
    """The JSON objects in `text` with their places; an object that is itself a string's content is unescaped first."""
    decoder = json.JSONDecoder()
    position = 0
    for _ in range(_MOST):
        start = text.find("{", position)
        if start < 0:
            return
        position = start + 1
        ahead = text[start + 1 : start + 40].lstrip()
        if ahead.startswith('\\"'):
            end = text.rfind("}") + 1
            try:
                value, _ = decoder.raw_decode(text[start:end].replace('\\"', '"').replace("\\\\", "\\"))
            except (ValueError, RecursionError):
                continue
            yield start, end, value
            return
        if not ahead.startswith('"'):
            continue
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        yield start, end, value
        position = end


def _pairs(path: str, value: Any, depth: int) -> Iterator[tuple[str, str]]:
    """Every scalar below `value` as (path, text); strings that hold JSON are read as well."""
    if depth > 8:
        return
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _pairs(f"{path}.{key}" if path else str(key), below, depth + 1)
    elif isinstance(value, list):
        for below in value[:_MOST]:
            yield from _pairs(f"{path}[]", below, depth + 1)
    elif isinstance(value, str) and value.lstrip()[:2] in {'{"', "{}"}:
        try:
            yield from _pairs(path, json.loads(value), depth + 1)
        except (ValueError, RecursionError):
            yield path, value
    elif isinstance(value, str) and "<" in value and "</" in value:
        yield from _xml_pairs(value)
    elif value is not None and not isinstance(value, bool):
        yield path, str(value) if not isinstance(value, float) else repr(value)


def _xml_pairs(text: str) -> Pairs:
    """Element names and texts, without nesting."""
    if "</" not in text:
        return []
    return [(name, (data or plain).strip()) for name, data, plain in _XML.findall(text) if (data or plain).strip()]


def _alipay_line(text: str) -> Pairs:
    """The fields of the Alipay SDK's own log, joined by `^_^`."""
    parts = [part.strip() for part in text.split("^_^")]
    scene = next((number for number, part in enumerate(parts) if part.endswith(("ErrorScene", "Summary"))), None)
    pairs: Pairs = [("alipay", "1")]
    if scene is not None:
        if len(parts) > scene + 2 and _CODE.search(parts[scene + 2]) and "." in parts[scene + 2]:
            pairs.append(("sub_code", parts[scene + 2]))
        if len(parts) > scene + 1 and parts[scene + 1].isdigit():
            pairs.append(("code", parts[scene + 1]))
    elif len(parts) > 8:
        pairs.append(("error_message", parts[8]))
    return pairs


def _loose_pairs(text: str) -> Pairs:
    """`field=value`, `field: value`, `'field': 'value'`, `[field] => value` and the Chinese forms of them."""
    pairs: Pairs = []
    rpc = _RPC.search(text)
    if rpc:
        pairs += [("code", rpc.group(1)), ("desc", rpc.group(2))]
    reason = _VALIDATION.search(text)
    if reason:
        pairs.append(("reason_code", reason.group(1)))
    keys = list(_KEY.finditer(text))
    reached = 0
    for number, key in enumerate(keys):
        if key.start(1) < reached:
            continue
        start = key.end(0)
        quoted = _QUOTED.search(text[start : start + _VALUE])
        if quoted:
            reached = start + quoted.end(0)
            value = quoted.group(1) or quoted.group(2) or ""
        else:
            # A bare value ends before the next field.
            end = keys[number + 1].start(1) if number + 1 < len(keys) else len(text)
            bare = _BARE.search(text[start : min(end, start + _VALUE)])
            value = bare.group(0) if bare else ""
        value = value.strip(" \t\r.。、'")
        if value:
            pairs.append((key.group(1), value))
    bare_code = _STATUS_CODE.search(text)
    if bare_code:
        pairs.append(("code", bare_code.group(1)))
    return pairs


# Meaning


def _names(path: str) -> list[str]:
    """The names under which `path` may be known, the longest first: its last three, two and one parts."""
    parts = path.split(".")
    return [_plain(".".join(parts[-size:])) for size in (3, 2, 1) if size <= len(parts)]


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
        name = next((name for name in names if name in _CODE_RANK), None)
        if name is not None:
            # In loose text a code is the value's first word.
            code = value if sure else value.split(" ")[0].strip("\"'[]()")
            if _is_code(name, code):
                codes.append((_CODE_RANK[name], _shown(path), code))
                owned = owned or number < own
        name = next((name for name in names if name in _MESSAGE_RANK), None)
        rank = _MESSAGE_RANK[name] if name is not None else len(_MESSAGE_RANK)
        telling = name is not None or _TELLING.search(names[-1]) is not None
        if telling and value.lower() not in _NO_CODE and not value.startswith("{"):
            told.append((rank, value))
        if names[-1] in _TRADE and 4 <= len(value) <= 64 and " " not in value:
            trades.append(value)
    if sure and {"status", "title", "detail"} <= known:
        # RFC 9457, which Mollie answers with: the status is the only code.
        problem = [value for path, value in pairs if path == "status" and value.isdigit()]
        codes += [(len(_CODE_FIELDS), "status", value) for value in problem]
        owned = owned or bool(problem)
    unreached = any(path == "alipay" for path, _ in pairs) and not codes and bool(told)
    strong = [code for code in codes if _plain(code[1]) not in _WEAK]
    if not unreached and (not owned or not (strong or sure or _weak_is_enough(codes, known))):
        return None
    if "requestid" in known and any(path == "Request-Id" for path, _ in pairs):
        known.add("requestid#")
    ordered = [(field, code) for _, field, code in sorted(codes, key=lambda one: one[0])]
    url = _URL.search(text)
    return Reply(
        channel=_channel(pairs, known, ordered, url.group(0) if url else None, text),
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
    if value.lower() in _NO_CODE or not _CODE.search(value):
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


def _channel(pairs: Pairs, known: set[str], codes: Pairs, url: str | None, text: str) -> str | None:
    """Whose answer it is: by the shape, by the address, by the only channel that the text names."""
    if any(path == "alipay" or _ALIPAY.search(path) for path, _ in pairs):
        return "alipay"
    if any(code.startswith(("ACQ.", "isv.", "isp.", "aop.")) for _, code in codes):
        return "alipay"
    for channel, marks in _MARKS:
        if marks <= known:
            return channel
    if any(field in {"type", "error_type"} and code in _STRIPE_TYPES for field, code in codes):
        return "stripe"
    if url:
        host = url.split("/")[2].lower()
        for part, channel in _HOSTS.items():
            if part in host:
                return channel
    words = {word.lower().replace(" ", "") for word in _WORDS.findall(text)}
    channels = {_WORD_CHANNELS.get(word, word) for word in words}
    return channels.pop() if len(channels) == 1 else None


__all__ = ["Reply", "may_hold_reply", "read_replies"]
