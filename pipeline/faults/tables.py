"""The fault taxonomy and the channel code tables, read once from the CSV files beside this module."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from snapshots.model import Text

SeedClass = Literal["interface", "configuration", "other"]

_HERE = Path(__file__).parent
# The three coarse classes that an older service desk sorts by. pending, success and unknown belong to none.
_SEED: Mapping[str, SeedClass] = {
    "interface_fault": "interface",
    "rate_limit": "interface",
    "channel_outage": "interface",
    "internal_fault": "interface",
    "param_config": "configuration",
    "signature_cert": "configuration",
    "merchant_account": "configuration",
    "duplicate_idempotency": "configuration",
    "customer_decline": "other",
    "risk_control": "other",
    "order_state": "other",
}


def rows(name: str) -> list[dict[str, str]]:
    """The rows of one data file, each as column -> value."""
    with (_HERE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def tables_sha256() -> str:
    """Lower-case hex sha256 over the names and bytes of all data files (`*.csv`, `*.toml`, `*.json`) here, in order of name."""
    digest = hashlib.sha256()
    for path in sorted(p for p in _HERE.iterdir() if p.suffix in {".csv", ".toml", ".json"}):
        data = path.read_bytes()
        digest.update(f"{path.name}\n{len(data)}\n".encode())
        digest.update(data)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault subclass of `fault_taxonomy.csv`."""

    fault_class: str
    subclass: str
    name: Text
    class_name: Text
    definition: str
    owner: str
    first_action: Text
    seed_class: SeedClass | None
    retryable: str
    actor: str


@cache
def taxonomy() -> Mapping[tuple[str, str], Fault]:
    """Every fault by (class, subclass), in the file's order."""
    return MappingProxyType(
        {
            (row["class"], row["subclass"]): Fault(
                fault_class=row["class"],
                subclass=row["subclass"],
                name=Text(en=row["name_en"], zh=row["name_zh"]),
                class_name=Text(en=row["class_name_en"], zh=row["class_name_zh"]),
                definition=row["definition"],
                owner=row["owner"],
                first_action=Text(en=row["first_action_en"], zh=row["first_action_zh"]),
                seed_class=_SEED.get(row["class"]),
                retryable=row["default_retryable"],
                actor=row["default_actor"],
            )
            for row in rows("fault_taxonomy.csv")
        }
    )


def seed_class(fault_class: str) -> SeedClass | None:
    """The coarse class of `fault_class`; None for pending, success, unknown and for names not in the taxonomy."""
    return _SEED.get(fault_class)


def fault_name(fault_class: str, subclass: str | None = None) -> Text:
    """What a person calls the fault; the bare name where the taxonomy has no such class."""
    if subclass is not None and (fault := taxonomy().get((fault_class, subclass))) is not None:
        return fault.name
    for fault in taxonomy().values():
        if fault.fault_class == fault_class:
            return fault.class_name
    return Text(en=fault_class, zh=fault_class)


@dataclass(frozen=True, slots=True)
class CodeFact:
    """What one code of one channel means. `meaning_from` is `source text` or `code name` (see README.md)."""

    channel: str
    code: str
    meaning: str
    fault_class: str
    fault_subclass: str
    retryable: Literal["yes", "no", "maybe"]
    actor: str
    confidence: Literal["high", "medium", "low"]
    source: str
    code_field: str
    flow: str
    meaning_from: str


# What data call a channel -> the channels of the table that hold its codes, best first.
_ALIASES: Mapping[str, tuple[str, ...]] = {
    "wechatpay": ("wechatpay_v3", "wechatpay_v2"),
    "wechat": ("wechatpay_v3", "wechatpay_v2"),
    "weixin": ("wechatpay_v3", "wechatpay_v2"),
    "weixinpay": ("wechatpay_v3", "wechatpay_v2"),
    "wxpay": ("wechatpay_v3", "wechatpay_v2"),
    "wx": ("wechatpay_v3", "wechatpay_v2"),
    "wechatpayv3": ("wechatpay_v3", "wechatpay_v2"),
    "wechatpayv2": ("wechatpay_v2", "wechatpay_v3"),
    "ali": ("alipay",),
    "antpay": ("alipay",),
    "alipayplus": ("alipay",),
    "upacp": ("unionpay",),
    "chinaums": ("unionpay",),
    "upop": ("unionpay",),
    "paypalcheckout": ("paypal",),
    "paypalv2": ("paypal",),
    "checkoutcom": ("checkout",),
    "squareup": ("square",),
    "postgres": ("postgresql",),
    "pg": ("postgresql",),
    "mariadb": ("mysql",),
    "https": ("http",),
    "iso8583de39": ("iso8583",),
}
# Channels that hand an issuer's answer through as it is: the card networks' list is asked for what their own lacks.
_BORROWED: Mapping[str, str] = {"unionpay": "iso8583"}
# What gateways put before a code: the API's domain (alipay), or who is to blame (isv = us, isp = the platform).
_PREFIXES = ("aop.", "acq.", "isv.", "isp.", "err.", "error.")
_PUNCTUATION = re.compile(r"[^a-z0-9]")


@lru_cache(maxsize=4096)
def channel_key(channel: str | None) -> str:
    """`channel` as it is compared: lower case, letters and digits only.

    >>> channel_key("WeChat-Pay")
    'wechatpay'
    """
    return _PUNCTUATION.sub("", (channel or "").casefold())


class CodeTable:
    """All codes by channel. A code is never looked up without its channel: the same word differs from one to the next."""

    def __init__(self, facts: list[CodeFact]) -> None:
        self._by_channel: dict[str, dict[str, list[CodeFact]]] = {}
        self._channels: dict[str, str] = {}
        self._elsewhere: dict[str, list[CodeFact]] = {}
        for fact in facts:
            self._channels.setdefault(channel_key(fact.channel), fact.channel)
            codes = self._by_channel.setdefault(fact.channel, {})
            codes.setdefault(fact.code.casefold(), []).append(fact)
            self._elsewhere.setdefault(fact.code.casefold(), []).append(fact)

    def __len__(self) -> int:
        """How many codes the table holds."""
        return sum(map(len, self._elsewhere.values()))

    def add_alternative(self, fact: CodeFact, code: str) -> None:
        """Lets `fact` be found by a second spelling, such as gRPC's numbers."""
        self._by_channel[fact.channel].setdefault(code.casefold(), []).append(fact)

    def channels(self, channel: str) -> tuple[str, ...]:
        """The channels of the table that `channel` stands for, best first; empty where there is none."""
        key = channel_key(channel)
        if key in _ALIASES:
            return _ALIASES[key]
        return (self._channels[key],) if key in self._channels else ()

    def find(self, channel: str, code: str, flow: str | None = None) -> CodeFact | None:
        """What `code` means at `channel`, or None.

        `flow` is pay, refund, query, transfer or another word of the table's `flow` column. An exact spelling wins over
        another case, a row of the flow over one for any flow, and the code as given over one with a known prefix
        (`ACQ.`, `isv.`) put on or taken off. Without a flow, a code that only exists per flow is not answered.
        """
        for name in self.channels(channel):
            if (fact := self._find(name, code.strip(), flow)) is not None:
                return fact
            if name in _BORROWED and (fact := self._find(_BORROWED[name], code.strip(), flow)) is not None:
                return replace(fact, confidence="low" if fact.confidence == "low" else "medium")
        return None

    def _find(self, channel: str, code: str, flow: str | None) -> CodeFact | None:
        codes = self._by_channel.get(channel, {})
        for spelling in _spellings(code):
            facts = codes.get(spelling.casefold(), ())
            of_flow = [f for f in facts if flow and f.flow == flow] or [f for f in facts if f.flow == "any"]
            if of_flow:
                exact = [f for f in of_flow if f.code == spelling]
                return (exact or of_flow)[0]
        return None

    def known_elsewhere(self, code: str) -> tuple[CodeFact, ...]:
        """The rows of any channel that spell a code so. Only for telling the reader: no conclusion may rest on it."""
        return tuple(self._elsewhere.get(code.strip().casefold(), ()))


def _spellings(code: str) -> list[str]:
    """`code`, then without its known prefixes, then with alipay's."""
    spellings, bare = [code], code
    while (prefix := next((p for p in _PREFIXES if bare.casefold().startswith(p)), None)) is not None:
        bare = bare[len(prefix) :]
        spellings.append(bare)
    return [*spellings, f"ACQ.{bare}", f"isv.{bare}", f"aop.{bare}"] if bare else []


@cache
def codes() -> CodeTable:
    """The code table."""
    records = rows("channel_codes_by_flow.csv") + rows("channel_codes.csv")
    facts = [
        CodeFact(
            channel=row["channel"],
            code=row["code"],
            meaning=row["raw_meaning"],
            fault_class=row["fault_class"],
            fault_subclass=row["fault_subclass"],
            retryable=row["retryable"],  # type: ignore[arg-type]  # the file's test holds it to the three words
            actor=row["actor"],
            confidence=row["confidence"],  # type: ignore[arg-type]  # likewise
            source=row["source"],
            code_field=row["code_field"],
            flow=row["flow"] or "any",
            meaning_from=row["meaning_from"],
        )
        for row in records
    ]
    table = CodeTable(facts)
    for fact, row in zip(facts, records, strict=True):
        if row["alt_code"]:
            table.add_alternative(fact, row["alt_code"])
    return table
