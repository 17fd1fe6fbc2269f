"""The products that questions and entries name: payment channels and databases of the code table, as people write them."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

from pipeline.faults.tables import rows
from snapshots.model import Text

# Channels of the code table that people know as one product.
JOINED: Mapping[str, str] = {"wechatpay_v2": "wechatpay", "wechatpay_v3": "wechatpay"}
NAMES: Mapping[str, Text] = {
    "adyen": Text(en="Adyen", zh="Adyen"),
    "alipay": Text(en="Alipay", zh="支付宝"),
    "braintree": Text(en="Braintree", zh="Braintree"),
    "checkout": Text(en="Checkout.com", zh="Checkout.com"),
    "iso20022": Text(en="ISO 20022", zh="ISO 20022"),
    "iso8583": Text(en="ISO 8583", zh="ISO 8583"),
    "mysql": Text(en="MySQL", zh="MySQL"),
    "paypal": Text(en="PayPal", zh="PayPal"),
    "postgresql": Text(en="PostgreSQL", zh="PostgreSQL"),
    "square": Text(en="Square", zh="Square"),
    "stripe": Text(en="Stripe", zh="Stripe"),
    "unionpay": Text(en="UnionPay", zh="银联"),
    "wechatpay": Text(en="WeChat Pay", zh="微信支付"),
}
# Beside their names. A bare word that means something else, such as checkout or square, is not among them.
_SPELT: Mapping[str, tuple[str, ...]] = {
    "alipay": (r"ali ?pay", r"zhifubao", r"(?:acq|isv|isp|aop)\.", "支付宝"),
    "checkout": (r"checkout\.com",),
    "iso20022": (r"iso[ -]?20022", r"(?:pain|pacs|camt)\.0\d\d"),
    "iso8583": (r"(?:iso[ -]?)?8583",),
    "mysql": (r"mysql", r"mariadb"),
    "paypal": (r"pay ?pal", "贝宝"),
    "postgresql": (r"postgres(?:ql)?",),
    "square": (r"(?-i:Square)",),
    "unionpay": (r"union ?pay", r"chinaums", "银联", "云闪付"),
    "wechatpay": (r"we ?chat", r"weixin", r"wx ?pay", "微信"),
}


def product_of(channel: str) -> str:
    """The product that a channel of the code table belongs to.

    >>> product_of("wechatpay_v3")
    'wechatpay'
    """
    return JOINED.get(channel, channel)


def product_name(product: str) -> Text:
    """What people call it."""
    return NAMES.get(product) or Text(en=product, zh=product)


@functools.cache
def _spelt() -> dict[str, re.Pattern[str]]:
    products = {product_of(row["channel"]) for row in rows("channel_codes.csv")} & NAMES.keys()
    found = {}
    for product in sorted(products):
        ways = _SPELT.get(product, (re.escape(NAMES[product].en.lower()),))
        # Chinese has no spaces, so a letter beside a Chinese character ends a word, too.
        parts = (rf"(?<![a-z0-9]){way}" if way.isascii() else way for way in ways)
        found[product] = re.compile("|".join(parts), re.IGNORECASE)
    return found


def products_in(text: str) -> frozenset[str]:
    """The products that `text` names.

    >>> sorted(products_in("微信付不了, Alipay works"))
    ['alipay', 'wechatpay']
    """
    return frozenset(product for product, spelt in _spelt().items() if spelt.search(text))


def without_products(text: str) -> str:
    """`text` without the products' names, which say nothing of what is wrong."""
    for spelt in _spelt().values():
        text = spelt.sub(" ", text)
    return " ".join(text.split())
