"""Plain files: every encoding, records of several lines, and a place in bytes for each record."""

from __future__ import annotations

import itertools
import os
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers.plain import parse_text

TEXT = (
    "2026-11-23 10:02:31.118 ERROR [main] [c.x.Y] - 支付失败，订单号：20261117084545\n"
    "java.io.IOException: 超时\n\tat a.B.c(B.java:1)\nCaused by: java.net.ConnectException: refused\n\t... 3 more\n\n"
    "2026-11-23 10:02:32.118 INFO [main] [c.x.Y] - 完成\r\n"
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "gb18030", "utf-16", "utf-16-be"])
def test_the_encoding_is_found_and_records_are_joined(encoding: str) -> None:
    data = ("\ufeff" + TEXT if encoding == "utf-16-be" else TEXT).encode(encoding)
    parsed = parse_text(data, source="s", file="a.log")
    first, second = parsed.table.to_pylist()
    assert (
        first["body"]
        == "支付失败，订单号：20261117084545 java.io.IOException: 超时 <- java.net.ConnectException: refused"
    )
    assert (first["log.level"], first["log.logger"], first["labels.order_id"]) == ("ERROR", "c.x.Y", "20261117084545")
    assert first["@timestamp"] == datetime(2026, 11, 23, 10, 2, 31, 118000, UTC)
    assert second["body"] == "完成"
    assert (parsed.lines, parsed.unparsed) == (2, 0)


@pytest.mark.parametrize("encoding", ["utf-8", "gbk"])
def test_each_record_can_be_cut_out_of_the_file_again(encoding: str) -> None:
    data = TEXT.encode(encoding)
    for row in parse_text(data, source="s", file="a.log").table.to_pylist():
        assert data[row["log.offset"] : row["log.offset"] + row["log.length"]].decode(encoding) == row["message"]


def test_lines_without_headers_are_records_of_their_own() -> None:
    parsed = parse_text(b"one\ntwo\n  more of two\nthree\n", source="s", file="f")
    assert parsed.table["message"].to_pylist() == ["one", "two\n  more of two", "three"]


def test_invalid_bytes_are_replaced_and_counted() -> None:
    parsed = parse_text(b"2026-11-23 10:02:31 INFO ok\n2026-11-23 10:02:32 INFO b\xff\xfead\n", source="s", file="f")
    assert parsed.unparsed == 1
    assert parsed.table["body"].to_pylist() == ["ok", "b\ufffd\ufffdad"]


def test_a_record_without_end_is_cut() -> None:
    parsed = parse_text(b"x" * 2_500_000, source="s", file="f")
    assert parsed.table["log.length"].to_pylist() == [1 << 20, 1 << 20, 2_500_000 - (2 << 20)]


def test_rubbish_is_read_without_an_error() -> None:
    parsed = parse_text(os.urandom(50_000), source="s", file="f")
    assert parsed.lines == parsed.table.num_rows > 0


han = st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FA5), min_size=2, max_size=20)


@settings(max_examples=30, deadline=None)
@given(st.lists(han, min_size=1, max_size=6))
def test_gbk_text_comes_back_as_it_was(texts: list[str]) -> None:
    lines = [f"2026-11-23 10:02:31 INFO 订单支付{text}" for text in texts]
    parsed = parse_text("\n".join(lines).encode("gb18030"), source="s", file="f")
    assert parsed.table["message"].to_pylist() == lines


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_raise_and_the_records_cover_all_that_is_not_blank(data: bytes) -> None:
    parsed = parse_text(data, source="s", file="f")
    assert parsed.lines == parsed.table.num_rows
    parsed.table.validate(full=True)
    spans = list(zip(parsed.table["log.offset"].to_pylist(), parsed.table["log.length"].to_pylist(), strict=True))
    assert all(a + n <= b for (a, n), (b, _) in itertools.pairwise(spans))
