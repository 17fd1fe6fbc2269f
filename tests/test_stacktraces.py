"""A stack trace is its exception and causes, in each language, and nothing else of it reaches mining."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers.stacktraces import chain, collapse, holds_trace, root_frames

JAVA = (
    "push failed\njava.lang.IllegalStateException: outer\n\tat a.b.C.d(C.java:12) ~[x.jar:1]\n"
    "\tSuppressed: java.io.IOException: closing\n\t\tat q.R.s(R.java:1)\n\t... 3 more\n"
    "Caused by: java.net.SocketTimeoutException: Read timed out\n\tat java.base/java.net.X.y(X.java)\n\t... 12 more"
)
PYTHON = (
    'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    x()\n    ^^^\n'
    "requests.exceptions.ConnectionError: refused\n\nDuring handling of the above exception, another exception occurred:\n\n"
    'Traceback (most recent call last):\n  File "b.py", line 2, in g\n    raise PayError\napp.PayError: payment failed'
)
NODE = (
    "Error: connect ECONNREFUSED 10.0.0.1:443\n    at TCPConnectWrap.afterConnect [as oncomplete] (node:net:1607:16)\n"
    "    at async charge (/app/x.js:1:2) {\n  [cause]: TypeError: inner\n      at foo (a.js:1:2)\n}"
)
GO = "panic: runtime error: index out of range\n\ngoroutine 1 [running]:\nmain.charge(0xc0)\n\t/app/main.go:12 +0x1d\nexit status 2"
PHP = (
    "PHP Fatal error:  Uncaught PDOException: SQLSTATE[HY000] refused in /var/www/a.php:12\nStack trace:\n"
    "#0 /var/www/a.php(12): PDO->__construct()\n#1 {main}\n\nNext RuntimeException: db down in /var/www/b.php:3\n"
    "Stack trace:\n#0 {main}\n  thrown in /var/www/a.php on line 12"
)
MONOLOG = "[2026-03-04T10:00:00+00:00] gateway.ERROR: cURL error 28: timed out\n#0 src/Pay.php(96)\n#1 src/Shop.php(12): Pay->charge()\n#2 {main}"
DOTNET = (
    "System.InvalidOperationException: pay failed\n ---> System.Net.Http.HttpRequestException: refused (api:443)\n"
    "   at X.Y() in /f.cs:line 12\n   --- End of inner exception stack trace ---\n   at Z.W(String a)"
)
RUBY = "app/x.rb:12:in `charge': no funds (Payment::DeclinedError)\n\tfrom app/y.rb:3:in `call'"
RUST = "Error: charge failed\n\nCaused by:\n    0: request failed\n    1: tcp connect error"
CASES = {
    "java": (
        JAVA,
        "push failed java.lang.IllegalStateException: outer <- java.net.SocketTimeoutException: Read timed out",
    ),
    "python": (PYTHON, "app.PayError: payment failed <- requests.exceptions.ConnectionError: refused"),
    "node": (NODE, "Error: connect ECONNREFUSED 10.0.0.1:443 <- TypeError: inner"),
    "go": (GO, "panic: runtime error: index out of range"),
    "php": (PHP, "RuntimeException: db down <- PDOException: SQLSTATE[HY000] refused"),
    "monolog": (MONOLOG, "[2026-03-04T10:00:00+00:00] gateway.ERROR: cURL error 28: timed out"),
    "dotnet": (
        DOTNET,
        "System.InvalidOperationException: pay failed <- System.Net.Http.HttpRequestException: refused (api:443)",
    ),
    "ruby": (RUBY, "Payment::DeclinedError: no funds"),
    "rust": (RUST, "Error: charge failed <- request failed <- tcp connect error"),
    "escaped": (
        JAVA.replace("\n", "\\n").replace("\t", "\\t"),
        "push failed java.lang.IllegalStateException: outer <- java.net.SocketTimeoutException: Read timed out",
    ),
}


@pytest.mark.parametrize(("trace", "expected"), CASES.values(), ids=CASES)
def test_a_trace_collapses_to_its_exception_and_causes(trace: str, expected: str) -> None:
    assert collapse(trace) == expected


@pytest.mark.parametrize("trace", [trace for trace, _ in CASES.values()], ids=CASES)
def test_the_column_test_finds_every_trace(trace: str) -> None:
    assert holds_trace(pa.array([trace, "paid", None])).to_pylist() == [True, False, None]


@pytest.mark.parametrize(
    ("trace", "outermost", "root"),
    [
        (JAVA, "java.lang.IllegalStateException", "java.net.SocketTimeoutException"),
        (PYTHON, "app.PayError", "requests.exceptions.ConnectionError"),
        (PHP, "RuntimeException", "PDOException"),
    ],
    ids=["java", "python", "php"],
)
def test_the_chain_goes_from_the_outermost_to_the_root(trace: str, outermost: str, root: str) -> None:
    told = chain(trace)
    assert (told[0][0], told[-1][0]) == (outermost, root)


@pytest.mark.parametrize(
    ("trace", "thrown"),
    [
        (JAVA, "java.net.X.y (X.java)"),
        (JAVA.replace("\n", "\\n").replace("\t", "\\t"), "java.net.X.y (X.java)"),
        (PYTHON, "f (a.py:1)"),
        (NODE, "foo (a.js:1)"),
        (GO, "main.charge (/app/main.go:12)"),
        (PHP, "/var/www/a.php:12"),
        (MONOLOG, "src/Pay.php:96"),
        (DOTNET, "X.Y (/f.cs:12)"),
        (RUBY, "charge (app/x.rb:12)"),
        ("x.A: b\n\tat a.B.c(B.java:1)\n\tat a.B.d(B.java:2)", "a.B.c (B.java:1)"),
    ],
    ids=["java", "escaped", "python", "node", "go", "php", "monolog", "dotnet", "ruby", "no cause"],
)
def test_the_first_root_frame_is_where_the_root_cause_was_thrown(trace: str, thrown: str) -> None:
    assert str(root_frames(trace)[0]) == thrown


def test_a_channel_and_level_of_the_log_are_no_exception() -> None:
    assert chain(MONOLOG) == [("", "cURL error 28: timed out")]
    named = MONOLOG.replace("cURL error 28", "PayException")
    assert chain(named) == [("PayException", "timed out")]
    assert chain(named.partition("] ")[2]) == [("PayException", "timed out")]


def test_a_text_without_a_trace_has_no_frames() -> None:
    assert root_frames("paid at 12") == ()


def test_other_line_numbers_give_the_same_text() -> None:
    assert collapse(JAVA) == collapse(JAVA.replace("12", "77").replace("C.java", "D.java"))


@pytest.mark.parametrize("text", ["", "paid", "two\nlines at noon", "【请求】：a\n【异常信息】：Read timed out"])
def test_a_text_without_a_trace_is_left_alone(text: str) -> None:
    assert collapse(text) == text
    assert chain(text) == []


pieces = st.sampled_from(
    [
        *"\n\t :",
        "at a.b(C.java:1)",
        "Caused by: x.Y: z",
        "--->",
        "\\n\\tat ",
        "Traceback (most recent call last):",
        "panic: ",
        "#012#011at ",
        "... 3 more",
        "Error",
        "goroutine 1 [",
        "\n\tat x",
        "Next ",
        "words",
        "[cause]:",
        '\n  File "a", line 1',
        "Suppressed: ",
        ":1:in `x'",
        "\n#0 /a(1): b",
        "panicked at ",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(pieces | st.text(max_size=5), max_size=14).map("".join))
def test_collapsing_twice_is_collapsing_once(text: str) -> None:
    once = collapse(text)
    assert collapse(once) == once
    chain(text)
