"""One row of order events in normal states, and the order in which rows are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from pipeline.faults.tables import channel_key
from pipeline.figures import clock, format_money
from pipeline.payments.attributes import RANK, SPELLED
from pipeline.values import Cited

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
            if (name := SPELLED.get(spelling)) is None or value is None or value == "":
                continue
            rank = (RANK[spelling], key, value)
            if name not in found or rank[:2] < found[name][:2]:
                found[name] = rank
        return {name: rank[2] for name, rank in found.items()}

    def get(self, meaning: str) -> Any:
        """The attribute of that meaning (see `attributes.py`), or None."""
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


_EARLY = datetime.min.replace(tzinfo=UTC)


def when(event: Event) -> tuple[Any, ...]:
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
