"""Templates: the same lines give the same templates, in any order, in linear time, and no line is lost."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers.masking import JOINED, mask
from parsers.templates import mine, template_id

TOKENS = st.sampled_from(
    [
        "payment",
        "order",
        "paid",
        "failed",
        "for",
        "user-7",
        "192.168.1.1:80",
        "3a5f",
        "$12.00",
        "¥5元",
        "https://h.example/p?a=1&b=2",
        "<*>",
        "订单已支付",
        "deadbeefdeadbeefff",
        "2026-03-04T10:00:00Z",
        "+-",
        "--",
        "T",
        "Z",
        "[x]",
        "50%",
        "key=1,2",
        "\t",
        "\n",
        "超时",
    ]
)
LINES = st.lists(st.one_of(st.none(), st.text(max_size=60), st.lists(TOKENS, max_size=9).map(" ".join)), max_size=25)


def masked(*lines: str | None) -> list[str]:
    return mask(pa.array(lines, pa.string())).to_pylist()


def mined(lines) -> dict[str, int]:
    return {t.text: t.count for t in mine(pa.array(list(lines), pa.string())).templates}


@given(LINES, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_order_of_the_lines_has_no_say(lines, shuffle):
    other = list(lines)
    shuffle.shuffle(other)
    assert mined(other) == mined(lines)


@given(LINES)
@settings(max_examples=60, deadline=None)
def test_each_line_is_of_one_template_and_counted_once(lines):
    result = mine(pa.array(lines, pa.string()))
    ids = result.template_ids.to_pylist()
    assert len(ids) == len(lines) == sum(t.count for t in result.templates)
    assert {t.id: t.count for t in result.templates} == {i: ids.count(i) for i in set(ids)}
    assert all(t.id == template_id(t.text) for t in result.templates)
    assert len({t.text for t in result.templates}) == len(result.templates)


@given(st.one_of(st.text(), st.lists(TOKENS).map(" ".join), st.lists(TOKENS, min_size=300, max_size=500).map("".join)))
@settings(max_examples=200, deadline=None)
def test_masking_twice_masks_no_more(line):
    (once,) = masked(line)
    assert masked(once) == [once]


@given(st.integers(1000, 1030), st.sampled_from(["f", "5,", "$$5 ", "http://a?", "a\t5 ", "<*>", "é"]))
@settings(max_examples=60, deadline=None)
def test_masking_twice_masks_no_more_where_a_line_is_cut(length, unit):
    for line in (unit * length, "x" * (length - 3) + unit * 9, "-" + " " * 7 + unit * length):
        (once,) = masked(line)
        assert len(once) <= 1024
        assert masked(once) == [once]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("paid 12.50 in 3 ms", f"paid <*> in <*>{JOINED}ms"),
        ("paid $12.50", "paid <*>"),
        ("GET https://h.example/pay?order=1&sign=ab done", "GET https://h.example/pay?* done"),
        ("id deadbeefdeadbeefff", "id <*>"),
        ("order 12/34:56", "order <*>"),
        ("订单SO2026030410完成", "订单<*>完成"),
        ("first line\nsecond 2", "first line"),
        ("  indented\ttab ", "indented tab"),
        ("", ""),
        (None, ""),
    ],
)
def test_what_differs_from_line_to_line_is_folded(line, expected):
    assert masked(line) == [expected]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("VM Started", "VM Paused"),
        ("VM Started (Lifecycle Event)", "VM Paused (Lifecycle Event)"),
        ("payment of order 1 succeeded", "payment of order 2 failed"),
        ("link eth0 is up", "link eth1 is down"),
        ("callback for 1 was accepted by the shop", "callback for 2 was refused by the shop"),
        ("订单 1 支付 成功", "订单 2 支付 失败"),
        ("Instance spawned successfully.", "Instance destroyed successfully."),
    ],
)
def test_opposite_words_stay_apart(one, other):
    assert len(mined([one, other] * 3)) == 2


def test_what_varies_is_a_wildcard():
    assert mined([f"user {name} bought a book" for name in ("ann", "bob", "eve")]) == {"user <*> bought a book": 3}


def test_chinese_lines_are_mined():
    lines = [f"订单 SO2026030410{i} 支付超时，耗时 {i} 毫秒" for i in range(20)] + ["回调验签失败"] * 5
    assert mined(lines) == {"订单 <*> 支付超时，耗时 <*> 毫秒": 20, "回调验签失败": 5}


def test_ids_are_the_same_in_every_run():
    program = (
        "import pyarrow as pa\nfrom parsers.templates import mine\n"
        "print([t.id for t in mine(pa.array(['a 1 b', 'a 2 b', 'c failed', '订单 3'])).templates])\n"
    )
    outputs = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parent.parent)}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        outputs.add(done.stdout)
    (output,) = outputs
    assert output.count("'t") == 3


def test_no_lines_give_no_templates():
    result = mine(pa.chunked_array([], pa.string()))
    assert result.templates == ()
    assert len(result.template_ids) == 0


def seconds(lines: list[str]) -> float:
    """The best of three runs."""
    table = pa.array(lines, pa.string())
    best = float("inf")
    for _ in range(3):
        begun = time.perf_counter()
        mine(table)
        best = min(best, time.perf_counter() - begun)
    return best


@pytest.mark.parametrize(
    "make",
    [
        lambda n: ["f" * (80_000 * n)],
        lambda n: ["x" * (1_000_000 * n)],
        lambda n: ["a1" * (40_000 * n)],
        lambda n: ["\t\n " * (100_000 * n) + "x"],
        lambda n: ["http://" * (20_000 * n)],
        lambda n: ["a\n" * (200_000 * n)],
        lambda n: [" ".join(random.Random(i).choices("abcdefghij", k=12)) for i in range(2_000 * n)],
    ],
    ids=["hex", "word", "chunks", "blanks", "urls", "newlines", "distinct"],
)
def test_time_grows_with_the_input_and_no_faster(make):
    seconds(make(1))
    once, twice = seconds(make(1)), seconds(make(2))
    assert twice <= 4 * once + 0.02
