"""Order events -> orders: what the shop, the channel and the callbacks said, in normal states and in order of time.

Which attribute holds what differs from shop to shop. `_ATTRIBUTES` lists the spellings that are understood; they are
compared without case and punctuation, so `outTradeNo`, `out_trade_no` and `OUT-TRADE-NO` are one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.faults import (
    CHANNEL_MONEY,
    ENDED_WITHOUT_MONEY,
    OPEN,
    PAID_LIKE,
    Thresholds,
    codes,
    is_shop_system,
    look_up_state,
)
from pipeline.faults.tables import channel_key
from pipeline.values import Cited

Outcome = Literal["paid", "failed", "open", "refunded", "closed", "unknown"]

# ISO 4217 currencies whose minor unit is not a hundredth.
_EXPONENTS: Mapping[str, int] = {
    **dict.fromkeys(
        "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(),  # noqa: SIM905  # reads as the list that it is
        0,
    ),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),  # noqa: SIM905
    **dict.fromkeys("CLF UYW".split(), 4),  # noqa: SIM905
}

# What an attribute is for -> its spellings, lower case, letters and digits only, best first.
_ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "system": ("shopsystem", "system", "platform", "shopplatform", "ordersystem", "vocabulary"),
    "customer": ("customerid", "userid", "uid", "memberid", "buyerid", "accountid", "customer", "user"),
    "phone_tail": ("phonetail", "phonelast4", "mobiletail", "phonesuffix", "tel4", "last4phone", "phonelastfour", "phone"),
    "number": (
        "outtradeno", "merchantorderno", "merchantreference", "merchantref", "mchorderno", "payorderno", "paymentno",
        "paymentref", "paymentreference", "merchantpaymentid", "merchanttxnid", "orderref", "reference", "tradeorderno",
        "invoiceid", "invoiceno", "attemptid", "paymentid",
    ),
    "txn": (
        "channeltxnid", "channeltransactionid", "channeltradeno", "channelorderno", "transactionid", "txnid", "tradeno",
        "pspreference", "chargeid", "captureid", "providertxnid", "providerid", "gatewaytxnid", "queryid", "pspid",
    ),
    "code": (
        "code", "errorcode", "errcode", "subcode", "respcode", "responsecode", "channelcode", "refusalreasoncode",
        "declinecode", "reasoncode", "failurecode", "resultcode", "processorresponsecode", "statusdetail",
        "gatewayrejectionreason",
    ),
    "verified": (
        "verified", "signverified", "signatureverified", "signaturevalid", "signvalid", "signok", "sigok", "verify",
        "validsignature", "signatureok", "signcheck", "signaturecheck",
    ),
    "answer": (
        "httpanswer", "ouranswer", "answer", "answerstatus", "answercode", "responsestatus", "ourstatus", "ackstatus",
        "ack", "httpstatus", "ourhttpstatus", "replystatus", "reply", "httpresponse", "returned",
    ),
    "answer_ms": ("answerms", "responsems", "handlems", "elapsedms", "durationms", "tookms", "costms", "latencyms"),
    "method": (
        "paymentmethod", "method", "paymethod", "paytype", "paymenttype", "tradetype", "payway", "product", "wallet",
        "paymentmethodtype", "waycode",
    ),
    "payer": ("payerid", "payer", "openid", "payeropenid", "buyeruserid", "buyerlogonid", "payeraccount", "payeremail"),
    "app": ("appid", "applicationid", "subappid"),
    "merchant": ("mchid", "merchantid", "submchid", "merchantaccount", "sellerid", "merid"),
    "signature": ("signature", "sign", "wechatpaysignature"),
    "probe": ("probe", "signtest", "isprobe"),
    "total": ("total", "totalamount", "amounttotal", "ordertotal", "totalminor"),
    "discount": ("discount", "coupon", "couponfee", "couponamount", "discountamount", "discountminor", "promotion"),
    "split": ("splittender", "split", "instalment", "instalments", "installment", "installments", "installmentplan"),
    "multi_capture": ("multicapture", "multiplecapture", "partialcapture", "multicaptureenabled"),
    "exchange": ("fxquote", "fxrate", "dcc", "exchangerate", "fxquoteid", "presentmentcurrency"),
    "fee": ("feerefund", "refundtype", "isfee", "fee"),
    "gift": ("gift", "giftpayer", "payforfriend", "thirdpartypayer", "daifu"),
    "capture_job": ("capturejob", "captureplanned", "captureat", "capturedelay", "capturescheduledat"),
    "bill": ("bill", "reconciliation", "reconciled", "inbill", "billstatus", "reconstatus", "settlementfile", "recon"),
    "downstream": (
        "downstream", "downstreamstatus", "notifystatus", "merchantnotify", "merchantnotifystate", "notifystate",
        "erpstatus", "erp", "wmsstatus", "fulfilmentstatus", "fulfillmentpush", "pushstatus", "mqstatus",
        "downstreamnotified", "notifymerchant",
    ),
}  # fmt: skip
_SPELLED: Mapping[str, str] = {spelling: name for name, spellings in _ATTRIBUTES.items() for spelling in spellings}
_RANK: Mapping[str, int] = {spelling: i for spellings in _ATTRIBUTES.values() for i, spelling in enumerate(spellings)}

# Methods whose money needs days: the attempt is rightly "processing" for that long.
_SLOW = (
    "banktransfer", "wiretransfer", "wire", "transfer", "sepa", "iban", "ach", "bacs", "echeck", "cheque", "voucher", "boleto",
    "konbini", "oxxo", "multibanco", "payatm", "giropay", "directdebit", "prepayment", "invoice", "offline",
    "银行转账", "转账", "汇款", "电汇", "对公", "便利店", "支票",
)  # fmt: skip
# Methods where no channel takes the money, so that nothing there can say "paid".
_NO_CHANNEL = (
    "cod", "cashondelivery", "cash", "storecredit", "giftcard", "balance", "offline", "manual", "points", "free", "bacs",
    "cheque", "purchaseorder", "invoice", "货到付款", "余额支付", "线下",
)  # fmt: skip
# Channels whose only word for a successful sale is "authorised": capture follows by itself unless it was switched off.
_SALE_IS_AUTHORISED = frozenset({"adyen"})
# After an attempt has been under way, these intents go back to "needs a payment method" to say that it failed.
_BACK_TO_METHOD = frozenset({"requires_payment_method"})

_ENTITY_ORDER: Mapping[str, int] = {"order": 0, "attempt": 1, "callback": 2, "query": 3, "refund": 4}
_PROGRESS: Mapping[str, int] = {
    "CREATED": 0,
    "AWAITING_PAYMENT": 1,
    "REQUIRES_ACTION": 2,
    "PROCESSING": 3,
    "UNKNOWN": 3,
    "REVIEW": 4,
    "AUTHORIZED": 5,
    "PARTIALLY_AUTHORIZED": 5,
}


def currency_exponent(currency: str | None) -> int:
    """How many decimal places the minor unit of `currency` is (ISO 4217); 2 where it is not known.

    >>> currency_exponent("JPY"), currency_exponent("KWD"), currency_exponent(None)
    (0, 3, 2)
    """
    return _EXPONENTS.get((currency or "").strip().upper(), 2)


def format_money(amount_minor: int | None, currency: str | None) -> str:
    """An amount in minor units as a person writes it.

    >>> format_money(69700, "GBP"), format_money(1190, "JPY"), format_money(-5, "EUR"), format_money(None, "EUR")
    ('697.00 GBP', '1190 JPY', '-0.05 EUR', '? EUR')
    """
    unit = f" {currency}" if currency else ""
    if amount_minor is None:
        return f"?{unit}"
    exponent = currency_exponent(currency)
    digits = str(abs(amount_minor)).rjust(exponent + 1, "0")
    whole = f"{digits[:-exponent]}.{digits[-exponent:]}" if exponent else digits
    return f"{'-' if amount_minor < 0 else ''}{whole}{unit}"


def clock(at: datetime | None) -> str:
    """A moment as the statements write it, in UTC to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ") if at else "?"


@dataclass(frozen=True)
class Event:
    """One row of order events in normal states.

    `amount_minor` is in the currency's minor unit, `at` in UTC. `known` is false where no table or word explains the raw
    state; `not_found` where the channel answered that it knows no such trade.
    """

    order_id: str
    entity: str
    entity_id: str
    state: str
    raw_state: str
    at: datetime | None
    amount_minor: int | None
    currency: str | None
    channel: str | None
    attributes: Mapping[str, Any] = field(default_factory=dict, hash=False)
    known: bool = True
    not_found: bool = False
    source: str = ""
    index: str | None = None
    doc_id: str | None = None
    file: str | None = None
    start: int | None = None
    end: int | None = None

    @cached_property
    def _by_meaning(self) -> Mapping[str, Any]:
        found: dict[str, tuple[int, str, Any]] = {}
        for key, value in self.attributes.items():
            spelling = channel_key(key)
            if (name := _SPELLED.get(spelling)) is None or value is None or value == "":
                continue
            rank = (_RANK[spelling], key, value)
            if name not in found or rank[:2] < found[name][:2]:
                found[name] = rank
        return {name: rank[2] for name, rank in found.items()}

    def get(self, meaning: str) -> Any:
        """The attribute of that meaning (see `_ATTRIBUTES`), or None."""
        return self._by_meaning.get(meaning)

    def text(self, meaning: str) -> str | None:
        """The same as text."""
        value = self.get(meaning)
        return None if value is None or isinstance(value, bool | dict | list) else str(value).strip() or None

    @property
    def code(self) -> str | None:
        """The channel's response code, as it was written."""
        return self.text("code")

    @property
    def verified(self) -> bool | None:
        """Whether the callback's signature held; None where the row does not say."""
        value = self.get("verified")
        if isinstance(value, bool) or value is None:
            return value
        word = str(value).strip().casefold()
        if word in {"true", "1", "ok", "pass", "passed", "valid", "yes", "success", "通过"}:
            return True
        return False if word in {"false", "0", "fail", "failed", "invalid", "no", "bad", "失败", "不通过"} else None

    @property
    def answered_ok(self) -> bool | None:
        """Whether we answered the callback as a channel expects: 2xx, `success` or `ok`; None where the row does not say."""
        value = self.get("answer")
        if value is None:
            return None
        word = str(value).strip().casefold()
        if word[:3].isdigit():
            return word[0] == "2"
        return word in {"success", "ok", "true", "received", "[accepted]", "accepted", "成功"}

    @property
    def money(self) -> str:
        """The amount as a person writes it."""
        return format_money(self.amount_minor, self.currency)

    @cached_property
    def cited(self) -> Cited:
        """The row as a citation, with a quote that can be read by itself."""
        parts = [f"{self.entity} {self.entity_id}", self.raw_state, self.money]
        parts += [f"code {self.code}"] if self.code else []
        if self.entity == "callback":
            parts += [] if self.verified is None else ["verified" if self.verified else "not verified"]
            parts += [f"answered {self.get('answer')}"] if self.get("answer") is not None else []
        parts.append(clock(self.at))
        return Cited(
            kind="order_event",
            source=self.source,
            quote=" ".join(parts),
            index=self.index,
            doc_id=self.doc_id,
            file=self.file,
            start=self.start,
            end=self.end,
            at=self.at,
        )


def _ended_by_code(event: Event) -> bool:
    """Whether the event's code says that the attempt is over, whatever the state beside it."""
    if event.code is None or event.channel is None:
        return False
    fact = codes().find(event.channel, event.code, "pay")
    return fact is not None and not (
        fact.fault_class in {"success", "pending", "unknown"}
        or fact.fault_subclass in {"timeout_unknown", "in_progress", "already_paid", "order_not_found"}
    )


@dataclass(frozen=True)
class Attempt:
    """All events of one payment attempt, with the callbacks and queries that speak of it."""

    entity_id: str
    events: tuple[Event, ...]
    callbacks: tuple[Event, ...] = ()
    queries: tuple[Event, ...] = ()

    @property
    def first(self) -> Event:
        """The attempt's first event."""
        return self.events[0]

    @property
    def latest(self) -> Event:
        """The attempt's last event of its own."""
        return self.events[-1]

    @cached_property
    def channel(self) -> str | None:
        """The channel it went through."""
        return next((e.channel for e in self.events if e.channel), None)

    @cached_property
    def code(self) -> str | None:
        """The last code that its own events carry."""
        return next((e.code for e in reversed(self.events) if e.code), None)

    @cached_property
    def channel_txn_id(self) -> str | None:
        """The channel's own number of the transaction."""
        rows = (*self.events, *self.queries, *self.callbacks)
        return next((txn for e in reversed(rows) if (txn := e.text("txn"))), None)

    @cached_property
    def numbers(self) -> frozenset[str]:
        """Every merchant number that names this attempt."""
        return frozenset({self.entity_id, *(n for e in self.events if (n := e.text("number")))})

    @cached_property
    def said(self) -> tuple[Event, ...]:
        """What can be believed about its state at the channel: own events, queries, and callbacks that were not refused."""
        believed = (*self.events, *self.queries, *(c for c in self.callbacks if c.verified is not False))
        return tuple(sorted((e for e in believed if not e.not_found), key=_when))

    def means_money(self, event: Event) -> bool:
        """Whether `event` says that the channel has taken the payer's money."""
        return event.state in CHANNEL_MONEY or (
            event.state == "AUTHORIZED" and channel_key(self.channel) in _SALE_IS_AUTHORISED
        )

    @cached_property
    def decisive(self) -> Event:
        """The event that says how the attempt stands at the channel: the last one, but no open state undoes a final one."""
        standing = self.said[0] if self.said else self.first
        for event in self.said[1:]:
            final = standing.state not in OPEN and standing.state != "UNKNOWN"
            back = event.state in OPEN or event.state == "UNKNOWN"
            later_try = event.entity == "attempt" and standing.state in ENDED_WITHOUT_MONEY and event.state in OPEN
            if not (final and back) or later_try:
                standing = event
        return standing

    @cached_property
    def state(self) -> str:
        """How the attempt stands at the channel."""
        event = self.decisive
        if event.state not in OPEN and event.state != "UNKNOWN":
            return event.state
        if _ended_by_code(event):
            return "FAILED"
        began = [e for e in self.events if e.raw_state.casefold() not in _BACK_TO_METHOD]
        if (
            event.raw_state.casefold() in _BACK_TO_METHOD
            and event.entity == "attempt"
            and began
            and _when(began[0]) < _when(event)
        ):
            return "FAILED"
        return event.state

    @cached_property
    def success(self) -> Event | None:
        """The first believed event that says that the channel took the money, if it still stands so."""
        if not self.means_money(self.decisive):
            return None
        return next((e for e in self.said if self.means_money(e)), None)

    @cached_property
    def amount_minor(self) -> int | None:
        """What the channel took, or was asked to take."""
        event = self.success or self.latest
        return event.amount_minor if event.amount_minor is not None else self.first.amount_minor


@dataclass(frozen=True)
class Refund:
    """All events of one refund; `answers` are the channel's own words about it, from queries and callbacks."""

    entity_id: str
    events: tuple[Event, ...]
    answers: tuple[Event, ...] = ()

    @property
    def channel(self) -> str | None:
        """The channel it goes through."""
        return next((e.channel for e in self.events if e.channel), None)

    @property
    def latest(self) -> Event:
        """Our last row of it."""
        return self.events[-1]

    @property
    def state(self) -> str:
        """How our own row of it stands."""
        return self.latest.state

    @cached_property
    def amount_minor(self) -> int | None:
        """The amount that goes back."""
        return next((e.amount_minor for e in reversed(self.events) if e.amount_minor is not None), None)


@dataclass(frozen=True)
class Order:
    """One order with everything that happened to it. All tuples are in order of time."""

    order_id: str
    system: str | None
    channel: str | None
    customer_id: str | None
    phone_tail: str | None
    amount_minor: int | None
    currency: str | None
    created_at: datetime | None
    # Every row, then the rows of the order itself.
    events: tuple[Event, ...]
    own: tuple[Event, ...]
    attempts: tuple[Attempt, ...]
    callbacks: tuple[Event, ...]
    queries: tuple[Event, ...]
    refunds: tuple[Refund, ...]
    # Rows that said the same as another, to the microsecond.
    duplicates: int = 0

    @property
    def everything(self) -> tuple[Event, ...]:
        """Every row: the same as `events`."""
        return self.events

    @property
    def latest(self) -> Event | None:
        """The order's last row of its own."""
        return self.own[-1] if self.own else None

    @property
    def latest_state(self) -> str:
        """The order's state in the shop; UNKNOWN without rows of its own."""
        return self.own[-1].state if self.own else "UNKNOWN"

    def state_at(self, moment: datetime) -> str | None:
        """The order's state in the shop at `moment` (aware); None before its first row."""
        return next((e.state for e in reversed(self.own) if e.at is not None and e.at <= moment), None)

    def first_time(self, states: Collection[str]) -> Event | None:
        """The order's first row in one of `states`."""
        return next((e for e in self.own if e.state in states), None)

    @property
    def money(self) -> str:
        """The order's amount as a person writes it."""
        return format_money(self.amount_minor, self.currency)

    @cached_property
    def methods(self) -> frozenset[str]:
        """Every payment method that a row names, lower case, letters and digits only (Chinese as it is)."""
        return frozenset(_squeezed(m) for e in self.events if (m := e.text("method")))

    @cached_property
    def slow_method(self) -> bool:
        """Whether the money needs days: bank transfers, vouchers, e-checks, or a channel that says "asynchronous"."""
        if any(word in method for method in self.methods for word in _SLOW):
            return True
        # Adyen gives Pending and PresentToShopper only for payments that end outside the checkout.
        return any(
            channel_key(e.channel) == "adyen"
            and e.raw_state.casefold() in {"pending", "presenttoshopper"}
            and e.entity != "order"
            for e in self.events
        )

    @cached_property
    def without_channel(self) -> bool:
        """Whether nothing is to be paid through a channel: cash on delivery, store credit, nothing to pay."""
        names = {*self.methods, _squeezed(self.channel or "")}
        return self.amount_minor == 0 or bool(names & set(_NO_CHANNEL))

    @cached_property
    def refunded_minor(self) -> int:
        """What went back or is going back."""
        return sum(
            r.amount_minor or 0 for r in self.refunds if r.state in {"REFUNDED", "PARTIALLY_REFUNDED", "REFUND_PENDING"}
        )

    @cached_property
    def unknown_states(self) -> tuple[tuple[str, str, str], ...]:
        """Raw states that nothing explains, as (entity, vocabulary, raw state), each once."""
        return tuple(
            sorted(
                {
                    (e.entity, (self.system if e.entity == "order" else e.channel) or "?", e.raw_state)
                    for e in self.events
                    if not e.known
                }
            )
        )

    def outcome(self, now: datetime | None = None) -> Outcome:
        """How the order ended, as the shop and the channel have it together, seen at `now` (default: with all rows)."""
        state = self.latest_state if now is None else (self.state_at(now) or "UNKNOWN")
        back = [r for r in self.refunds if r.state in {"REFUNDED", "PARTIALLY_REFUNDED"}]
        if state in {"REFUNDED", "REFUND_PENDING", "PARTIALLY_REFUNDED"} or (state in PAID_LIKE and back):
            return "refunded"
        if state in PAID_LIKE:
            return "paid"
        if state in {"CANCELLED", "CLOSED"}:
            return "closed"
        if state == "FAILED":
            return "failed"
        if state in OPEN or state == "AUTHORIZED":
            ended = bool(self.attempts) and all(a.state in ENDED_WITHOUT_MONEY for a in self.attempts)
            return "failed" if ended else "open"
        return "unknown"


def is_healthy(order: Order, now: datetime, thresholds: Thresholds | None = None) -> bool:
    """Whether the order is paid, shop and channel agree, nothing went back and no rule has anything to say at `now`."""
    # The rules read orders; only this one question goes the other way.
    from pipeline.faults.rules import anything_found

    if order.outcome(now) != "paid" or order.refunds or not any(a.success for a in order.attempts):
        return False
    return not anything_found(order, now=now, thresholds=thresholds or Thresholds())


def went_wrong(order: Order) -> bool:
    """Whether something went wrong with an order that is not healthy.

    False where the payer has not finished or got the money back, and where what is known does not tell: the latest attempt is
    still under way or in a state that nothing explains, and no callback was refused.
    """
    outcome = order.outcome()
    if outcome == "failed" or any(c.verified is False or c.answered_ok is False for c in order.callbacks):
        return True
    if outcome == "paid":
        # Not healthy though paid in the shop: a rule has something to say, unless nothing is known of the channel's side.
        return not order.refunds and any(a.state != "UNKNOWN" for a in order.attempts)
    if not order.attempts or order.attempts[-1].state in {*OPEN, "UNKNOWN"}:
        return False
    return any(a.state in ENDED_WITHOUT_MONEY for a in order.attempts)


def unknown_states(orders: Iterable[Order]) -> Mapping[tuple[str, str, str], int]:
    """How many orders hold each raw state that nothing explains, by (entity, vocabulary, raw state)."""
    counts: dict[tuple[str, str, str], int] = {}
    for order in orders:
        for key in order.unknown_states:
            counts[key] = counts.get(key, 0) + 1
    return dict(sorted(counts.items()))


def working_time(start: datetime, end: datetime) -> timedelta:
    """The time from `start` to `end` without Saturdays and Sundays (UTC days; bank holidays are not known)."""
    if end <= start:
        return timedelta()
    total, day = timedelta(), start
    while day < end:
        midnight = day.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        upto = min(midnight, end)
        if day.weekday() < 5:  # Monday is 0
            total += upto - day
        day = upto
        # Long spans go by whole weeks, so that a wrong year costs nothing.
        weeks = (end - day).days // 7
        if weeks:
            total += timedelta(days=5 * weeks)
            day += timedelta(days=7 * weeks)
    return total


def read_orders(order_events: pa.Table, order_ids: Collection[str] | None = None) -> dict[str, Order]:
    """The orders of an order-event table (`parsers.tables.ORDER_EVENTS`), all or those of `order_ids`, by id.

    The order of the rows does not matter. Rows without an order id are left out; rows that say the same as another are
    counted in `Order.duplicates`.
    """
    if order_ids is not None:
        wanted = pa.array(sorted(order_ids), pa.string())
        order_events = order_events.filter(pc.is_in(order_events.column("order_id"), value_set=wanted))
    by_order: dict[str, list[dict[str, Any]]] = {}
    for row in order_events.to_pylist():
        if row["order_id"]:
            by_order.setdefault(row["order_id"], []).append(row)
    return {order_id: _order(order_id, by_order[order_id]) for order_id in sorted(by_order)}


def _squeezed(text: str) -> str:
    return "".join(c for c in text.casefold() if c.isalnum())


_EARLY = datetime.min.replace(tzinfo=UTC)


def _when(event: Event) -> tuple[Any, ...]:
    """Sort key: time, then what comes first by nature, then the bytes, so that equal rows give an equal order.

    Rows without a time come first: nothing that has a time may be overruled by them.
    """
    return (
        event.at or _EARLY,
        _ENTITY_ORDER.get(event.entity, 9),
        _PROGRESS.get(event.state, 6),
        event.entity_id,
        event.raw_state,
        event.amount_minor or 0,
        event.source,
        event.index or "",
        event.doc_id or "",
        event.start or 0,
    )


def _attributes(raw: str | None) -> Mapping[str, Any]:
    if not raw:
        return {}
    try:
        value = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _system(rows: list[tuple[dict[str, Any], Mapping[str, Any]]]) -> str | None:
    """The shop system: by an attribute of that meaning, else any attribute whose value is the name of one."""
    named: set[str] = set()
    guessed: set[str] = set()
    for row, attributes in rows:
        for key, value in attributes.items():
            if not isinstance(value, str):
                continue
            if _SPELLED.get(channel_key(key)) == "system":
                named.add(value)
            elif row["entity"] == "order" and is_shop_system(value):
                guessed.add(value)
    known = {name for name in named if is_shop_system(name)}
    return min(known or guessed or named, default=None)


def _order(order_id: str, rows: list[dict[str, Any]]) -> Order:
    parsed = [(row, _attributes(row["attributes"])) for row in rows]
    system = _system(parsed)
    refund_ids = {row["entity_id"] for row in rows if row["entity"] == "refund" and row["entity_id"]}
    order_channel = min((row["channel"] for row in rows if row["channel"]), default=None)
    seen: dict[tuple[Any, ...], Event] = {}
    for row, attributes in parsed:
        event = _event(order_id, row, attributes, system, row["channel"] or order_channel, refund_ids)
        same = (
            event.entity, event.entity_id, event.raw_state, event.at, event.amount_minor, event.currency, row["channel"],
            row["attributes"],
        )  # fmt: skip
        if same not in seen or _when(event) < _when(seen[same]):
            seen[same] = event
    everything = tuple(sorted(seen.values(), key=_when))
    return _assemble(order_id, system, everything, len(rows) - len(everything))


def _event(
    order_id: str,
    row: Mapping[str, Any],
    attributes: Mapping[str, Any],
    system: str | None,
    channel: str | None,
    refund_ids: Collection[str],
) -> Event:
    entity, entity_id, raw = row["entity"] or "order", row["entity_id"] or order_id, row["state"] or ""
    plain = Event(order_id, entity, entity_id, "UNKNOWN", raw, None, None, None, channel, attributes)
    # A query or callback that names a refund answers in the refund's words.
    named = {
        entity_id.partition("_")[2],
        plain.text("number"),
        *(str(v) for v in attributes.values() if isinstance(v, str)),
    }
    spoken_of = "refund" if entity in {"query", "callback"} and named & set(refund_ids) else entity
    fact = look_up_state(system, channel, spoken_of, raw)
    not_found = fact.not_found or (
        entity == "query"
        and plain.code is not None
        and (code := look_up_state(None, channel, "query", plain.code)).not_found
        and code.known
    )
    return Event(
        order_id=order_id,
        entity=entity,
        entity_id=entity_id,
        state=fact.state,
        raw_state=raw,
        at=row["occurred_at"].astimezone(UTC) if row["occurred_at"] else None,
        amount_minor=row["amount_minor"],
        currency=row["currency"].upper() if row["currency"] else None,
        channel=channel,
        attributes=attributes,
        known=fact.known,
        not_found=not_found,
        source=row.get("_source") or "",
        index=row.get("_index"),
        doc_id=row.get("_id"),
        file=row.get("log.file.path"),
        start=row.get("log.offset"),
        end=row["log.offset"] + row["log.length"]
        if row.get("log.offset") is not None and row.get("log.length") is not None
        else None,
    )


def _assemble(order_id: str, system: str | None, everything: tuple[Event, ...], duplicates: int) -> Order:
    own = tuple(e for e in everything if e.entity == "order")
    callbacks = tuple(e for e in everything if e.entity == "callback")
    queries = tuple(e for e in everything if e.entity == "query")
    by_attempt = _grouped(e for e in everything if e.entity == "attempt")
    by_refund = _grouped(e for e in everything if e.entity == "refund")
    spoken: dict[str, list[Event]] = {}
    for event in (*callbacks, *queries):
        if (target := _target(event, by_attempt, by_refund)) is not None:
            spoken.setdefault(target, []).append(event)
    attempts = tuple(
        Attempt(
            entity_id,
            events,
            tuple(e for e in spoken.get(entity_id, ()) if e.entity == "callback"),
            tuple(e for e in spoken.get(entity_id, ()) if e.entity == "query"),
        )
        for entity_id, events in by_attempt.items()
    )
    refunds = tuple(
        Refund(entity_id, events, tuple(spoken.get(entity_id, ()))) for entity_id, events in by_refund.items()
    )

    def first(meaning: str) -> str | None:
        return next((value for e in (*own, *everything) if (value := e.text(meaning))), None)

    return Order(
        order_id=order_id,
        system=system,
        channel=next((e.channel for e in (*own, *everything) if e.channel), None),
        customer_id=first("customer"),
        phone_tail=(first("phone_tail") or "")[-4:] or None,
        amount_minor=next((e.amount_minor for e in reversed(own) if e.amount_minor is not None), None),
        currency=next((e.currency for e in (*reversed(own), *everything) if e.currency), None),
        created_at=next((e.at for e in (*own, *everything) if e.at is not None), None),
        events=everything,
        own=own,
        attempts=attempts,
        callbacks=callbacks,
        queries=queries,
        refunds=refunds,
        duplicates=duplicates,
    )


def _grouped(events: Iterable[Event]) -> dict[str, tuple[Event, ...]]:
    """Events by entity id, in order of each one's first event."""
    groups: dict[str, list[Event]] = {}
    for event in events:
        groups.setdefault(event.entity_id, []).append(event)
    return {entity_id: tuple(group) for entity_id, group in groups.items()}


def _target(
    event: Event, attempts: Mapping[str, tuple[Event, ...]], refunds: Mapping[str, tuple[Event, ...]]
) -> str | None:
    """The attempt or refund that a callback or query speaks of, by number, by the channel's number, by its own id.

    A callback whose payload names a number that is none of ours belongs to nothing: see rule R13.
    """
    numbers: dict[str, str] = {}
    for entity_id, events in (*attempts.items(), *refunds.items()):
        numbers[entity_id] = entity_id
        for own in events:
            for number in (own.text("number"), own.text("txn")):
                if number:
                    numbers.setdefault(number, entity_id)
    said = event.text("number")
    if said is not None and said != event.order_id:
        if said in numbers:
            return numbers[said]
        if _comparable(said, attempts):
            return None
    if (txn := event.text("txn")) is not None and txn in numbers:
        return numbers[txn]
    # cb_P26…, q_P26…, P26…-callback: the event's id holds the attempt's.
    inside = [entity_id for entity_id in numbers.values() if entity_id in event.entity_id]
    if inside:
        return max(inside, key=lambda entity_id: (len(entity_id), entity_id))
    return next(iter(attempts)) if len(attempts) == 1 else None


def _shape(number: str) -> tuple[bool, bool, bool]:
    return (any(c.isalpha() for c in number), any(c.isdigit() for c in number), any(not c.isalnum() for c in number))


def _comparable(number: str, known: Collection[str]) -> bool:
    """Whether `number` is of the same make as our own: the same kinds of characters, and about as long."""
    return any(_shape(number) == _shape(own) and abs(len(number) - len(own)) <= 2 for own in known)


def foreign_number(order: Order, callback: Event) -> str | None:
    """The number in a callback of `order` that is none of the order's own, though of the same make; None when all is well."""
    number = callback.text("number")
    own = {order.order_id, *(n for a in order.attempts for n in a.numbers), *(r.entity_id for r in order.refunds)}
    own |= {n for r in order.refunds for e in r.events if (n := e.text("number"))}
    if number is None or number in own or not order.attempts:
        return None
    return number if _comparable(number, {n for a in order.attempts for n in a.numbers}) else None
