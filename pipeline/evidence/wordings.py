"""Wordings: what the lines around the order say in words, by the families of `pipeline/faults/wordings.toml`.

Exception types and messages are words, too: a `SocketTimeoutException` and a 超时 say the same. Lines that merely are
unusual elsewhere in the window are a kind of their own, `elsewhere`: they count little. Where what could not be reached is
one of our own services, it is our dependency that is down, and not the way to the channel.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cache

from pipeline.evidence.case import Case, Signal
from pipeline.evidence.targets import names_ours, own_services
from pipeline.faults.tables import channel_key
from pipeline.faults.wording import Family, families, read_wording
from pipeline.values import Found, Seen
from snapshots.model import Check, Text

_TIER = {"focus": 1.0, "near": 0.85, "ambient": 1.0}
# What an INFO or DEBUG line says is often said of a healthy thing.
_LEVEL = {"FATAL": 1.0, "ERROR": 1.0, "WARN": 0.95, None: 0.8, "INFO": 0.6, "DEBUG": 0.7, "TRACE": 0.5}
_CITES = 5
# Families that say that something was not reached, whatever it was.
UNREACHED = frozenset({"dns", "connect", "timeout", "gateway"})


def detect(case: Case) -> Seen:
    """One finding for each family that a signal matches."""
    hits: dict[tuple[bool, str], list[Signal]] = defaultdict(list)
    family_of: dict[str, Family] = {}
    services = own_services(case)
    for signal in case.signals:
        for family in _ours(read_wording(signal.text), signal, services):
            elsewhere = signal.tier == "ambient" and not _names_channel(signal, case, family)
            hits[elsewhere, family.id].append(signal)
            family_of[family.id] = family
    found = []
    for (elsewhere, name), signals in hits.items():
        family = family_of[name]
        best = max(signals, key=_weight)
        ordered = sorted(signals, key=lambda s: (-_weight(s), s.row))
        where = best.service or "-"
        found.append(
            Found(
                kind=f"{'elsewhere' if elsewhere else 'wording'}.{name}",
                statement=Text(
                    en=f"{family.says.en} ({where})",
                    zh=f"{family.says.zh}（{where}）",
                ),
                cites=tuple(s.cited for s in ordered[:_CITES]),
                supports=family.fault_class,
                subclass=family.fault_subclass,
                strength=family.strength * _weight(best),
                service=best.service,
                host=best.host,
                channel=case.channel,
                about_focus=best.tier != "ambient",
                at=best.at,
            )
        )
    return Seen(tuple(found), (_check(case, len(found)),))


def _ours(said: Iterable[Family], signal: Signal, services: frozenset[str]) -> list[Family]:
    """`said`, where a failure to reach one of our own services is a dependency of ours that is down."""
    ours = None
    kept: dict[str, Family] = {}
    for family in said:
        one = family
        if family.id in UNREACHED:
            ours = names_ours(signal.text, services) if ours is None else ours
            one = dependency() if ours else family
        kept.setdefault(one.id, one)
    return list(kept.values())


def _names_channel(signal: Signal, case: Case, family: Family) -> bool:
    """Whether a line that names no order says by name that the order's channel is out: a notice of its status, say."""
    if family.fault_class != "channel_outage" or case.channel is None:
        return False
    return channel_key(case.channel) in channel_key(signal.text)


@cache
def dependency() -> Family:
    """The family that says that a service of ours does not answer."""
    return next(family for family in families() if family.id == "dependency")


def _check(case: Case, count: int) -> Check:
    read = len(case.signals)
    if count:
        statement = Text(
            en=f"{read} unusual log lines read, {count} kinds of fault wording in them",
            zh=f"读取 {read} 条异常日志，其中有 {count} 类故障措辞",
        )
        return Check(id="wordings", outcome="found", statement=statement)
    if case.silent:
        statement = Text(
            en="log wording: no line of the window names this order", zh="日志措辞：窗口内没有日志提到该订单"
        )
        return Check(id="wordings", outcome="not_evaluated", statement=statement)
    statement = Text(
        en=f"no fault wording in the {read} unusual log lines around the order",
        zh=f"订单前后 {read} 条异常日志中没有故障措辞",
    )
    return Check(id="wordings", outcome="healthy", statement=statement)


def _weight(signal: Signal) -> float:
    return _TIER[signal.tier] * _LEVEL.get(signal.level, 0.8) * signal.share
