"""Promises of parsers.timewords."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers.timewords.mentions import read_times

# A Monday afternoon.
NOW = datetime.fromisoformat("2026-11-23T16:00:00+08:00")


def best(text: str, now: datetime = NOW) -> tuple[str, str, str]:
    mention = read_times(text, now)[0]
    local = [f"{moment.astimezone(now.tzinfo):%m-%d %H:%M}" for moment in (mention.start, mention.end)]
    return local[0], local[1], mention.precision


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("it happened at 10:02", "11-23 10:02"),
        ("2026-11-23 10:02 +08:00", "11-23 10:02"),
        ("2026/11/23 10:02:31", "11-23 10:02"),
        ("2026-11-23T02:02:31.118Z", "11-23 10:02"),
        ("02:02 UTC", "11-23 10:02"),
        ("10:02 北京时间", "11-23 10:02"),
        ("今天上午十点半", "11-23 10:30"),
        ("9月19日8点55分", "09-19 08:55"),
        ("下午3:15", "11-23 15:15"),
        ("十点一刻", "11-23 10:15"),
        ("差五分十点", "11-23 09:55"),
        ("２０２６－１１－２３ １０：０２", "11-23 10:02"),
        ("昨晚11点半", "11-22 23:30"),
        ("quarter past three yesterday", "11-22 15:15"),
        ("half past 9 this morning", "11-23 09:30"),
        ("22:10 on 11-03", "11-03 22:10"),
        ("23/11/2026 10:02", "11-23 10:02"),
        ("03.11.2026 17:05", "11-03 17:05"),
        ("Nov 23, 2026 10:02 AM", "11-23 10:02"),
        ("last Friday at 10:15", "11-20 10:15"),
        ("上周五 22:40", "11-20 22:40"),
        ("11月23日周一 10:02", "11-23 10:02"),
        ("昨天（11-22）15:30", "11-22 15:30"),
        ("at 18:30", "11-22 18:30"),
        ("前天晚上8点20分", "11-21 20:20"),
    ],
)
def test_a_clock_time_is_read_to_the_minute(text: str, at: str) -> None:
    start, _, precision = best(text)
    assert (start, precision) == (at, "minute")


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("about 20 minutes ago", "11-23 15:35", "11-23 15:45"),
        ("大概二十分钟前", "11-23 15:35", "11-23 15:45"),
        ("two hours ago", "11-23 13:36", "11-23 14:24"),
        ("两个小时前", "11-23 13:36", "11-23 14:24"),
        ("一个半小时前", "11-23 14:06", "11-23 14:54"),
        ("an hour and a half ago", "11-23 14:06", "11-23 14:54"),
        ("半小时前", "11-23 15:06", "11-23 15:54"),
        ("刚才", "11-23 15:30", "11-23 16:00"),
        ("I just paid", "11-23 15:30", "11-23 16:00"),
        ("six days ago", "11-17 00:00", "11-18 00:00"),
        ("in the last 20 minutes", "11-23 15:40", "11-23 16:00"),
        ("this morning", "11-23 05:00", "11-23 12:00"),
        ("今早", "11-23 05:00", "11-23 11:00"),
        ("last night", "11-22 18:00", "11-23 06:00"),
        ("昨晚", "11-22 17:00", "11-23 02:00"),
        ("前天", "11-21 00:00", "11-22 00:00"),
        ("周一", "11-23 00:00", "11-23 16:00"),
        ("since lunch", "11-23 12:00", "11-23 16:00"),
        ("since yesterday evening", "11-22 17:00", "11-23 16:00"),
        ("从昨天下午开始一直失败", "11-22 12:00", "11-23 16:00"),
        ("yesterday around 3pm", "11-22 14:30", "11-22 15:30"),
        ("昨天下午三点左右", "11-22 14:30", "11-22 15:30"),
        ("凌晨两点", "11-23 01:45", "11-23 02:15"),
        ("昨晚1点", "11-23 00:45", "11-23 01:15"),
        ("on Nov 3 at 5 pm", "11-03 16:45", "11-03 17:15"),
        ("10:00-10:30", "11-23 10:00", "11-23 10:30"),
        ("十点到十一点", "11-23 10:00", "11-23 11:00"),
        ("between 3 and 4 pm", "11-23 15:00", "11-23 16:00"),
        ("昨天下午三点到四点之间", "11-22 15:00", "11-22 16:00"),
        ("it was about 09:30", "11-23 09:20", "11-23 09:40"),
        ("yesterday I paid. It was about 3 pm", "11-22 14:30", "11-22 15:30"),
        ("it was 11/23", "11-23 00:00", "11-23 16:00"),
    ],
)
def test_looser_words_give_a_span(text: str, start: str, end: str) -> None:
    assert best(text)[:2] == (start, end)


@pytest.mark.parametrize(
    "text",
    [
        "I buy a 25 dollar item",
        "Order M20269910678674",
        "下单手机号 17882191208",
        "400-820-8820",
        "version 4.14.1 on Android 14",
        "iOS 17.3",
        "一点支付就 500，别的功能正常",
        "一点就失败",
        "点了两次",
        "第三点",
        "满100减10点",
        "waits 30 seconds",
        "ten minutes later you cancelled",
        "30分钟后",
        "12小时内",
        "每周五",
        "every Monday",
        "下周一",
        "tomorrow at 5pm",
        "今晚8点",
        "Good morning",
        "早上好",
        "24/7 support",
        "10.20.30.40:8080",
        "ratio 16:9",
        "at 5 dollars",
        "It just says no",
        "10-20 items",
        "error 500",
        "4242 4242 4242 4242",
        "trace a4eeb24e3f4f8f181a8d616217703229",
        "",
    ],
)
def test_numbers_and_words_that_are_no_past_time_give_nothing(text: str) -> None:
    assert read_times(text, NOW) == []


def test_the_surest_mention_comes_first_with_its_words_and_reason() -> None:
    first, second = read_times("昨天对账单里少一笔，大概 14:50 左右。", NOW)
    assert (first.text, second.text) == ("14:50", "昨天")
    assert first.start == datetime(2026, 11, 22, 6, 40, tzinfo=UTC)
    assert "2026-11-22 14:50" in first.reason_en
    assert "2026-11-22 14:50" in first.reason_zh
    assert first.confidence > second.confidence


def test_the_tickets_offset_is_the_clock_of_its_words() -> None:
    late = datetime.fromisoformat("2026-10-22T21:57:23-08:00")
    assert read_times("at 20:30", late)[0].start == datetime(2026, 10, 23, 4, 30, tzinfo=UTC)


def test_a_clock_a_few_minutes_ahead_means_now() -> None:
    assert best("at 16:05") == ("11-23 16:00", "11-23 16:00", "minute")


def test_a_creation_time_without_offset_is_refused() -> None:
    with pytest.raises(ValueError, match="offset"):
        read_times("now", datetime(2026, 11, 23))  # noqa: DTZ001 - the point of the test


WORDS = st.sampled_from(
    [
        "昨天",
        "今天",
        "前天",
        "下午",
        "三点",
        "半",
        "左右",
        "上周五",
        "10:00",
        "-",
        "到",
        "11-03",
        "2026-11-23",
        "ago",
        "20",
        "minutes",
        "two",
        "hours",
        "since",
        "yesterday",
        "at",
        "3",
        "pm",
        "noon",
        "last",
        "night",
        "Nov",
        "31",
        "30日",
        "2月",
        "半小时",
        "前",
        "刚",
        "才",
        "一",
        "点",
        ":",
        "/",
        "+",
        "99",
        "24:00",
        "25:61",
        "0",
        "UTC",
        "Z",
        "Friday",
        "周",
        "天",
        "between",
        "and",
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(WORDS, st.text(max_size=3)), max_size=10),
    st.sampled_from(["", " "]),
    st.datetimes(datetime(1980, 1, 1), datetime(2090, 1, 1)),  # noqa: DTZ001 - hypothesis wants naive bounds
)
def test_no_mention_of_any_text_ends_after_the_ticket_or_before_it_begins(
    words: list[str], glue: str, at: datetime
) -> None:
    created = at.replace(tzinfo=NOW.tzinfo)
    for mention in read_times(glue.join(words), created):
        assert mention.start <= mention.end <= created
        assert mention.start.utcoffset() == timedelta(0)
        assert 0 < mention.confidence <= 1
        assert mention.text
        assert mention.reason_en
        assert mention.reason_zh


@pytest.mark.parametrize(
    "text", ["1" * 200_000, "十" * 200_000, "10-" * 60_000, "a few " * 40_000], ids=["ones", "tens", "dashes", "few"]
)
def test_a_text_made_to_hurt_takes_linear_time(text: str) -> None:
    start = time.perf_counter()
    read_times(text, NOW)
    assert time.perf_counter() - start < 5
