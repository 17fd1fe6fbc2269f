"""Pieces of log lines from which tests build lines that are hard to mask and to mine."""

from __future__ import annotations

import random

from hypothesis import strategies as st

PIECES = [
    "payment", "order", "paid", "failed", "for", "user-7", "192.168.1.1:80", "3a5f", "$12.00", "¥5元",
    "https://h.example/p?a=1&b=2", "<*>", "订单已支付", "deadbeefdeadbeefff", "2026-03-04T10:00:00Z", "+-", "--", "T", "Z",
    "[x]", "50%", "key=1,2", "\t", "\n", "超时", "eth0", "5", "7", "KB", "ms", "/a/b/c", "C:\\a\\b", "a.com", "b.com:80",
    "x.y.z", "May", "Sat", "，", "。", "用户", "张三", '"a":"b"', '{"a":1,"b":"c"}', ",", ":", '"', "=", "(", ")", "[a, b]",
    "_-", "blk_-5", "K9", "\x00", "\u3000", "\xa0", "<ok>", "up", "down", "UP", "GET_X", "ALPHA", "BETA", "?*", "?", "<",
    "HTTP/1.1", "/x", "(28.2", "bytes", "jdbc:mysql://h/db", "支付成功", "支付失败", "é", "\x04", "\x05", "name", "=[a, b]",
]  # fmt: skip


def line(random: random.Random, longest: int = 14) -> str:
    """A line of up to `longest` pieces, with and without blanks between them."""
    return "".join(random.choice(PIECES) + random.choice(("", "", " ")) for _ in range(random.randrange(longest)))


LINE = st.one_of(
    st.none(),
    st.text(max_size=60),
    st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join),
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
)
LINES = st.lists(LINE, max_size=25)
