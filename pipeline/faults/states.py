"""Raw order and payment states -> the 22 normal states of `normal_states.csv`.

A shop system's own words apply to its orders, a channel's to attempts, callbacks, queries and refunds. Where the tables
have no row, plain words (`INIT`, `CREATE_FAILED`, `已支付`) and then the channel's response codes are tried. What is
left is UNKNOWN, and `StateFact.known` is false so that the reader can be told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final

from pipeline.faults.tables import channel_key, codes, rows

# The sets P, O and E of the order rules.
PAID_LIKE: Final = frozenset(
    {"PAID", "PARTIALLY_PAID", "OVERPAID", "PARTIALLY_REFUNDED", "REFUNDED", "COMPLETED", "REFUND_PENDING"}
)
OPEN: Final = frozenset({"CREATED", "AWAITING_PAYMENT", "REQUIRES_ACTION", "PROCESSING"})
ENDED_WITHOUT_MONEY: Final = frozenset({"FAILED", "CANCELLED", "CLOSED"})
# The channel holds the payer's money: P without what went back in full.
CHANNEL_MONEY: Final = PAID_LIKE - {"REFUNDED"}
# Paid in the shop's eyes, before anything went back.
SHOP_PAID: Final = frozenset({"PAID", "PARTIALLY_PAID", "OVERPAID", "COMPLETED"})
HELD: Final = frozenset({"AUTHORIZED", "PARTIALLY_AUTHORIZED"})
REFUND_STATES: Final = frozenset({"REFUND_PENDING", "PARTIALLY_REFUNDED", "REFUNDED", "REFUND_FAILED"})

NORMAL_STATES: Final = (
    "CREATED",
    "AWAITING_PAYMENT",
    "REQUIRES_ACTION",
    "PROCESSING",
    "AUTHORIZED",
    "PARTIALLY_AUTHORIZED",
    "PAID",
    "PARTIALLY_PAID",
    "OVERPAID",
    "FAILED",
    "CANCELLED",
    "CLOSED",
    "REVIEW",
    "REFUND_PENDING",
    "PARTIALLY_REFUNDED",
    "REFUNDED",
    "REFUND_FAILED",
    "DISPUTED",
    "CHARGEBACK",
    "COMPLETED",
    "MISMATCH",
    "UNKNOWN",
)

_SHOP_SYSTEMS = frozenset({"jeepay", "killbill", "magento", "medusa", "saleor", "shopify", "solidus", "woocommerce"})
_VOCABULARY: Mapping[str, str] = {
    "wechat": "wechatpay",
    "weixin": "wechatpay",
    "weixinpay": "wechatpay",
    "wxpay": "wechatpay",
    "wx": "wechatpay",
    "wechatpayv2": "wechatpay",
    "wechatpayv3": "wechatpay",
    "ali": "alipay",
    "upacp": "unionpay",
    "checkoutcom": "checkout",
    "squareup": "square",
    "woo": "woocommerce",
    "wc": "woocommerce",
    "adobecommerce": "magento",
    "medusajs": "medusa",
    "shopifyplus": "shopify",
    "spree": "solidus",
}
# Objects whose words say how a whole order stands, best first, for systems that have several.
_ORDER_OBJECTS = (
    "order.status",
    "order.state",
    "order",
    "pay_order.state",
    "financial_status",
    "order.payment_state",
    "order_charge_status",
    "order(legacy)",
    "payment_collection",
    "charge_status",
    "payment_intent",
    "payment_state",
)
_PAYMENT_OBJECTS = (
    "payment_attempt",
    "payment_intent",
    "trade",
    "origRespCode",
    "resultCode",
    "transaction",
    "payment",
    "payment_session",
    "payment_state",
    "charge",
    "capture",
    "order",
    "authorization",
    "transaction_kind",
    "pay_order.state",
)
_REFUND_OBJECTS = ("refund", "refund_order.state")
# Capture and authorization share words with refund objects of other meaning; these never answer for a payment.
_NEVER_FOR_PAYMENT = frozenset({"dispute", "pay_order.refund_state", *_REFUND_OBJECTS})

# A payment's word said of a refund.
_AS_REFUND: Mapping[str, str] = {
    "CREATED": "REFUND_PENDING",
    "AWAITING_PAYMENT": "REFUND_PENDING",
    "REQUIRES_ACTION": "REFUND_PENDING",
    "PROCESSING": "REFUND_PENDING",
    "AUTHORIZED": "REFUND_PENDING",
    "REVIEW": "REFUND_PENDING",
    "PAID": "REFUNDED",
    "COMPLETED": "REFUNDED",
    "PARTIALLY_PAID": "PARTIALLY_REFUNDED",
    "FAILED": "REFUND_FAILED",
    "CANCELLED": "REFUND_FAILED",
    "CLOSED": "REFUND_FAILED",
}

# Plain words, tried from the top against the state written as `_snake_case_` (English) or as it is (Chinese).
# More telling words come before the words that they contain.
_WORDS: tuple[tuple[str, str], ...] = (
    (r"not_?exist|not_?found|no_such|resource_missing|不存在|查无", "NOT_FOUND"),
    (r"chargeback|charged_back|拒付", "CHARGEBACK"),
    (r"dispute|_claim|争议", "DISPUTED"),
    (r"refund\w*(fail|err|abnormal|reject|refus|declin|clos|cancel)|退款(失败|异常|关闭|被拒)", "REFUND_FAILED"),
    (r"(partial\w*refund|refund\w*partial)(?!\w*(pend|process))|部分退款", "PARTIALLY_REFUNDED"),
    (
        r"refund\w*(pend|process|ongoing|progress|init|creat|request|appl|accept|wait)|refunding|退款(中|处理|申请|待)",
        "REFUND_PENDING",
    ),
    (r"refund|退款", "REFUNDED"),
    (r"mismatch|conflicted|integrity|不一致", "MISMATCH"),
    (r"time_?out\w*(clos|cancel)|(clos|cancel)\w*time_?out|超时(关闭|取消)", "CLOSED"),
    (r"unknown|indeterminate|ambiguous|_time_?out|timed_out|no_answer|no_response|超时|未知|不明", "UNKNOWN"),
    (r"review|on_?hold|_held|_manual|审核|风控中", "REVIEW"),
    (r"fail|declin|reject|refus|denied|_deny|error|invalid|unsuccess|not_success|失败|拒绝|异常|[未不]成功", "FAILED"),
    (
        (
            r"unpaid|not_?(pa(y|id)|charged|confirmed|complet)|uncharged|unconfirmed|incomplete|wait_?(buyer|pay|for_pay)|await|pending_payment|payment_pending|payment_due|balance_due"
            r"|_open_|未支付|未完成|未付|待支付|待付款|等待付款|等待支付"
        ),
        "AWAITING_PAYMENT",
    ),
    (r"require|_action|challenge|3ds|redirect|user_?paying|待验证|待用户|输入密码", "REQUIRES_ACTION"),
    (r"cancel|_void|revok|revers|abandon|撤销|取消|作废", "CANCELLED"),
    (r"expir|close|关闭|过期|失效", "CLOSED"),
    (r"partial\w*auth|auth\w*partial", "PARTIALLY_AUTHORIZED"),
    (r"partial|部分支付|部分付款", "PARTIALLY_PAID"),
    (r"overpa|overcharged|credit_owed|多付", "OVERPAID"),
    (r"to_capture|uncaptured|authori[sz]ed|_auth_|auth_success|_on_hold_funds|预授权|已授权", "AUTHORIZED"),
    (r"shipped|(?<!un)deliver|(?<!un)fulfil|finish|archived|已完成|已发货|交易完成|已签收", "COMPLETED"),
    (r"payment_accepted|paiement_accepte", "PAID"),
    (
        (
            r"process|unsettled|in_progress|pending|submitted|received|accepted|authori[sz]ing|_sent_|queued|_paying|处理中|支付中|进行中"
            r"|受理"
        ),
        "PROCESSING",
    ),
    (r"captur|settl|paid|succe|complet|approved|charged|confirmed|_ok_|已支付|已付|支付成功|成功|已到账", "PAID"),
    (r"creat|_new_|_init|draft|cart|started|saved|已创建|新建|初始", "CREATED"),
)
# Words that other shop systems use of an order, where they differ from a payment's.
_ORDER_WORDS: Mapping[str, str] = {
    "pending": "AWAITING_PAYMENT",
    "complete": "COMPLETED",
    "completed": "COMPLETED",
    "confirmed": "AWAITING_PAYMENT",
    "accepted": "AWAITING_PAYMENT",
    "placed": "AWAITING_PAYMENT",
}
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_GAPS = re.compile(r"[^0-9a-z\u4e00-\u9fff]+")


@dataclass(frozen=True, slots=True)
class StateFact:
    """How a raw state reads. `how` is table, word, code or none; `not_found` says that the channel knows no such trade."""

    state: str
    how: str
    not_found: bool = False

    @property
    def known(self) -> bool:
        """Whether anything told us; false means that `state` is UNKNOWN for want of a row."""
        return self.how != "none"


@cache
def _table() -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    """Vocabulary -> raw state in lower case -> object -> normal state."""
    table: dict[str, dict[str, dict[str, str]]] = {}
    for row in rows("order_states.csv"):
        states = table.setdefault(row["system"], {})
        states.setdefault(row["raw_state"].casefold(), {})[row["object"]] = row["normal_state"]
    return table


def _vocabulary(name: str | None) -> Mapping[str, Mapping[str, str]]:
    key = channel_key(name)
    return _table().get(_VOCABULARY.get(key, key), {})


def is_shop_system(name: str) -> bool:
    """Whether the tables hold a vocabulary of a shop system of that name.

    >>> is_shop_system("WooCommerce"), is_shop_system("stripe")
    (True, False)
    """
    key = channel_key(name)
    return _VOCABULARY.get(key, key) in _SHOP_SYSTEMS


def _of_objects(
    objects: Mapping[str, str], wanted: tuple[str, ...], barred: frozenset[str] = frozenset()
) -> str | None:
    """The state of the first wanted object; else the one that all other objects agree on; else the first of them."""
    for name in wanted:
        if name in objects:
            return objects[name]
    rest = [state for name, state in objects.items() if name not in barred]
    return rest[0] if rest else None


def _from_table(system: str | None, channel: str | None, entity: str, raw: str) -> str | None:
    key = raw.strip().casefold()
    if entity == "order":
        objects = _vocabulary(system).get(key, {})
        wanted = {name: state for name, state in objects.items() if name in _ORDER_OBJECTS}
        return _of_objects(wanted, _ORDER_OBJECTS)
    objects = _vocabulary(channel).get(key, {})
    if entity == "refund":
        return next((objects[name] for name in _REFUND_OBJECTS if name in objects), None)
    return _of_objects(objects, _PAYMENT_OBJECTS, _NEVER_FOR_PAYMENT)


def _from_words(entity: str, raw: str) -> StateFact | None:
    # A state is a word or two; the cut bounds the time that a hostile one can take.
    text = _GAPS.sub("_", _CAMEL.sub("_", raw.strip()[:100]).casefold()).strip("_")
    if not text or text.isdigit():
        return None
    if entity == "order" and text in _ORDER_WORDS:
        return StateFact(_ORDER_WORDS[text], "word")
    for pattern, state in _WORDS:
        if re.search(pattern, f"_{text}_"):
            return StateFact("UNKNOWN", "word", not_found=True) if state == "NOT_FOUND" else StateFact(state, "word")
    return None


def _from_codes(channel: str | None, raw: str) -> StateFact | None:
    """Some channels answer a query with a response code instead of a state."""
    fact = codes().find(channel, raw) if channel else None
    if fact is None:
        return None
    if fact.fault_class == "success":
        return StateFact("PAID", "code")
    if fact.fault_class == "pending":
        return StateFact(
            {"user_action": "REQUIRES_ACTION", "manual_review": "REVIEW"}.get(fact.fault_subclass, "PROCESSING"), "code"
        )
    if fact.fault_subclass in {"order_not_found", "ref_not_found"}:
        return StateFact("UNKNOWN", "code", not_found=True)
    if fact.fault_class == "unknown" or fact.fault_subclass == "timeout_unknown":
        return StateFact("UNKNOWN", "code")
    return StateFact("FAILED", "code")


@lru_cache(maxsize=4096)
def look_up_state(system: str | None, channel: str | None, entity: str, raw: str) -> StateFact:
    """How `raw` reads for an `entity` (order, attempt, callback, query or refund), with how we know.

    `system` is the shop system, `channel` the payment channel; case and punctuation of both do not matter.
    """
    if not raw.strip():
        return StateFact("UNKNOWN", "none")
    if (state := _from_table(system, channel, entity, raw)) is not None:
        return StateFact(state, "table")
    fact = _from_words(entity, raw)
    if fact is None and entity != "order":
        fact = _from_codes(channel, raw)
    if fact is None and entity == "order" and not _vocabulary(system):
        # Some shops copy the channel's word into the order.
        state = _from_table(None, channel, "attempt", raw)
        fact = StateFact(state, "table") if state is not None else None
    if fact is None:
        return StateFact("UNKNOWN", "none")
    if entity == "refund":
        return StateFact(_AS_REFUND.get(fact.state, fact.state), fact.how, fact.not_found)
    return fact


def normal_state(system: str | None, channel: str | None, entity: str, raw: str) -> str:
    """The normal state of `raw`; see `look_up_state`.

    >>> normal_state("woocommerce", None, "order", "processing"), normal_state(None, "wechatpay", "refund", "PROCESSING")
    ('PAID', 'REFUND_PENDING')
    """
    return look_up_state(system, channel, entity, raw).state
