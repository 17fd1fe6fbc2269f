"""A page of hits read by the compiled loop is the page read with care, or it is left to that."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers.columns import columns_of, read_columns, wanted_columns
from parsers.documents.parsing import parse_documents, parse_values, wanted_of
from parsers.hits import Page, Values, joined
from parsers.mapping import AUTO

FIELDS = ("@timestamp", "service.name", "log.level", "message", "error", "error.message")
ODD_TEXT = st.sampled_from(
    [
        "",
        " ",
        'a "quoted" word',
        "back\\slash",
        "tab\tand\nline",
        "支付失败",
        "\U0001f600",
        "\x7f",
        "é" * 9,
        "x" * 300,
        "\b\f\r/",
    ]
)
TEXT = st.one_of(ODD_TEXT, st.text(max_size=12))
SCALAR = st.one_of(
    TEXT,
    TEXT,
    st.integers(-(10**20), 10**20),
    st.booleans(),
    st.none(),
    st.floats(allow_nan=False, allow_infinity=False),
)
ANY = st.recursive(
    SCALAR, lambda below: st.one_of(st.lists(below, max_size=2), st.dictionaries(TEXT, below, max_size=2)), max_leaves=4
)
MOSTLY_TEXT = st.one_of(TEXT, TEXT, TEXT, TEXT, TEXT, TEXT, ANY)
SOURCE = st.fixed_dictionaries(
    {},
    optional={
        "@timestamp": st.sampled_from(["2026-11-20T02:00:00.123Z", "2026-11-20T02:00:00Z", 1763604000000]),
        "message": MOSTLY_TEXT,
        "service": st.fixed_dictionaries({}, optional={"name": MOSTLY_TEXT, "id": st.integers()}),
        "service.name": TEXT,
        "log.level": st.sampled_from(["INFO", "warn"]),
        "log": st.fixed_dictionaries({"level": st.sampled_from(["INFO", "ERROR", 3])}),
        "http": st.fixed_dictionaries(
            {"response": st.fixed_dictionaries({"status_code": st.sampled_from([200, "404", 5, -0])})}
        ),
        "error": st.one_of(TEXT, st.fixed_dictionaries({}, optional={"message": MOSTLY_TEXT, "code": SCALAR})),
        "tags": ANY,
        "other": st.dictionaries(TEXT, ANY, max_size=3),
    },
)


def page(sources: list[dict[str, Any]], *, ascii_only: bool = False, spaces: bool = False, extra: bool = False) -> Page:
    separators = (", ", ": ") if spaces else (",", ":")
    hits = [
        {
            "_index": "i",
            "_id": f"d{n}",
            "_score": None,
            **({"_ignored": ["a", "{"]} if extra else {}),
            "_source": one,
            "sort": [n],
        }
        for n, one in enumerate(sources)
    ]
    head = b'{"took":1,"hits":{"max_score":null,"hits":['
    body = ",".join(json.dumps(hit, ensure_ascii=ascii_only, separators=separators) for hit in hits).encode(
        errors="replace"
    )
    return Page(head + body + b"]}}", len(head), len(head) + len(body), [len(sources) - 1])


def lines(one: Page) -> bytes:
    return b"\n".join(msgspec.json.format(hit, indent=-1) for hit in one.hits())


@settings(deadline=None, max_examples=200)
@given(st.lists(SOURCE, max_size=12), st.booleans(), st.booleans(), st.booleans())
def test_a_page_read_by_the_loop_is_the_page_read_with_care(sources, ascii_only, spaces, extra):
    one = page(sources, ascii_only=ascii_only, spaces=spaces, extra=extra)
    values = wanted_of(AUTO).read(one)
    if values is not None:
        assert len(values) == len(sources)
        assert parse_values(values, source="s") == parse_documents(lines(one), source="s", envelope="hit")
    values = wanted_columns(FIELDS).read(one)
    if values is not None:
        table, careful = columns_of(values, FIELDS), read_columns(lines(one), FIELDS, len(sources))
        for name in careful.column_names:
            texts = [text or None for text in table.column(name).to_pylist()]
            assert texts == [text or None for text in careful.column(name).to_pylist()], name


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.dictionaries(st.sampled_from(["message", "log.level", "user"]), TEXT), min_size=1, max_size=30),
    st.booleans(),
)
def test_a_page_of_texts_is_read_by_the_loop(sources, ascii_only):
    values = wanted_of(AUTO).read(page(sources, ascii_only=ascii_only))
    assert values is not None
    found = values.columns.get("message")
    assert (found.to_pylist() if found else [None] * len(sources)) == [one.get("message") for one in sources]


@settings(deadline=None, max_examples=150)
@given(st.lists(SOURCE, min_size=1, max_size=3), st.data())
def test_a_damaged_page_is_never_read_beyond_its_end(sources, data):
    one = page(sources)
    answer = bytearray(one.answer)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(one.first, max(one.first, one.last - 1)))
        answer[place] = data.draw(st.sampled_from(list(b'{}[],:"\\ 0au\x00\xff')))
    values = wanted_of(AUTO).read(Page(bytes(answer), one.first, one.last, one.sort))
    assert values is None or len(values) <= len(answer)


@pytest.mark.parametrize("odd", [
    {"message": ["a", "b"]}, {"message": {"a": 1}}, {"message": 1.5}, {"message": True}, {"message": 10**19},
    {"log": {"level": "INFO"}, "log.level": "INFO"},
])  # fmt: skip
def test_what_is_unusual_is_left_to_the_careful_way(odd):
    assert wanted_of(AUTO).read(page([{"message": "a"}, odd])) is None


def test_half_a_character_is_left_to_the_careful_way():
    one = page([{"message": "HERE"}])
    assert wanted_of(AUTO).read(one) is not None
    for text in (rb"\ud83d", rb"\ude00", rb"\u12", rb"\x", b"\xff\xfe ", b"\x01234"):
        answer = one.answer.replace(b"HERE", text)
        assert wanted_of(AUTO).read(Page(answer, one.first, one.last + len(text) - 4, one.sort)) is None


def test_a_large_answer_that_ends_with_its_hits_is_a_page_and_no_other_is():
    one = page([{"message": 'hits":[ ' * 20, "n": n} for n in range(2_000)])
    found = Page.of(one.answer)
    assert found == one
    assert msgspec.json.decode(found.around()) == {"took": 1, "hits": {"max_score": None, "hits": []}}
    assert len(found.hits()) == 2_000
    with_more = one.answer[:-1] + b',"aggregations":{"a":{"value":1}}}'
    assert Page.of(with_more) is None
    assert Page.of(page([{"message": "a"}]).answer) is None


def test_more_hits_than_are_read_at_a_time_are_all_read():
    values = wanted_columns(FIELDS).read(page([{"message": f"m{n}"} if n % 3 else {} for n in range(40_000)]))
    assert values is not None
    assert values.columns["message"].to_pylist() == [f"m{n}" if n % 3 else None for n in range(40_000)]


def test_parts_are_joined_whatever_fields_they_have():
    one, other = (wanted_columns(FIELDS).read(page(sources)) for sources in ([{"message": "a"}], [{"error": "b"}, {}]))
    assert one is not None
    assert other is not None
    whole = joined([one, other])
    assert whole.columns["message"].to_pylist() == ["a", None, None]
    assert whole.columns["error"].to_pylist() == [None, "b", None]
    some = whole[1:2]
    assert isinstance(some, Values)
    assert (len(some), some.columns["error"].to_pylist()) == (1, ["b"])
