"""The questions in the query language: rows of a span of time, rows that name an identifier, rows that tell of a failure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from parsers.mapping import FieldMapping
from pipeline.sources.elasticsearch.targets import (
    EXACT,
    NUMBER,
    TEXT,
    Target,
    counted,
    id_fields,
    listed,
    message_fields,
    status_fields,
)
from pipeline.values import Span, What

Query = dict[str, Any]

# Identifiers that are looked for in text; each costs several clauses, of which a node takes a thousand and more.
_SEARCHED_IN_TEXT = 100

# The standard analyser keeps `tid:abc` one word (UAX #29 does not break letters at a colon), so that an identifier
# after such a word is found only together with it.
_CUES = {
    "order": ("id", "no", "sn", "order", "orderid", "order_id", "orderno", "order_no", "ordersn", "order_sn", "tradeno",
              "trade_no", "outtradeno", "out_trade_no", "payid", "pay_id", "paymentid", "payment_id", "payorderid",
              "txn", "txnid", "txn_id", "transactionid", "transaction_id", "refundid", "refund_id"),
    "trace": ("tid", "id", "trace", "traceid", "trace_id", "requestid", "request_id", "rid"),
    "customer": ("id", "uid", "user", "userid", "user_id", "cid", "customer", "customerid", "customer_id", "member",
                 "memberid", "member_id", "buyer", "buyerid", "buyer_id", "account", "accountid", "account_id"),
}  # fmt: skip

_KINDS = {
    "order": ("order_id", "out_trade_no", "channel_txn_id", "refund_id"),
    "trace": ("trace_id",),
    "customer": ("customer_id", "phone"),
}


_LEVEL_WORDS = ("warn", "warning", "error", "err", "fatal", "critical", "crit", "severe", "alert", "emerg", "emergency",
                "panic", "警告", "错误", "严重")  # fmt: skip

# What a warning is where levels are numbers: OpenTelemetry's logs data model, RFC 5424, logback, Python's logging. Any
# other number is read as bunyan and pino count, from 40.
_LEVEL_NUMBERS: dict[str, dict[str, int]] = {
    "severity_number": {"gte": 13},
    "SeverityNumber": {"gte": 13},
    "severityNumber": {"gte": 13},
    "log.syslog.severity.code": {"lte": 4},
    "priority": {"lte": 4},
    "PRIORITY": {"lte": 4},
    "level_value": {"gte": 30_000},
    "levelno": {"gte": 30},
}

# Texts that are one word to the index.
_WHOLE = frozenset({"keyword", "wildcard"})
_BAD_WORDS = "error errors err fatal severe critical panic exception fail failed failure warn warning timeout refused"

_BAD_PHRASES = ("caused by", "timed out", "失败", "错误", "异常", "超时", "拒绝")
# Any number does; the same one everywhere, so that the same rows are drawn again tomorrow.
_SEED = 20_130_913
_NOTHING: Query = {"match_none": {}}


# What APM keeps beside transactions and spans, where a pattern such as `*apm*` takes it in:
# https://www.elastic.co/docs/solutions/observability/apm/data-types
_NO_SPANS: Query = {"terms": {"processor.event": ["error", "metric", "log"]}}


class Questions:
    """What can be asked of one target about logs or spans. Queries are filters; none scores."""

    def __init__(self, target: Target, mapping: FieldMapping, what: What) -> None:
        self.target = target
        self.mapping = mapping
        self.what = what

    def within(self, span: Span) -> Query:
        """Rows of `span` by whole milliseconds, the resolution of a `date`."""
        bounds = {
            "gte": stamp(floor_ms(span.start)),
            "lt": stamp(ceil_ms(span.end)),
            "format": "strict_date_optional_time_nanos",
        }
        rows = {"range": {str(self.target.time): bounds}}
        return all_of(rows, without=[_NO_SPANS]) if self.what == "spans" else rows

    def naming(self, identifiers: Mapping[str, Sequence[str]]) -> tuple[Query | None, str, list[str]]:
        """Rows that hold one of the identifiers (kind -> values), in a field of their own or in the text.

        Gives the query, or None without identifiers, what to call these rows, and notes for the ledger.
        """
        target = self.target
        should: list[Query] = []
        named: list[str] = []
        notes: list[str] = []
        texts = message_fields(self.mapping) if self.what == "logs" else []
        searched = 0
        fields = id_fields(self.mapping)
        for group, kinds in _KINDS.items():
            values = list(dict.fromkeys(v for kind in kinds for v in identifiers.get(kind, ())))
            if not values:
                continue
            named.append(counted(len(values), f"{group} id", f"{group} ids"))
            # A trace that says nothing of its order or customer is no exception.
            nowhere = target.beyond([*fields[group], *texts], EXACT | NUMBER | TEXT | _WHOLE) if texts else []
            if nowhere:
                notes.append(f"{group} ids cannot be looked for, in no field and no text, in {listed(nowhere)}")
            should += [self._about(name, EXACT, {"terms": {name: values}}) for name in target.of(fields[group], EXACT)]
            numbers = [int(v) for v in values if v.isdecimal() and len(v) < 19]
            if numbers:
                numeric = target.of(fields[group], NUMBER)
                should += [self._about(name, NUMBER, {"terms": {name: numbers}}) for name in numeric]
            in_text = values[: max(0, _SEARCHED_IN_TEXT - searched)]
            searched += len(in_text)
            if len(in_text) < len(values):
                notes.append(f"{len(values) - len(in_text)} {group} ids were looked for in fields, not in the text")
            for name in target.of(fields[group], TEXT) if in_text else []:
                phrases = any_of([{"match_phrase": {name: value}} for value in in_text])
                should.append(self._about(name, TEXT, phrases))
            for name in target.of(texts, TEXT) if in_text else []:
                phrases = any_of([{"match_phrase": {name: said}} for v in in_text for said in _spoken(group, v)])
                should.append(self._about(name, TEXT, phrases))
            for name in target.of(texts, _WHOLE) if in_text else []:
                wild = any_of([{"wildcard": {name: {"value": f"*{_escaped(v)}*"}}} for v in in_text])
                should.append(self._about(name, _WHOLE, wild))
        if named and texts and not target.of(texts, TEXT | _WHOLE):
            notes.append(
                "no text of the lines can be searched: identifiers were looked for in fields of their own only"
            )
        return (any_of(should) if should else None), f"naming {', '.join(named)}", notes

    def failing(self) -> Query:
        """Warnings and errors by level, by HTTP status, by the words in the text; of spans those that failed."""
        target = self.target
        about = self._about
        should: list[Query] = []
        if self.what == "spans":
            outcomes = target.of(["event.outcome"], EXACT)
            should += [about(name, EXACT, {"terms": {name: ["failure"]}}) for name in outcomes]
            words = ["Error", "ERROR", "STATUS_CODE_ERROR"]
            should += [about(name, EXACT, {"terms": {name: words}}) for name in target.of(["status.code"], EXACT)]
            should += [about(name, NUMBER, {"term": {name: 2}}) for name in target.of(["status.code"], NUMBER)]
        else:
            levels = self.mapping.log_level
            spelled = sorted({f(word) for word in _LEVEL_WORDS for f in (str.lower, str.upper, str.capitalize)})
            should += [about(name, EXACT, {"terms": {name: spelled}}) for name in target.of(levels, EXACT)]
            should += [about(name, TEXT, {"match": {name: " ".join(_LEVEL_WORDS)}}) for name in target.of(levels, TEXT)]
            for name in target.of(levels, NUMBER):
                should.append(about(name, NUMBER, {"range": {name: _LEVEL_NUMBERS.get(name, {"gte": 40})}}))
            should += [{"exists": {"field": name}} for name in ("error.type",) if target.types.get(name)]
            for name in target.of(message_fields(self.mapping), TEXT):
                said = [{"match": {name: _BAD_WORDS}}, *({"match_phrase": {name: phrase}} for phrase in _BAD_PHRASES)]
                should.append(about(name, TEXT, any_of(said)))
        for name in target.of(status_fields(self.mapping), NUMBER):
            should.append(about(name, NUMBER, {"range": {name: {"gte": 500, "lt": 600}}}))
        return any_of(should) if should else _NOTHING

    def searchable_texts(self) -> list[str]:
        """The fields of the line itself that can be searched by words."""
        return self.target.of(self.mapping.message, TEXT) if self.what == "logs" else []

    def _about(self, name: str, types: frozenset[str], query: Query) -> Query:
        return self.target.asked(name, types, query)


def all_of(*queries: Query, without: Sequence[Query] = ()) -> Query:
    """Rows that match every query and none of `without`."""
    return {"bool": {"filter": list(queries), "must_not": list(without)}}


def any_of(queries: Sequence[Query]) -> Query:
    """Rows that match at least one query."""
    return {"bool": {"should": list(queries), "minimum_should_match": 1}}


def drawn(share: float) -> Query:
    """A random `share` (0..1) of all rows, the same rows for equal shares; a larger share holds the smaller one's.

    `random_score` draws by the row's sequence number, which every index keeps in a column:
    https://www.elastic.co/docs/reference/query-languages/query-dsl/query-dsl-function-score-query#function-random
    """
    if share >= 1.0:
        return {"match_all": {}}
    if share <= 0.0:
        return _NOTHING
    draw = {"random_score": {"seed": _SEED, "field": "_seq_no"}, "boost_mode": "replace", "min_score": 1.0 - share}
    return {"function_score": draw}


def _spoken(group: str, value: str) -> list[str]:
    """An identifier as a line may have it: alone, or one word with what stands before it."""
    return [value, *(f"{cue}:{value}" for cue in _CUES[group])] if value[0].isalpha() else [value]


def _escaped(value: str) -> str:
    return "".join(f"\\{c}" if c in "*?\\" else c for c in value)


def stamp(moment: datetime) -> str:
    """A moment as Elasticsearch reads it, in UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def from_ms(ms: int) -> datetime:
    """The moment of epoch milliseconds."""
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=ms)


def floor_ms(moment: datetime) -> datetime:
    """The whole millisecond at or before `moment`."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def ceil_ms(moment: datetime) -> datetime:
    """The whole millisecond at or after `moment`."""
    floor = floor_ms(moment)
    return floor if floor == moment else floor + timedelta(milliseconds=1)
