"""Templates: the same lines give the same templates, in any order, in linear time, and no line is lost."""

from __future__ import annotations

import itertools
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

from parsers import templates
from parsers.masking import JOINED, mask
from parsers.templates import match, merge, mine, template_id
from tests.mining_samples import LINES, PIECES


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


@given(
    st.one_of(
        st.text(),
        st.lists(st.sampled_from(PIECES)).map(" ".join),
        st.lists(st.sampled_from(PIECES), min_size=300, max_size=500).map("".join),
    )
)
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


@given(LINES, st.randoms(use_true_random=False), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_any_sharding_gives_the_same_templates_ids_and_rows(lines, shuffle, shards):
    whole = mine(pa.array(lines, pa.string()))
    borders = [0, *sorted(shuffle.randint(0, len(lines)) for _ in range(shards)), len(lines)]
    parts = [mine(pa.array(lines[i:j], pa.string())) for i, j in itertools.pairwise(borders)]
    merged = merge(*parts)
    assert merged.templates == whole.templates
    assert merged.template_ids.to_pylist() == whole.template_ids.to_pylist()
    shuffle.shuffle(parts)
    assert merge(*parts).templates == whole.templates


@given(LINES)
@settings(max_examples=60, deadline=None)
def test_what_was_mined_matches_its_own_template(lines):
    messages = pa.array(lines, pa.string())
    mined = mine(messages)
    assert match(mined, messages).to_pylist() == mined.template_ids.to_pylist()


def test_new_lines_match_the_template_they_fit_and_others_none():
    mined = mine(pa.array([f"user {name} paid {n} USD by card" for n, name in enumerate(("ann", "bob", "eve", "zoe"))]))
    (template,) = mined.templates
    assert template.text == "user <*> paid <*> USD by card"
    new = pa.array(["user carol paid 77 USD by card", "user carol paid 77 EUR by card", "another thing", None])
    assert match(mined, new).to_pylist() == [template.id, None, None, None]


def test_a_new_line_with_another_turn_fits_no_template():
    mined = mine(pa.array([f"job {word} on node" for word in ["alpha", "beta", "gamma", "delta", "failed"]]))
    assert {t.text for t in mined.templates} == {"job <*> on node", "job failed on node"}
    other, same = match(mined, pa.array(["job succeeded on node", "job omega on node"])).to_pylist()
    assert (other, same is None) == (None, False)


def test_of_two_templates_that_fit_the_one_that_says_more_is_taken():
    lines = ["queue <*> of mail is full", "queue <*> of <*> is full"]
    mined = mine(pa.array(["queue 1 of mail is full", "queue 2 of mail is full"]))
    assert [t.text for t in mined.templates] == lines[:1]
    both = mine(
        pa.array(
            [f"queue {i} of {w} is full" for i, w in enumerate(("red", "blue", "green", "grey"))]
            + ["queue 5 of mail is full now"]
        )
    )
    (fits,) = set(match(both, pa.array(["queue 9 of mail is full"])).to_pylist())
    assert {t.id: t.text for t in both.templates}[fits] == lines[1]


@pytest.mark.parametrize(
    ("form", "values"),
    [
        (
            "Caused by: {}",
            "java.lang.NullPointerException java.lang.OutOfMemoryError x.y.CardDeclinedException TimeoutError",
        ),
        ('{{"trade_status":"{}","id":7}}', "TRADE_SUCCESS TRADE_CLOSED WAIT_BUYER_PAY TRADE_FINISHED"),
        ('{{"reason":"{}","id":7}}', "card_declined card_expired fraud_suspected limit_reached"),
        ('{{"event":"{}"}}', "payment_succeeded payment_failed"),
        ("event {} came for 7", "charge.succeeded charge.failed"),
        ("event {} came for 7", "PaymentSucceeded PaymentFailed"),
        ("call sub_code={} done", "ACQ.TRADE_HAS_SUCCESS ACQ.BUYER_BALANCE_NOT_ENOUGH ACQ.SYSTEM_ERROR ACQ.X_Y"),
        ("account 7 status={} now", "active suspended closed dormant"),
        ("交易失败，原因：{}", "余额不足 密码错误 卡片过期 风控拦截 渠道维护"),
        ("商户甲签名校验{}", "已通过 未通过"),
        ("canceled by {}", "user system"),
        ("GET http://pay.example.com/api/{}?id=1 sent", "charge refund query"),
    ],
)
def test_what_says_what_happened_is_no_parameter(form, values):
    assert len(mined(form.format(value) for value in values.split())) == len(values.split())


def test_what_varies_is_a_wildcard():
    names = ("ann", "bob", "eve", "zoe")
    assert mined(f"cart of {name} was emptied" for name in names) == {"cart of <*> was emptied": 4}


def test_few_words_at_a_position_tell_events_apart_and_names_do_not():
    assert mined(["cache is warm", "cache is cold"] * 2) == {"cache is warm": 2, "cache is cold": 2}
    assert mined(["seen user ann here", "seen user bob here"] * 2) == {"seen user <*> here": 4}
    assert mined(["登录用户张三", "登录用户李四"] * 2) == {"登录用户<*>": 4}
    assert mined(["支付超时，商户：甲店", "支付超时，商户：乙方"] * 2) == {"支付超时，商户：<*>": 4}


def test_constants_tell_events_apart_even_where_there_are_many():
    states = ["NEW", "ASSIGNED", "RUNNING", "PAUSED_BY_USER", "DONE"]
    assert mined(f"job 7 went on to {state}" for state in states) == {f"job <*> went on to {s}": 1 for s in states}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["rhost=a.example.org user=ann", "rhost=ec2-7-8.x.example.net user=bob"], "rhost=<*> user=<*>"),
        (["from 1.2.3.4 () at noon", "from 1.2.3.5 (h.example.org) at noon"], "from <*> (<*>) at noon"),
        (["size 6.0 KB left", "size 17 MB left"], "size <*> left"),
        (["size 6.0 KB left", "size 17 KB left"], "size <*> KB left"),
        (["sent 77 bytes now", "sent 28902 bytes (28.2 KB) now"], "sent <*> now"),
        (["steps 5 6 7", "steps 1 22 333"], "steps <*> <*> <*>"),
        (["kill 50 60 70 80 now", "kill 51 now"], "kill <*> now"),
        (["GET /a/b?x=1 HTTP/1.1 done", "GET /c/d/e HTTP/2 done"], "GET <*> done"),
        (["at Sat Jul  9 11:35:59 2005 x", "at Mon Aug 1 1:2:3 2006 x"], "at <*> x"),
        (["stops=[a, b] ok", "stops=[a, b, c] ok"], "stops=[<*>] ok"),
        (["open jdbc:mysql://h/db1 pool", "open jdbc:mysql://h/db2 pool"], "open jdbc:<*> pool"),
        (["read C:\\Windows\\a.dll in", "read D:\\x\\y in"], "read <*> in"),
        (['{"a":"x","id":7}', '{"a":"x","id":8}'], '{"a":"x","id":<*>}'),
    ],
)
def test_a_value_is_one_wildcard_whatever_its_shape(lines, expected):
    assert mined(lines) == {expected: 2}


def test_chinese_lines_are_mined():
    lines = [f"订单 SO2026030410{i} 支付超时，耗时 {i} 毫秒" for i in range(20)] + ["回调验签失败"] * 5
    assert mined(lines) == {"订单 <*> 支付超时，耗时 <*> 毫秒": 20, "回调验签失败": 5}


def test_names_in_chinese_lines_do_not_make_templates():
    names = ["张三", "李四", "王小明", "欧阳娜娜", "赵六"]
    events = [
        "支付成功，用户{0}，金额{1}元，渠道：微信",
        "支付失败，用户：{0}，错误码：SYSTEMERROR",
        "创建订单P{1}00，下单用户{0}",
    ]
    lines = [event.format(name, n) for n, name in enumerate(names * 40) for event in events]
    assert sorted(mined(lines)) == [
        "创建订单<*>，下单用户<*>",
        "支付失败，用户：<*>，错误码：SYSTEMERROR",
        "支付成功，用户<*>，金额<*>元，渠道：微信",
    ]


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


@pytest.fixture
def few(monkeypatch):
    """Small caps, so that a test reaches what happens with a million distinct lines."""
    monkeypatch.setattr(templates, "MOST_FOLDED", 12)
    monkeypatch.setattr(templates, "MOST_MASKED", 6)


def many_words(count: int, seed: int = 1) -> list[str]:
    chance = random.Random(seed)

    def word() -> str:
        return "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=9))

    lines = [f"guest {word()} came from {word()}.{word()} at last" for _ in range(count)]
    lines += [f"guest {word()} {turn} the door at last" for turn in ("opened", "closed") for _ in range(count // 2)]
    return lines + ["kernel panic: not syncing"] * 3


@pytest.mark.usefixtures("few")
def test_with_very_many_distinct_lines_rare_words_become_wildcards_and_that_is_counted():
    lines = many_words(600)
    result = mine(pa.array(lines))
    assert {t.text: t.count for t in result.templates} == {
        "guest <*> came from <*> at last": 600,
        "guest <*> opened the door at last": 300,
        "guest <*> closed the door at last": 300,
        "kernel panic: not syncing": 3,
    }
    assert result.approximate == 1200
    assert mine(pa.array(lines[-5:])).approximate == 0


@given(LINES, st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_the_laws_hold_with_rare_words_folded(lines, shuffle):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(templates, "MOST_FOLDED", 6)
        patch.setattr(templates, "MOST_MASKED", 3)
        lines = [*lines, *many_words(20, len(lines))]
        whole = mine(pa.array(lines, pa.string()))
        cut = shuffle.randint(0, len(lines))
        merged = merge(mine(pa.array(lines[cut:], pa.string())), mine(pa.array(lines[:cut], pa.string())))
        shuffle.shuffle(lines)
        assert mine(pa.array(lines, pa.string())).templates == merged.templates == whole.templates
        assert sum(t.count for t in whole.templates) == len(lines)
        messages = pa.array(lines, pa.string())
        again = mine(messages)
        for template in again.templates:
            got = templates.parameters(again, messages, template)
            assert all(column.null_count == 0 for column in got.values.columns)


def test_drain_does_not_compare_each_line_with_all_that_came_before():
    """Lines that have nothing in common but their length: what would make Drain quadratic."""
    from drain3.drain import Drain

    compared = 0
    plain = Drain.get_seq_distance

    def counted(self, *arguments):
        nonlocal compared
        compared += 1
        return plain(self, *arguments)

    lines = many_words(2000)[:2000]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Drain, "get_seq_distance", counted)
        mine(pa.array([f"{line.split()[1][::-1]} x {line.split()[1]} y z{i % 7}" for i, line in enumerate(lines)]))
    assert 0 < compared <= 100 * len(lines)


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
        lambda n: ["0123456789abcdef" * (40_000 * n)],
        lambda n: ["00 " * (200_000 * n)],
        lambda n: ["a." * (200_000 * n) + "com:1"],
        lambda n: ["/a" * (200_000 * n)],
        lambda n: ["a_-1" * (100_000 * n)],
        lambda n: ['="[' * (100_000 * n)],
        lambda n: [" ".join(random.Random(i).choices("abcdefghij", k=12)) for i in range(2_000 * n)],
    ],
    ids=[
        "hex",
        "word",
        "chunks",
        "blanks",
        "urls",
        "newlines",
        "hex digits",
        "numbers",
        "host",
        "path",
        "joined",
        "lists",
        "distinct",
    ],
)
def test_time_grows_with_the_input_and_no_faster(make):
    seconds(make(1))
    once, twice = seconds(make(1)), seconds(make(2))
    assert twice <= 4 * once + 0.02
