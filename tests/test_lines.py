"""What a line says in its own text is found whatever its header looks like, and the message itself stays whole."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import parsers.filling
from parsers.levels import level_of
from parsers.lines.enrichment import enrich
from parsers.lines.header_forms import WHOLE
from parsers.lines.headers import _Headers
from parsers.lines.logfmt import _QUOTED, _without_pairs
from parsers.tables import LOGS, conform

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


def enriched(*messages: str | None) -> list[dict[str, Any]]:
    table = enrich(conform(pa.table({"message": pa.array(messages, pa.string())}), LOGS))
    assert table.schema == LOGS
    return table.to_pylist()


# Each line: level, logger, body.
HEADERS: dict[str, tuple[str, str | None, str | None, str]] = {
    "logback": (
        f"2026-11-23 10:02:31.118 ERROR [exec-7] [c.g.WxPay] [tid:{TRACE}] - 支付失败 - 超时", "ERROR", "c.g.WxPay", "支付失败 - 超时"
    ),
    "spring": ("2026-11-23 10:02:31.118  INFO 12345 --- [  main] c.m.App  : Started", "INFO", "c.m.App", "Started"),
    "sleuth": (
        f"2026-11-23 10:02:31.118  INFO [pay,{TRACE},{SPAN},true] 1 --- [main] c.m.App : Started", "INFO", "c.m.App", "Started"
    ),
    "spring 3": (
        f"2026-11-23T10:02:31.118+08:00  WARN 1 --- [pay] [exec-1] [{TRACE}-{SPAN}] c.m.App : slow", "WARN", "c.m.App", "slow"
    ),
    "train ticket": (f"20:09:03.450 INFO  c.s.X#65 TraceID: {TRACE} SpanID: {SPAN} [a][b] ok", "INFO", "c.s.X", "[a][b] ok"),
    "log4j": ("2026-11-23 10:02:31,118 [main] ERROR com.f.Bar - failed: x", "ERROR", "com.f.Bar", "failed: x"),
    "level first": ("WARN  2026-11-23 10:02:31,118 [main] com.f.Bar - late", "WARN", "com.f.Bar", "late"),
    "no time": ("[main] ERROR com.f.Bar - failed", "ERROR", "com.f.Bar", "failed"),
    "python": ("2026-11-23 10:02:31,118 - app.pay - ERROR - failed: 12", "ERROR", "app.pay", "failed: 12"),
    "python basic": ("ERROR:root:failed", "ERROR", None, "failed"),
    "celery": ("[2026-11-23 10:02:31,118: ERROR/ForkPoolWorker-1] Task failed", "ERROR", None, "Task failed"),
    "loguru": ("2026-11-23 10:02:31.118 | INFO     | pay.mod:func:12 - settled", "INFO", "pay.mod", "settled"),
    "gunicorn": ("[2026-11-23 10:02:31 +0000] [123] [INFO] Booting worker", "INFO", None, "Booting worker"),
    "uvicorn": ('INFO:     127.0.0.1:5 - "GET /pay HTTP/1.1" 200 OK', "INFO", None, '127.0.0.1:5 - "GET /pay HTTP/1.1" 200 OK'),
    "structlog": ("2026-11-23 10:02:31 [info     ] settled   key=val", "INFO", None, "settled   key=val"),
    "klog": ("E1123 10:02:31.118123       1 reflector.go:123] failed", "ERROR", "reflector.go", "failed"),
    "syslog": ("<27>Nov 23 10:02:31 web-1 payd[12]: declined 05", "ERROR", None, "declined 05"),
    "syslog 5424": ("<165>1 2026-11-23T10:02:31.118Z web payd 12 ID47 - declined", "INFO", None, "declined"),
    "monolog": ('[2026-10-06T13:10:03.358+00:00] app.ERROR: failed {"code":"05"} []', "ERROR", "app", 'failed {"code":"05"}'),
    "nginx": ("2026/11/02 19:12:21 [warn] 21#0: *748 flagged", "WARN", None, "flagged"),
    "apache": ("[Mon Nov 23 10:02:31.118 2026] [core:error] [pid 1:tid 4] [client 1.2.3.4:5] AH00124: x", "ERROR", None,
               "AH00124: x"),
    "php": ("[23-Nov-2026 10:02:31 UTC] PHP Warning:  Undefined $x", "WARN", None, "PHP Warning:  Undefined $x"),
    "zap": ("2026-11-23T10:02:31.118Z\tERROR\tpay.core\tsvc/main.go:12\tfailed\t{}", "ERROR", "pay.core", "failed\t{}"),
    "zerolog": ("10:02AM ERR failed code=05", "ERROR", None, "failed code=05"),
    "logfmt": ('time="2026-11-23T10:02:31Z" level=error logger=gw msg="a \\"b\\"" code=declined', "ERROR", "gw", 'a "b" code=declined'),
    "serilog": ("[10:02:31 ERR] failed", "ERROR", None, "failed"),
    "nlog": ("2026-11-23 10:02:31.1180|ERROR|My.Logger|failed", "ERROR", "My.Logger", "failed"),
    "dotnet": ("fail: My.Ns.PayController[0]\n      failed", "ERROR", "My.Ns.PayController", "failed"),
    "tomcat": ("23-Nov-2026 10:02:31.118 SEVERE [main] org.x.Y.z failed", "ERROR", "org.x.Y.z", "failed"),
    "ruby": ("E, [2026-11-23T10:02:31.118 #12] ERROR -- : failed", "ERROR", None, "failed"),
    "rust": ("2026-11-23T10:02:31.118Z ERROR app::pay: failed", "ERROR", "app::pay", "failed"),
    "env_logger": ("[2026-11-23T10:02:31Z ERROR app::pay] failed", "ERROR", "app::pay", "failed"),
    "winston": ("2026-11-23T10:02:31.118Z [error]: failed", "ERROR", None, "failed"),
    "container": ("2026-11-23T10:02:31.118Z stdout F 2026-11-23 10:02:31 ERROR [main] c.f.Bar - in", "ERROR", "c.f.Bar", "in"),
    "envoy": ("[2026-11-23 10:02:31.118][12][warning][config] [source/x.cc:12] reset", "WARN", None, "reset"),
    "spark": ("26/11/23 10:02:31 INFO SparkContext: Running", "INFO", "SparkContext", "Running"),
    "postgres": ("2026-11-23 10:02:31.118 UTC [123] ERROR:  duplicate key", "ERROR", None, "duplicate key"),
    "sidekiq": ("2026-11-23T10:02:31.118Z pid=1 tid=abc class=X INFO: done", "INFO", None, "done"),
    "chinese": ("2026-11-23 10:02:31 【警告】库存不足", "WARN", None, "库存不足"),
    "bare": ("ordinary words", None, None, "ordinary words"),
}  # fmt: skip


@pytest.mark.parametrize(("line", "level", "logger", "body"), HEADERS.values(), ids=HEADERS)
def test_a_header_is_taken_apart(line: str, level: str | None, logger: str | None, body: str) -> None:
    row = enriched(line)[0]
    assert (row["log.level"], row["log.logger"], row["body"]) == (level, logger, body)
    assert row["message"] == line


def test_all_headers_together_give_what_each_gives_alone() -> None:
    lines = [line for line, *_ in HEADERS.values()]
    assert enriched(*lines) == [enriched(line)[0] for line in lines]


@pytest.mark.parametrize(
    "body",
    [
        "java.net.SocketTimeoutException: Read timed out",
        "api.mch.weixin.qq.com: connection refused",
        "Payment failed - insufficient funds",
        "Timeout: no answer",
        "M20268125333999: failed",
        "[getSoldTickets][No content] x",
        "422 COMPLIANCE_VIOLATION debug_id=5",
    ],
)
def test_what_only_looks_like_a_logger_stays_in_the_body(body: str) -> None:
    assert enriched(f"2026-11-23 10:02:31 ERROR {body}")[0]["body"] == body


def test_a_databases_error_number_is_not_taken_for_a_header() -> None:
    row = enriched("ERROR 1062 (23000): Duplicate entry")[0]
    assert (row["log.level"], row["body"]) == ("ERROR", "ERROR 1062 (23000): Duplicate entry")


@pytest.mark.parametrize(
    ("text", "trace", "span"),
    [
        (f"x trace_id={TRACE} span_id={SPAN}", TRACE, SPAN),
        (f"x TraceID: {TRACE} SpanID: {SPAN}", TRACE, SPAN),
        (f'{{"a":1}} "traceId":"{TRACE}"', TRACE, None),
        (f"traceparent: 00-{TRACE}-{SPAN}-01", TRACE, SPAN),
        (f"b3={TRACE}-{SPAN}-1", TRACE, SPAN),
        (f"[tid:{TRACE}] x", TRACE, None),
        ("[TID:a1b2c3d4e5.38.1234567] x", "a1b2c3d4e5.38.1234567", None),
        ("X-Amzn-Trace-Id: Root=1-5759e988-bd862e3fe1be46a994272793", "1-5759e988-bd862e3fe1be46a994272793", None),
        ("[TID: N/A] x", None, None),
        (f"trace_id={'0' * 32}", None, None),
        ("trace_id:21470a1f of the channel", None, None),
        ("tid=140233 thread", None, None),
    ],
)
def test_trace_and_span_ids_are_found(text: str, trace: str | None, span: str | None) -> None:
    row = enriched(text)[0]
    assert (row["trace.id"], row["span.id"]) == (trace, span)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ('1.2.3.4 - - [28/Sep/2026:02:01:54 +0000] "POST /x HTTP/1.1" 403 12', 403),
        ("response_code=402", 402),
        ("HTTP 429 x", 429),
        ("GET /client/pay 500", 500),
        ('{"status": 404}', 404),
        ("order 500 paid", None),
        ("cost 200ms status=ok", None),
    ],
)
def test_http_statuses_are_found(text: str, status: int | None) -> None:
    assert enriched(text)[0]["http.response.status_code"] == status


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("create order M20265512738007 uid=u1", "M20265512738007"),
        ("订单 20266287696886 置为已支付", "20266287696886"),
        ("orderNo=P2026112300001", "P2026112300001"),
        ('"order_id": "20261117084545"', "20261117084545"),
        ("pay order P26117101826970 accepted", None),
        ("refund_order_id=R26117101826970", None),
        ("in order to pay", None),
    ],
)
def test_order_numbers_are_found_where_the_text_calls_them_so(text: str, order: str | None) -> None:
    assert enriched(text)[0]["labels.order_id"] == order


def test_a_loggers_object_gives_its_values_and_its_words() -> None:
    message = json.dumps(
        {
            "level": 50,
            "time": 1795428151118,
            "pid": 1,
            "hostname": "h",
            "name": "pay",
            "msg": "charge failed",
            "code": "05",
            "err": {"type": "PayError", "message": "boom", "stack": "PayError: boom\n    at x (a.js:1:2)"},
            "trace_id": TRACE,
        }
    )
    row = enriched(message)[0]
    assert (row["log.level"], row["log.logger"], row["trace.id"]) == ("ERROR", "pay", TRACE)
    assert (row["error.type"], row["error.message"]) == ("PayError", "boom")
    assert row["body"] == "charge failed PayError: boom code=05"


@pytest.mark.parametrize(
    "message", ['{"code":"PARAM_ERROR","message":"参数错误"}', '{"name":"X_Y","details":[{"issue":"A_B"}]}', "{}"]
)
def test_an_answer_of_a_gateway_is_the_message_itself(message: str) -> None:
    assert enriched(message)[0]["body"] == message


def test_a_stack_trace_is_kept_whole_and_mined_short() -> None:
    message = "2026-11-23 10:02:31 ERROR [main] [c.x.Y] - failed\njava.io.IOException: x\n\tat a.B.c(B.java:1)"
    row = enriched(message)[0]
    assert row["body"] == "failed java.io.IOException: x"
    assert (row["error.type"], row["error.message"], row["error.stack_trace"]) == ("java.io.IOException", "x", message)


def test_what_the_record_says_is_never_changed() -> None:
    given = {
        "message": ["2026-11-23 10:02:31 ERROR [main] [c.x.Y] - trace_id=" + TRACE],
        "log.level": ["WARN"],
        "trace.id": ["mine"],
    }
    row = enrich(conform(pa.table(given), LOGS)).to_pylist()[0]
    assert (row["log.level"], row["trace.id"], row["log.logger"]) == ("WARN", "mine", "c.x.Y")


def test_many_batches_are_one_table_in_order() -> None:
    messages = [f"2026-11-23 10:02:31 INFO m{number}" for number in range(20_000)]
    assert [row["body"] for row in enriched(*messages)] == [f"m{number}" for number in range(20_000)]


@pytest.mark.parametrize(
    ("text", "path", "level"),
    [
        ("30", "level", "INFO"),
        ("3", "priority", "ERROR"),
        ("17", "severity_number", "ERROR"),
        ("50", "levelno", "FATAL"),
        ("Information", "@l", "INFO"),
        ("SEVERITY_NUMBER_WARN2", "severityNumber", "WARN"),
        ("[错误]", "level", "ERROR"),
        ("silly words", "level", None),
        ("", "level", None),
        ("99", "level", None),
        ("nan", "level", None),
        ("1e999", "level", None),
    ],
)
def test_levels_of_words_and_numbers(text: str, path: str, level: str | None) -> None:
    assert level_of(text, path) == level


lines = st.lists(
    st.sampled_from(
        [line for line, *_ in HEADERS.values()] + ["\n\tat a.b(C.java:1)", "Error: x", '{"level":"info","msg":', '"a"}']
    )
    | st.text(max_size=12),
    max_size=4,
).map("".join)


@settings(max_examples=50, deadline=None)
@given(st.lists(lines | st.none(), max_size=6))
def test_enriching_twice_is_enriching_once_and_nothing_raises(messages: list[str | None]) -> None:
    table = enrich(conform(pa.table({"message": pa.array(messages, pa.string())}), LOGS))
    table.validate(full=True)
    assert table["message"].to_pylist() == messages
    assert enrich(table).equals(table)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(lines, st.integers(0, 40)), min_size=1, max_size=12))
def test_a_header_cut_off_has_the_groups_that_it_has_in_its_line(pieces: list[tuple[str, int]]) -> None:
    # The law on which `WHOLE` rests; each piece comes three times, so that the short way of repeated headers is gone too.
    texts = pa.array([text[cut:] for text, cut in pieces] * 3, pa.string())
    every = np.arange(len(texts))
    for pattern in sorted(WHOLE):
        headers = _Headers(texts, every < 0, parsers.filling.Fill(len(texts)), None, None)
        chosen, groups = headers.take(pattern, every)
        told: list[dict[str, str] | None] = [None] * len(texts)
        for number, row in enumerate(chosen):
            told[row] = {name: group[number].as_py() for name, group in groups.items()}
        assert told == pc.extract_regex(headers.head, pattern).to_pylist()
        assert headers.at.tolist() == [len(one["all"].encode()) if one else 0 for one in told]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(
            st.sampled_from(
                ["time=5", 'msg="a b"', "msg=x", "level=info", "x='1 2'", "code=", 'time="1"z', "w", "", "\t"]
            ),
            max_size=7,
        ).map(" ".join),
        min_size=1,
        max_size=4,
    )
)
def test_pairs_are_taken_out_the_same_with_and_without_groups(texts: list[str]) -> None:
    def tidy(array: Any) -> list[str]:
        return [" ".join(text.replace("\t", " ").split()) for text in array.to_pylist()]

    array = pa.array(texts, pa.string())
    pattern = rf"(^|\s)(?:time|msg)=(?:{_QUOTED}|[^\s\"']\S*|)"
    every = pc.replace_substring_regex(array, pattern, r"\1")
    first = pc.replace_substring_regex(array, pattern, r"\1", max_replacements=1)
    assert tidy(_without_pairs(array, "time|msg")) == tidy(every)
    assert tidy(_without_pairs(array, "time|msg", once=True)) == tidy(first)


@pytest.mark.parametrize("line", [f"tid={TRACE} late", f"b3: {TRACE}-{SPAN} late", f"x [app, {TRACE}, {SPAN}] late"])
def test_a_trace_id_is_found_where_nothing_else_says_trace(line):
    assert enriched(line)[0]["trace.id"] == TRACE
