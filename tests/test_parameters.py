"""Parameters: what stood where a template has a wildcard, and what kind of value it is."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers.parameters import fits
from parsers.templates import mine, parameter_kinds, parameters
from tests.mining_samples import LINE, LINES


def found(*lines: str):
    messages = pa.array(lines)
    mined = mine(messages)
    (template,) = mined.templates
    return template.text, parameters(mined, messages, template)


@given(LINES)
@settings(max_examples=100, deadline=None)
def test_every_line_with_a_wildcard_gives_a_value_for_each(lines):
    messages = pa.array(lines, pa.string())
    mined = mine(messages)
    rows = []
    for template in mined.templates:
        got = parameters(mined, messages, template)
        rows += got.rows.to_pylist()
        assert got.values.num_columns == len(got.kinds) == template.text.count("<*>")
        assert all(column.null_count == 0 for column in got.values.columns), template.text
    assert sorted(rows) == list(range(len(lines)))


def test_values_come_by_row_from_the_raw_lines():
    text, got = found("  took 12.5 ms  for 10.0.0.7:80", "took 7 ms for 10.0.0.8:80")
    assert text == "took <*> ms for <*>"
    assert got.rows.to_pylist() == [0, 1]
    assert got.values.to_pydict() == {"p1": ["12.5", "7"], "p2": ["10.0.0.7:80", "10.0.0.8:80"]}
    assert got.kinds == ("duration", "ip")


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("number", ["12", "-5", "1,200.50"]),
        ("ip", ["10.0.0.1", "10.0.0.2:443"]),
        ("uuid", ["63a0d960-70b6-44c6-b606-491478a5cadf", "73a0d960-70b6-44c6-b606-491478a5cadf"]),
        ("time", ["2026-11-23T10:02:31Z", "10:02:31"]),
        ("size", ["6.0 KB", "28902 bytes (28.2 KB)"]),
        ("hex", ["0x1f", "0xffe0"]),
        ("path", ["/var/log/pay.log", "/etc/hosts/a"]),
        ("host", ["pay.example.com:443", "api.example.com:443"]),
        ("id", ["P202611231", "attempt_2017_m_0"]),
        ("text", ["12", "/var/log/x"]),
    ],
)
def test_the_kind_is_that_of_all_values(kind, values):
    _, got = found(*(f"value seen here was {value} at last" for value in values))
    assert got.kinds == (kind,)
    assert got.values.column("p1").to_pylist() == values


def test_names_are_words():
    _, got = found(*(f"password checked for user {name} by hand" for name in ("ann", "bob", "张三", "eve")))
    assert got.kinds == ("word",)


def test_a_list_of_values_is_one_parameter_of_its_own_length():
    text, got = found("asked to delete blk_1 blk_2 blk_3", "asked to delete blk_7")
    assert text == "asked to delete <*>"
    assert got.values.column("p1").to_pylist() == ["blk_1 blk_2 blk_3", "blk_7"]


def test_a_template_without_wildcards_has_no_parameters():
    text, got = found("nothing varies", "nothing varies")
    assert text == "nothing varies"
    assert (got.rows.to_pylist(), got.values.num_columns, got.kinds) == ([0, 1], 0, ())


def test_a_line_that_was_cut_still_gives_its_values():
    messages = pa.array([f"dump {i} " + "word " * 400 for i in range(3)])
    mined = mine(messages)
    got = parameters(mined, messages, mined.templates[0])
    assert got.values.column("p1").to_pylist() == ["0", "1", "2"]


def test_of_a_line_that_was_cut_in_a_value_the_rest_is_the_value():
    messages = pa.array(["payload " + "deadbeef" * 400])
    mined = mine(messages)
    got = parameters(mined, messages, mined.templates[0])
    assert (mined.templates[0].text, got.values.column("p1").to_pylist()) == ("payload <*>", ["deadbeef" * 400])


def test_a_query_string_is_no_parameter():
    text, got = found("GET https://h.example/p?a=b took 5 ms", "GET https://h.example/p?a=c&x took 7 ms")
    assert text == "GET https://h.example/p?* took <*> ms"
    assert got.values.to_pydict() == {"p1": ["5", "7"]}


@given(LINES)
@settings(max_examples=60, deadline=None)
def test_every_line_fits_the_text_of_its_template(lines):
    mined = mine(pa.array(lines, pa.string()))
    text = {template.id: template.text for template in mined.templates}
    for line, template_id in zip(lines, mined.template_ids.to_pylist(), strict=True):
        assert fits(pa.array([line or ""]), text[template_id]) == [True]


@given(
    st.lists(st.tuples(LINE, st.sampled_from(["paid # now", "id # from # in 5 ms", "# KB"])), min_size=1, max_size=20)
)
@settings(max_examples=60, deadline=None)
def test_kinds_of_many_templates_are_the_kinds_of_each(pieces):
    lines = pa.array([text.replace("#", (value or "").replace("\n", " ") or "7") for value, text in pieces])
    mined = mine(lines)
    texts = [template.text for template in mined.templates]
    number = {template.id: n for n, template in enumerate(mined.templates)}
    of_line = [number[one] for one in mined.template_ids.to_pylist()]
    expected = [parameters(mined, lines, template).kinds for template in mined.templates]
    assert parameter_kinds(lines, texts, of_line) == expected
