"""A log archive of four services for benchmarks: made-up lines of realistic shapes, the same in every run.

    gateway    messages as they are, the level in its own field
    payments   a header in front of each message: time, level, thread, trace, logger; one line in 200 with a stack trace
    orders     a logger's JSON object as the message
    notify     logfmt, and Chinese texts

Each service writes some fifty templates, a few of them far more often than the others, more by day than by night. Values are
numbers, amounts, durations, hexadecimal ids, UUIDs, addresses, order and card numbers, URLs, hosts, names and words.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

START = datetime(2026, 1, 5, tzinfo=UTC)
DAYS = 28
GROUP = 1_000_000
_POOL = 100_000
SERVICES = ("gateway", "payments", "orders", "notify")

_GATEWAY = [
    "{method} {route}/{order} {status} {ms}ms client={ip} bytes={n}",
    "upstream {service} answered {status} in {ms} ms for request {uuid}",
    "rate limit: {n} of {n} requests used by client {hex16}",
    "route {route} matched, forwarding to {service}-{n2}.internal:8080",
    "TLS handshake with {ip}:{port} done in {ms} ms, cipher {cipher}",
    "circuit for {service} is {circuit} after {n2} failures",
    "request {uuid} of session {hex32} rejected: {reason}",
    "health of {service}: {n2} of {n2} instances up",
    "slow response from {service}: {ms} ms over the limit of 800 ms, request {uuid}",
    "connection pool {service}: active={n2} idle={n2} waiting={n2}",
]
_PAYMENTS = [
    "order {order} paid by {channel} in {ms} ms amount={amount} CNY",
    "attempt {attempt} for order {order} sent to {channel}, trade no {trade}",
    "callback of {channel} for {trade} verified, sign {hex32}",
    "callback of {channel} for {trade} rejected: {reason}",
    "query {channel} {trade}: code={code} state={state}",
    "refund {n} of order {order} amount {amount} accepted by {channel}",
    "risk score {score} for customer {n} card {card}, decision {decision}",
    "retry {n2} of attempt {attempt} in {ms} ms after {reason}",
    "settled batch {n} of {channel}: {n} payments, total {amount} CNY",
    "posting to https://api.{channel}.example.com/v3/pay/{trade}?nonce={hex16} took {ms} ms",
]
_ORDERS = [
    "order {order} created for customer {n} with {n2} items",
    "order {order} moved from {state} to {state}",
    "stock of sku {n} reserved: {n2} left in warehouse {word}",
    "published OrderPaid {uuid} to topic orders.{word} partition {n2} offset {n}",
    "consumer lag on partition {n2} is {n}",
    "lock order:{order} taken after {ms} ms",
    "price of order {order} is {amount}, coupon {hex16} applied",
    "scheduled close of {n} unpaid orders, {n} done in {ms} ms",
    "cache miss for customer:{n}, loaded in {ms} ms",
    "duplicate message {uuid} ignored, already {state}",
]
_NOTIFY = [
    "sms to {phone} sent by {vendor} in {ms} ms, id {uuid}",
    "mail {uuid} queued for template {word} language {lang}",
    "push to device {hex32} failed: {reason}",
    "订单{order}支付成功，通知用户{name}，耗时{ms}毫秒",
    "用户{name}的退款{amount}元已到账，渠道{channel}",
    "短信发送失败，手机号{phone}，原因{zh_reason}，第{n2}次重试",
    "queue {word} has {n} messages, oldest {n} s",
    "webhook {uuid} answered {status} after {ms} ms",
    "会员{n}积分增加{n}，余额{n}",
    "template {word} rendered in {ms} ms, {n} bytes",
]
_WORDS = {
    "method": ["GET", "POST", "PUT", "DELETE"],
    "route": ["/api/v2/orders", "/api/v2/pay", "/api/v2/refunds", "/api/v1/customers", "/internal/health"],
    "service": ["payments", "orders", "notify", "risk", "inventory"],
    "cipher": ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"],
    "circuit": ["open", "closed", "half-open"],
    "reason": ["timeout", "signature mismatch", "unknown channel", "balance too low", "connection reset"],
    "zh_reason": ["网关超时", "号码无效", "余额不足"],
    "channel": ["alipay", "wechat", "unionpay", "paypal", "stripe"],
    "code": ["SUCCESS", "USERPAYING", "NOTENOUGH", "SYSTEMERROR", "TRADE_CLOSED"],
    "state": ["CREATED", "PAYING", "PAID", "CLOSED", "REFUNDED"],
    "decision": ["allow", "review", "deny"],
    "vendor": ["aliyun", "twilio", "tencent"],
    "lang": ["en", "zh"],
    "word": ["north", "south", "welcome", "receipt", "refunds", "daily", "retry"],
    "name": ["张三", "李四", "王五", "赵六", "陈明", "刘洋"],
}
# Words that make further templates of the base ones, each with a part of its own.
_STEPS = ["", "prepare: ", "commit: ", "compensate: ", "replay: "]
_LOGGERS = ["c.s.pay.Gateway", "c.s.pay.Router", "c.s.risk.Scorer", "c.s.pay.CallbackController"]
_TRACE = (
    "\njava.net.SocketTimeoutException: Read timed out\n\tat java.net.SocketInputStream.read(SocketInputStream.java:{n})\n"
    "\tat c.s.pay.Client.call(Client.java:{n2})\nCaused by: java.io.IOException: broken pipe"
)


class Archive:
    """Makes lines; equal seeds give equal archives."""

    def __init__(self, seed: int = 8) -> None:
        self._random = np.random.default_rng(seed)
        self._pools = {name: pa.array(values) for name, values in self._values()}
        self._pools |= {name: pa.array(words) for name, words in _WORDS.items()}

    def _values(self) -> Iterator[tuple[str, Any]]:
        def numbers(high: int) -> list[int]:
            return self._random.integers(0, high, _POOL).tolist()

        def hexadecimal(size: int) -> list[str]:
            return [self._random.bytes(size // 2).hex() for _ in range(_POOL)]

        yield "n", [str(n) for n in numbers(1_000_000)]
        yield "n2", [str(n) for n in numbers(64)]
        yield "ms", [str(n) for n in numbers(3000)]
        yield "port", [str(1024 + n) for n in numbers(60_000)]
        yield "status", [("200", "200", "200", "201", "404", "502")[n] for n in numbers(6)]
        yield "amount", [f"{n // 100}.{n % 100:02d}" for n in numbers(900_000)]
        yield "score", [f"0.{n:03d}" for n in numbers(1000)]
        yield "ip", [f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in numbers(1 << 24)]
        yield "order", [f"P202601{n:09d}" for n in numbers(10**9)]
        yield "attempt", [f"at_{n:08d}_1" for n in numbers(10**8)]
        yield "trade", [f"2026010522{n:012d}" for n in numbers(10**12)]
        yield "card", [f"622848******{n:04d}" for n in numbers(10_000)]
        yield "phone", [f"138{n:08d}" for n in numbers(10**8)]
        yield "hex16", hexadecimal(16)
        yield "hex32", hexadecimal(32)
        yield "uuid", [f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}" for h in hexadecimal(32)]

    def _filled(self, template: str, rows: int) -> Any:
        """`rows` lines of one template."""
        parts: list[Any] = []
        for piece in re.split(r"(\{\w+\})", template):
            if piece.startswith("{"):
                pool = self._pools[piece[1:-1]]
                parts.append(pool.take(pa.array(self._random.integers(0, len(pool), rows))))
            elif piece:
                parts.append(pa.scalar(piece))
        if not any(isinstance(part, pa.Array) for part in parts):
            return pa.array([template] * rows)
        return pc.binary_join_element_wise(*parts, "")

    def rows(self, times: Any) -> pa.Table:
        """A table of documents, one a time (microseconds since 1970-01-01, sorted)."""
        size = len(times)
        service = self._random.choice(4, size, p=[0.35, 0.3, 0.2, 0.15])
        levels = np.full(size, "INFO", object)
        stamps = pa.array(times, pa.int64()).cast(pa.timestamp("us"))
        texts: list[Any] = []
        places: list[Any] = []
        for number, templates in enumerate((_GATEWAY, _PAYMENTS, _ORDERS, _NOTIFY)):
            mine = np.flatnonzero(service == number)
            all_templates = [step + one for one in templates for step in _STEPS]
            weights = 1.0 / np.arange(1, len(all_templates) + 1)
            which = self._random.choice(len(all_templates), len(mine), p=weights / weights.sum())
            for code, template in enumerate(all_templates):
                at = mine[which == code]
                if len(at):
                    lines = self._filled(template, len(at))
                    texts.append(self._dressed(number, lines, stamps.take(pa.array(at)), levels, at))
                    places.append(at)
        order = np.empty(size, np.int64)
        order[np.concatenate(places)] = np.arange(size)
        return pa.table(
            {
                "@timestamp": pa.array(times, pa.int64()).cast(pa.timestamp("us", tz="UTC")),
                "service.name": pa.array(SERVICES).take(pa.array(service)),
                "log.level": pa.array(levels, pa.string()),
                "message": pa.concat_arrays(texts).take(pa.array(order)),
            }
        )

    def _dressed(self, service: int, lines: Any, stamps: Any, levels: Any, at: Any) -> Any:
        """`lines` in the service's own layout."""
        size = len(lines)
        match SERVICES[service]:
            case "payments":
                front = pc.strftime(stamps.cast(pa.timestamp("ms"), safe=False), "%Y-%m-%d %H:%M:%S")
                head = self._filled(" INFO [http-nio-8080-exec-{n2}] [{hex32}] ", size)
                logger = pa.array(_LOGGERS).take(pa.array(self._random.integers(0, len(_LOGGERS), size)))
                lines = pc.binary_join_element_wise(front, head, logger, " - ", lines, "")
                broken = self._random.random(size) < 0.005
                levels[at[broken]] = "ERROR"
                traces = self._filled(_TRACE, int(broken.sum()))
                failed = pc.binary_join_element_wise(lines.filter(pa.array(broken)), traces, "")
                return pc.replace_with_mask(lines, pa.array(broken), failed)
            case "orders":
                trace = self._filled("{hex32}", size)
                time = pc.strftime(stamps.cast(pa.timestamp("ms"), safe=False), "%Y-%m-%dT%H:%M:%SZ")
                return pc.binary_join_element_wise(
                    '{"ts":"', time, '","level":"info","trace_id":"', trace, '","msg":"', lines, '"}', ""
                )
            case "notify":
                time = pc.strftime(stamps.cast(pa.timestamp("ms"), safe=False), "%Y-%m-%dT%H:%M:%SZ")
                trace = self._filled("{hex16}", size)
                return pc.binary_join_element_wise(
                    "time=", time, " level=info trace_id=", trace, ' msg="', lines, '"', ""
                )
        return lines


def times(lines: int, seed: int = 9) -> Any:
    """Sorted times of `lines` lines over `DAYS` days, three times as many in the afternoon as at night."""
    random = np.random.default_rng(seed)
    hours = np.arange(24 * DAYS)
    weight = 2.0 + np.sin((hours % 24 - 9) / 24 * 2 * np.pi)
    edges = np.concatenate([[0.0], np.cumsum(weight)])
    at = np.sort(random.random(lines)) * edges[-1]
    moments = np.interp(at, edges, np.arange(len(edges)) * 3_600_000_000.0)
    return (START.timestamp() * 1e6 + moments).astype(np.int64)


def write(folder: pathlib.Path, lines: int, files: int = 4) -> list[pathlib.Path]:
    """The archive as Parquet files of row groups of a million rows, written once: what is there already stays."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = Archive()
    moments = times(lines)
    paths = [folder / f"part-{number}.parquet" for number in range(files)]
    if all(path.exists() for path in paths):
        return paths
    per_file = -(-lines // files)
    for number, path in enumerate(paths):
        mine = moments[number * per_file : (number + 1) * per_file]
        new = path.with_suffix(".new")
        writer = None
        for start in range(0, len(mine), GROUP):
            table = archive.rows(mine[start : start + GROUP])
            writer = writer or pq.ParquetWriter(new, table.schema, compression="zstd")
            writer.write_table(table, row_group_size=GROUP)
        if writer is not None:
            writer.close()
            new.rename(path)
    return [path for path in paths if path.exists()]
