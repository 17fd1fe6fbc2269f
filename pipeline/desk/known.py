"""What the ticket, the order and its records answer already, so that nobody is asked for it.

    fields of the ticket -> its words -> the order that was found -> the order's own log lines -> its user agents

The first that answers counts. User agents are read by ua-parser (Apache-2.0). Browsers send some parts of them frozen
(https://www.chromium.org/updates/ua-reduction/): a model `K`, Android 10, Windows NT 10.0 and macOS 10.15.7 say nothing sure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.desk.question_table import Asked, Questions
from pipeline.desk.rule_file import compiled
from pipeline.desk.words import missing
from pipeline.evidence.case import Case, read_attributes
from pipeline.evidence.unseen import tells
from pipeline.scope import ticket_fields
from pipeline.values import Cited
from snapshots.model import Evidence, ProblemSnapshot, Text

# So many of the order's log lines are looked through, and so many characters of what a ticket says.
_LINES = 2_000
_READ = 20_000
_LONGEST = 200
_NUMBERS = ("order_id", "out_trade_no", "channel_txn_id", "refund_id", "trace_id")
_AGENT = r"""(?:Mozilla/5\.0 \([^)\n]{3,300}\)[^"'\n|]{0,300}|\b[A-Za-z][\w.]{1,30}/\d+(?:\.\d+){0,3} \([^)\n]{0,200}(?:iOS|Android|iPhone|iPad|Windows|Mac OS)[^)\n]{0,200}\)[^"'\n|]{0,200})"""
_AGENT_KEYS = ("user_agent.original", "http.user_agent")
_OWN_APP = re.compile(r"^(?!Mozilla|Dalvik|okhttp|CFNetwork|Java|curl)([A-Za-z][\w.]{1,30})/(\d+(?:\.\d+){1,3})\b")
# What says the same for everybody.
_FROZEN_SYSTEM = re.compile(r"Android 10; K\)|Windows NT 10\.0|Mac OS X 10_15_7")
_FROZEN_DEVICE = frozenset({"K", "Generic Smartphone", "Generic Tablet", "Other"})
_DESKTOP = {"Windows": "Windows computer", "Mac OS X": "Mac", "Linux": "Linux computer", "Ubuntu": "Linux computer"}

IN_FIELD = Text(en="in the ticket's fields", zh="工单字段")
IN_WORDS = Text(en="in the ticket's words", zh="工单描述")
IN_ORDER = Text(en="the order that was found", zh="已找到的订单")
IN_ORDER_TIMES = Text(en="the order's events", zh="订单的事件时间")
IN_LOGS = Text(en="in the order's own log lines", zh="该订单的日志")
IN_AGENT = Text(en="in the user agent of the order's own requests", zh="该订单请求的 User-Agent")
NOT_FOUND = Text(en="in the ticket, and in no order or log line that was found", zh="工单中提到，但订单和日志中都没有")


@dataclass(frozen=True)
class Fact:
    """An answer, where it was found, and the records that hold it; `certain` is false where it is to be confirmed."""

    value: str
    found: Text
    certain: bool = True
    cites: tuple[Cited, ...] = ()
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True)
class Agent:
    """What one user agent says, each part empty where it says nothing; `frozen` says that its system is not to be believed."""

    device: str = ""
    system: str = ""
    app: str = ""
    frozen: bool = False


class Known:
    """What is known of one case, asked question by question."""

    def __init__(self, case: Case, snapshot: ProblemSnapshot, table: Questions) -> None:
        self._case = case
        self._snapshot = snapshot
        self._table = table
        self._nothing = frozenset(word.casefold() for word in table.nothing)

    def answer(self, asked: Asked) -> Fact | None:
        """What answers the question; None where nothing does."""
        ways = (self._by_field, self._by_words, self._by_what_was_found, self._by_lines, self._by_agents)
        return next((fact for way in ways if (fact := way(asked)) is not None), None)

    # ---- the ticket

    def _by_field(self, asked: Asked) -> Fact | None:
        wanted = {name.casefold() for name in asked.fields}
        held = [value for name, value in ticket_fields(self._case.ticket) if name.casefold() in wanted]
        told = [value.strip() for value in held if value.strip().casefold() not in self._nothing]
        if not told:
            return None
        if asked.found == "order":
            # A number of a form is one to be found, like a number in the words.
            return self._order(told[0])
        return Fact("\n".join(told), IN_FIELD)

    def _by_words(self, asked: Asked) -> Fact | None:
        ticket = self._case.ticket
        text = f"{ticket.title}\n{ticket.description}"[:_READ]
        for expression in asked.said:
            if (found := compiled(expression).search(text)) is not None:
                said = found[1] if found.re.groups and found[1] else found[0]
                return Fact(" ".join(said.split())[:_LONGEST], IN_WORDS)
        return None

    # ---- the order

    def _by_what_was_found(self, asked: Asked) -> Fact | None:
        match asked.found:
            case "order":
                named = [one.value for one in self._case.scope.identifiers if one.kind in _NUMBERS]
                return self._order(named[0] if named else None)
            case "moment":
                return self._moment()
            case "outcome":
                return self._outcome()
        return None

    def _order(self, named: str | None) -> Fact | None:
        case = self._case
        if case.focus:
            return Fact(case.focus[0].order_id, IN_ORDER)
        if named is None:
            return None
        rows = case.focus_rows.nonzero()[0][:1].tolist()
        if rows:
            return Fact(named, IN_LOGS, cites=tuple(case.cite_log(row) for row in rows))
        return Fact(named, NOT_FOUND, certain=False)

    def _moment(self) -> Fact | None:
        case = self._case
        at = case.scope.anchor.astimezone(case.ticket.created_at.tzinfo).isoformat(timespec="minutes")
        match case.scope.window_from:
            case "said":
                return Fact(at, IN_WORDS)
            case "orders":
                return Fact(at, IN_ORDER_TIMES)
            case "option":
                return Fact(at, Text(en="given when the snapshot was taken", zh="生成快照时指定"))
        moments = [event.at for order in case.focus for event in order.events if event.at]
        if not moments:
            return None
        last = max(moments).astimezone(case.ticket.created_at.tzinfo)
        return Fact(last.isoformat(timespec="minutes"), IN_ORDER_TIMES)

    def _outcome(self) -> Fact | None:
        """What the channel answered, or how the payment ended: as a finding about the ticket's own order says it, or its events."""
        for one in self._snapshot.findings:
            if one.about_focus and one.evidence and one.kind.startswith(self._table.outcome):
                found = Text(en=f"finding {one.id}: {one.statement.en}", zh=f"发现 {one.id}：{one.statement.zh}")
                return Fact(one.code or one.id, found, evidence=tuple(one.evidence[:1]))
        # A code that no table knows and that nothing was concluded from is an answer all the same.
        for order in reversed(self._case.focus):
            latest = [part.latest for part in order.attempts] + [part.latest for part in order.refunds]
            for event in reversed(latest):
                if event.code and tells(event.code):
                    return Fact(event.code[:_LONGEST], IN_ORDER, cites=(event.cited,))
        return None

    # ---- the order's records

    def _by_lines(self, asked: Asked) -> Fact | None:
        told: list[tuple[str, int]] = []
        for expression in asked.logged:
            told += [(" ".join(hit[1].split()), row) for row, hit in self._hits(expression)]
        return _agreed(
            [(value, self._case.cite_log(row)) for value, row in told if value.casefold() not in self._nothing],
            IN_LOGS,
        )

    def _by_agents(self, asked: Asked) -> Fact | None:
        if asked.found not in {"device", "system", "app"}:
            return None
        told = [(getattr(agent, asked.found), cited, agent.frozen) for agent, cited in self._agents]
        sure = [(value, cited) for value, cited, frozen in told if value and not (frozen and asked.found == "system")]
        if sure:
            return _agreed(sure, IN_AGENT)
        fact = _agreed([(value, cited) for value, cited, _ in told if value], IN_AGENT)
        return Fact(fact.value, fact.found, certain=False, cites=fact.cites) if fact else None

    @cached_property
    def _lines(self) -> tuple[pa.Table, list[int]]:
        rows = self._case.focus_rows.nonzero()[0][:_LINES]
        return self._case.material.logs.select(["message"]).take(pa.array(rows)), rows.tolist()

    def _hits(self, expression: str) -> Iterator[tuple[int, Any]]:
        """The order's log lines in which the expression is found, with what was found."""
        lines, rows = self._lines
        if not rows:
            return
        hit = pc.fill_null(pc.match_substring_regex(lines["message"], expression), fill_value=False)
        for place in pc.indices_nonzero(hit).to_pylist():
            if (found := compiled(expression).search(lines["message"][place].as_py())) is not None:
                yield rows[place], found

    @cached_property
    def _agents(self) -> list[tuple[Agent, Cited | None]]:
        """The user agents of the ticket and of its order's requests, in order of time; those of programs are left out."""
        case = self._case
        text = "\n".join([case.ticket.description, *(value for _, value in ticket_fields(case.ticket))])[:_READ]
        found: list[tuple[str, Cited | None]] = [(one[0], None) for one in compiled(_AGENT).finditer(text)]
        found += [(hit[0], case.cite_log(row)) for row, hit in self._hits(_AGENT)]
        spans = case.focus_spans
        for row, held in enumerate(spans.column("attributes").slice(0, _LINES).to_pylist()):
            attributes = read_attributes(held)
            for key in _AGENT_KEYS:
                if isinstance(value := attributes.get(key), str):
                    found.append((value, case.cite_span(spans, row)))
        read = [(read_agent(text), cited) for text, cited in found]
        return [(agent, cited) for agent, cited in read if agent.system or agent.device]


def read_agent(text: str) -> Agent:
    """What a user agent says. Raises `UsageError` where the extra `desk` is not installed.

    >>> read_agent("Shop/4.14.1 (iPhone; iOS 18.1; Scale/3.00)").app
    'Shop 4.14.1'
    """
    try:
        import ua_parser
    except ImportError as error:
        raise missing("desk", error) from error
    parsed = ua_parser.parse(text[:600])
    system = ""
    if parsed.os and parsed.os.family not in {"Other", ""}:
        system = " ".join([parsed.os.family, ".".join(filter(None, (parsed.os.major, parsed.os.minor)))]).strip()
    device = ""
    if parsed.device and parsed.device.family not in _FROZEN_DEVICE and parsed.device.brand != "Spider":
        model = parsed.device.model or parsed.device.family
        brand = "" if (parsed.device.brand or "").startswith("Generic") else parsed.device.brand or ""
        named = brand == "Apple" or model.casefold().startswith(brand.casefold())
        device = model if named else f"{brand} {model}"
    if not device and parsed.os:
        device = _DESKTOP.get(parsed.os.family, "")
    own = _OWN_APP.match(text)
    browser = parsed.user_agent
    app = f"{own[1]} {own[2]}" if own else ""
    if not app and browser and browser.family != "Other" and browser.major:
        app = f"{browser.family} {browser.major}"
    return Agent(device, system, app, frozen=bool(_FROZEN_SYSTEM.search(text)))


def _agreed(told: Sequence[tuple[str, Cited | None]], found: Text) -> Fact | None:
    """What all say; where they differ the last one, to be confirmed."""
    if not told:
        return None
    value, cited = told[-1]
    certain = len({one.casefold() for one, _ in told}) == 1
    return Fact(value[:_LONGEST], found, certain=certain, cites=(cited,) if cited else ())
