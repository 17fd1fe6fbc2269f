"""Whose answer it is: by the shape, by the address, by the only channel that the text names."""

from __future__ import annotations

import re2

from parsers.bodies.shapes import Pairs

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


def channel_of(pairs: Pairs, known: set[str], codes: Pairs, url: str | None, text: str) -> str | None:
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
