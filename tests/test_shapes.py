"""Lines read by their shapes say what they say when each is read by itself."""

from __future__ import annotations

import random
import re
from importlib import import_module
from pkgutil import iter_modules
from re import _constants as sre
from re import _parser as parser
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import parsers.lines
import parsers.plans
from parsers import shapes, stacktraces
from parsers.lines import header_forms, numbers, trace_ids
from parsers.lines.enrichment import enrich
from parsers.tables import LOGS, conform
from tests.mining_samples import PIECES
from tests.test_lines import HEADERS

# Places where an id or a number stands next to what an expression asks for.
NEAR = [
    "trace_id=ID", "tid:ID", "[tid:ID]", "TraceID: ID SpanID: ID", "[app,ID,ID]", "[app, ID, ID]", "[ID-ID]", "00-ID-ID-01",
    "b3: ID-ID", "b3=ID", "uber-trace-id: ID:ID:0:1", "span_id=ID", "root=1-NNNNNNNN-ID", "Foo#ID", "x=ID - ERROR - late",
    "ID - INFO ", "ID.Exception", "ID.FooException: no N", "status=ID", "status N", "status=N", "HTTP/1.1 N", "GET /a/ID N",
    "http status: N, next", "orderId: ID", "order_no=N", "订单号：N", "orderNo: SON", "pay order N", "Foo#N", "user N", "NN:NN:NN.N",
    "a.b.C:N", "[ID]", "(ID)", "{a:N}", "ID", "N", "traceId=N", "tid=000000000000000000", "#0 N", "c.g.Pay.N", "code=N java.io.XError: N",
    "ERROR", "INFO", "WARN", " - ", ": ", "] ", "dateN", "vN", "sN.local:N", "#N", "x#012#011at N", "panic: N", "PHP Warning: N",
]  # fmt: skip


def fill(form: str, chance: random.Random) -> str:
    """`form` with an id for each ID and a number for each N."""

    def one(found: re.Match[str]) -> str:
        if found[0] != "ID":
            return "".join(chance.choice("0123456789") for _ in range(chance.choice((1, 2, 3, 3, 4, 16))))
        kind = chance.choice((16, 32, 32, 36, 8, 20))
        letters = chance.choice(("0123456789abcdef", "0123456789abcdef", "0123456789", "abcdef", "4f0b3"))
        text = "".join(chance.choice(letters) for _ in range(kind))
        return f"{text[:8]}-{text[9:13]}-{text[14:18]}-{text[19:23]}-{text[24:]}" if kind == 36 else text

    return re.sub("ID|N", one, form)


def another(line: str, chance: random.Random) -> str:
    """`line` with other digits and other characters in what looks like an id."""
    line = re.sub(
        r"(?<![0-9A-Za-z_])[0-9a-f]{8,}(?![0-9A-Za-z_])",
        lambda m: "".join(chance.choice("0123456789abcdef") for _ in m[0]) if re.search("[a-f]", m[0]) else m[0],
        line,
    )
    return re.sub("[0-9]", lambda m: chance.choice("0123456789") if chance.random() < 0.8 else m[0], line)


# Lines that are alike.
ALIKE = 6


def table_of(lines: list[str], chance: random.Random) -> pa.Table:
    """Lines as records with a time; of those that are alike, some have values of their own."""
    columns: dict[str, Any] = {"message": pa.array(lines, pa.string())}
    for name in ("trace.id", "span.id", "error.type", "labels.order_id"):
        own = [chance.choice((None, None, None, "own")) for _ in lines[::ALIKE]]
        columns[name] = pa.array([own[number // ALIKE] for number in range(len(lines))], pa.string())
    columns["@timestamp"] = pa.repeat(pa.scalar(0, LOGS.field("@timestamp").type), len(lines))
    return conform(pa.table(columns), LOGS)


def both(table: pa.Table) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parsers.lines.enrichment, "worth_shaping", lambda _: False)
        one_by_one = enrich(table).to_pylist()
        patch.setattr(parsers.lines.enrichment, "worth_shaping", lambda _: True)
        patch.setattr(parsers.plans, "LEAST", 1)
        shapes.known().clear()
        return one_by_one, enrich(table).to_pylist()


def agree(lines: list[str], seed: int) -> None:
    chance = random.Random(seed)
    table = table_of(
        [other for line in lines for other in (line, *(another(line, chance) for _ in range(ALIKE - 1)))], chance
    )
    for one, other in zip(*both(table), strict=True):
        assert other == one


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.sampled_from(NEAR + PIECES), max_size=6), min_size=1, max_size=8), st.integers(0, 2**32))
def test_lines_read_by_shape_are_the_lines_read_one_by_one(forms, seed):
    chance = random.Random(seed)
    joint = chance.choice(("", " "))
    agree([fill(joint.join(form), chance) for form in forms], seed)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(HEADERS)), min_size=1, max_size=6),
    st.lists(st.sampled_from(NEAR)),
    st.integers(0, 2**32),
)
def test_headers_read_by_shape_are_the_headers_read_one_by_one(names, ends, seed):
    chance = random.Random(seed)
    agree([f"{HEADERS[name][0]} {fill(' '.join(ends), chance)}" for name in names], seed)


def test_a_log_of_few_shapes_is_read_by_a_sample_of_each():
    form = (
        "20:09:03.450 INFO  c.s.Xa#12 TraceID: ID SpanID: 0123456789abcdef [a] order_no=SO20265958286236 HTTP/1.1 404"
    )
    lines = [
        another(form.replace("ID:", "Id:").replace("Id: ID", "ID: 4bf92f3577b34da6a3ce929d0e0e4736"), random.Random(n))
        for n in range(300)
    ]
    table = conform(
        pa.table({"message": lines, "@timestamp": pa.repeat(pa.scalar(0, LOGS.field("@timestamp").type), 300)}), LOGS
    )
    one_by_one, by_shape = both(table)
    assert by_shape == one_by_one
    plans = list(shapes.known().values())
    assert 0 < len(plans) < 150
    assert {name for plan in plans for name, place in plan.values.items() if isinstance(place, tuple)} >= {
        "trace.id", "labels.order_id", "http.response.status_code"
    }  # fmt: skip


def test_a_record_without_a_time_is_read_by_itself():
    lines = [f"2026-11-23 10:02:31.{n} ERROR [exec-7] [c.g.WxPay] - late {n}" for n in range(100, 140)]
    one_by_one, by_shape = both(conform(pa.table({"message": lines}), LOGS))
    assert by_shape == one_by_one
    assert one_by_one[0]["@timestamp"] is not None


# What the loop leaves as it is, by the character in front: `b3`, `%3A`, `=1-`, `>1 `, `#0`; and the digits of `00-` and `#012#011`.
SPARED = {
    ("b", "3"),
    ("%", "3"),
    ("=", "1"),
    (">", "1"),
    ("#", "0"),
    ("0", "1"),
    ("1", "2"),
    ("1", "1"),
    ("0", "0"),
    ("", "0"),
}


def digits_asked_for(pattern: str) -> set[tuple[str, str]]:
    """Each digit that an expression asks for, with the literal in front of it; a range that splits the digits as itself."""
    plain = re.sub(r"\\x\{[0-9a-fA-F]+\}", "X", re.sub(r"\(\?[ims]\)", "", pattern))
    found: set[tuple[str, str]] = set()

    def look(node: Any, before: str) -> None:
        for kind, value in node:
            if kind is sre.LITERAL:
                if chr(value).isdigit():
                    found.add((before, chr(value)))
                before = chr(value)
                continue
            if kind is sre.IN:
                for what, of in value:
                    if what is sre.LITERAL and chr(of).isdigit():
                        found.add(("in", chr(of)))
                    if what is sre.RANGE and (of[0] <= 57 and of[1] >= 48) and not (of[0] <= 48 and of[1] >= 57):
                        found.add(("in", f"{chr(of[0])}-{chr(of[1])}"))
            for part in value if isinstance(value, tuple | list) else ():
                for inner in part if isinstance(part, list) else [part]:
                    if isinstance(inner, parser.SubPattern):
                        look(inner, before)
            before = ""

    look(parser.parse(plain), "")
    return found


def test_no_expression_asks_for_a_digit_that_a_shape_does_not_tell():
    rooms = [import_module(f"parsers.lines.{room.name}") for room in iter_modules(parsers.lines.__path__)]
    patterns = [
        value
        for room in rooms
        for name, value in vars(room).items()
        if isinstance(value, str) and not name.startswith("__")
    ]
    for group in (header_forms.WRAPS, trace_ids._TRACE_FORMS, numbers._STATUS_FORMS):
        patterns += group
    patterns.append(stacktraces.TRACE_SIGN)
    # RECORD_START is for who reads files.
    asked = set()
    for pattern in patterns:
        if (
            pattern != header_forms.RECORD_START
            and ("(" in pattern or "[" in pattern or "\\d" in pattern)
            and "\n" not in pattern
        ):
            asked |= digits_asked_for(pattern)
    assert asked - SPARED == {("in", "1-5")}
