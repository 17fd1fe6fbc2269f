"""Folding: the one mask that reads every line. Two ways do it, and nobody can tell which one did."""

from __future__ import annotations

import random

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers import distinct as distinct_module
from parsers.folding import fold, fold_by_expression, fold_compiled
from tests.mining_samples import LINES, PIECES

SHORT = [
    "a",
    "b",
    "f",
    "x",
    "eth",
    "_",
    "-",
    ".",
    ":",
    "0",
    "1",
    "77",
    " ",
    "<*>",
    "<",
    "*",
    ">",
    "A",
    "F",
    "Z",
    "bad",
    "_-",
]


def folded(*lines: str | None, by=fold_by_expression) -> list[str]:
    return by(pa.array(lines, pa.string())).to_pylist()


@given(LINES)
@settings(max_examples=150, deadline=None)
def test_both_ways_fold_alike(lines):
    assert folded(*lines, by=fold_compiled) == folded(*lines)


@given(st.lists(st.lists(st.sampled_from(SHORT), max_size=14).map("".join), max_size=40))
@settings(max_examples=200, deadline=None)
def test_both_ways_agree_on_words_and_what_joins_them(lines):
    assert folded(*lines, by=fold_compiled) == folded(*lines)


@given(st.integers(0, 2**32), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_both_ways_cut_a_long_line_at_the_same_place(seed, size):
    chance = random.Random(seed)
    lines = ["".join(chance.choices([*SHORT, *PIECES], k=40 * size)).replace("\n", "") for _ in range(3)]
    by_expression = folded(*lines)
    assert folded(*lines, by=fold_compiled) == by_expression
    assert max(map(len, by_expression)) <= 1024


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("took 12.5 ms on node-171", "took <*> ms on node-<*>"),
        ("from 10.0.0.7:8080", "from <*>"),
        ("id 63a0d960-70b6-abcd-b606-49147a5cadfb", "id <*>"),
        ("mac FF:F2:9F:16:CF:0F", "mac <*>"),
        ("blk_-1608999687919862906 is 0x1f", "<*> is <*>"),
        ("eth0, log4j, SOCKS5, L3 stay; a1, 3d and U01 go", "eth0, log4j, SOCKS5, L3 stay; <*>, <*> and <*> go"),
        ("eth0:1 is no name", "<*> is no name"),
        ("bad and bad-5 and a bad-word", "bad and <*> and a bad-word"),
        ("foo_-bar 7 foo_-7-bar", "foo_-bar <*> <*>-bar"),
        ("订单SO2026030410完成", "订单<*>完成"),
        ("\x00 a\tb\x1f\x7fc  ", "a b c"),
        ("first\nsecond", "first"),
        ("\n", ""),
        (None, ""),
    ],
)
@pytest.mark.parametrize("by", [fold_by_expression, fold_compiled])
def test_what_folds_is_said_in_the_module(line, expected, by):
    assert folded(line, by=by) == [expected]


@given(LINES)
@settings(max_examples=60, deadline=None)
def test_each_distinct_result_is_there_once(lines):
    for by in (fold_by_expression, fold_compiled):
        dictionary = by(pa.array(lines, pa.string())).dictionary
        assert len(dictionary.unique()) == len(dictionary)
        dictionary.validate(full=True)


def test_slices_chunks_and_types_make_no_difference(monkeypatch):
    monkeypatch.setattr(distinct_module, "SLICE", 3)
    lines = [f"order {i} paid by {name}" for i, name in enumerate("abcdefgh" * 4)] + [
        None,
        "",
        "订单 5",
        "<*>",
        "7",
    ] * 3
    expected = folded(*lines)
    whole = pa.array(lines, pa.string())
    chunks = pa.chunked_array([whole.slice(5, 20), whole.slice(25), whole.slice(0, 5)])
    assert fold_compiled(whole).to_pylist() == expected
    assert fold_compiled(chunks).to_pylist() == expected[5:] + expected[:5]
    for other in (whole.cast(pa.large_string()), whole.cast(pa.string_view()), pc.dictionary_encode(whole)):
        assert fold(other).to_pylist() == expected
        assert fold(pa.chunked_array([other.slice(7), other.slice(0, 7)])).to_pylist() == expected[7:] + expected[:7]
    assert len(fold(pc.dictionary_encode(whole).slice(0, 1)).dictionary) == 1
    assert fold(pa.chunked_array([], pc.dictionary_encode(whole).type)).to_pylist() == []
    assert fold_compiled(pa.nulls(3, pa.string())).to_pylist() == [""] * 3
    assert fold_compiled(pa.chunked_array([], pa.string())).to_pylist() == []
    assert len(fold_compiled(whole).dictionary) == len(set(expected))


def test_an_error_in_a_thread_is_an_error(monkeypatch):
    monkeypatch.setattr(distinct_module, "SLICE", 1)

    def broken(_):
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        distinct_module.distinct(pa.array(["a", "b"]), broken)


def test_small_inputs_do_not_load_the_compiled_loops():
    import subprocess
    import sys

    program = (
        "import sys, pyarrow as pa\nfrom parsers.templates import mine\nmine(pa.array(['a 1'] * 1000))\n"
        "sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_large_inputs_take_the_compiled_loops_with_the_same_result(monkeypatch):
    lines = pa.array([f"order {i} of {i % 7} paid" for i in range(30_000)])
    monkeypatch.setattr("parsers.folding._COMPILED_FROM", 1)
    monkeypatch.setattr("parsers.folding._COMPILED_FROM_WHEN_LOADED", 1)
    called = []
    monkeypatch.setattr("parsers.folding.fold_compiled", lambda some: called.append(1) or fold_compiled(some))
    assert fold(lines).to_pylist() == fold_by_expression(lines).to_pylist()
    assert called


def test_words_of_brackets_alone_make_no_line_longer():
    """What is folded is written to memory of the input's size: nothing may take more."""
    import numpy as np

    from parsers.rare import fold_rare_words

    chance = random.Random(3)
    lines = [
        " ".join("".join(chance.choices("([{\"'", k=chance.randrange(1, 9))) for _ in range(100)) for _ in range(900)
    ]
    lines += [" ".join("\x05" for _ in range(n)) for n in range(1, 300)]
    distinct_lines = pa.array(sorted(set(lines)))
    weights = np.ones(len(distinct_lines), np.int64)
    folded, _ = fold_rare_words(distinct_lines, weights, 5, [])
    assert all(
        len(now) - 2 * now.count("<*>") <= len(before)
        for now, before in zip(folded.to_pylist(), distinct_lines.to_pylist(), strict=True)
    )


@given(LINES)
@settings(max_examples=100, deadline=None)
def test_folding_twice_folds_no_more(lines):
    once = folded(*lines)
    assert folded(*once) == once


@pytest.mark.parametrize("damage", [b"", b"half"], ids=["empty", "half"])
def test_a_damaged_cache_of_compiled_code_is_no_error(tmp_path, damage):
    """Nobody clears numba's cache at 3 a.m.; then the loops are compiled without it."""
    import os
    import subprocess
    import sys

    program = (
        "import pyarrow as pa\nfrom parsers.folding import fold_compiled\n"
        "assert fold_compiled(pa.array(['a 12'])).to_pylist() == ['a <*>']\n"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    files = [file for file in tmp_path.rglob("*.nb?") if file.is_file()]
    assert files
    for file in files:
        file.write_bytes(file.read_bytes()[:40] if damage else b"")
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
