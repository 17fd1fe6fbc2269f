"""Each detector: what it finds, what it keeps quiet about, and that it says what it has looked at."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from pipeline.evidence import DETECTORS, detect, detector
from pipeline.evidence.case import Case
from pipeline.evidence.targets import names_ours
from pipeline.faults import taxonomy
from pipeline.faults.wording import families, read_wording
from pipeline.judge import weights
from pipeline.sources.bundle.source import BundleSource
from pipeline.values import Ask, Found, Span
from snapshots.model import Coverage
from tests.flow_samples import (
    ATTEMPT,
    CUSTOMER,
    EXAMPLES,
    NAMES,
    ORDER,
    START,
    case_of,
    line,
    order_row,
    span_row,
    usual_lines,
)

TRACE = "a" * 32
OTHER = "SO20260304999999"
FAILED = [
    order_row(0, "order", ORDER, "pending"),
    order_row(0.05, "attempt", ATTEMPT, "NOTPAY"),
    order_row(0.1, "attempt", ATTEMPT, "PAYERROR"),
]


def paid(number: int, minutes: float = 0.0, **more: Any) -> list[dict[str, Any]]:
    order, attempt = f"SO2026030420{number:04d}", f"PY2026030420{number:04d}"
    more = {"order": order, "customer": f"u77{number:05d}", **more}
    return [
        order_row(minutes, "order", order, "pending", **more),
        order_row(minutes + 0.05, "attempt", attempt, "SUCCESS", channel_txn_id=f"4200{number:024d}", **more),
        order_row(
            minutes + 0.1,
            "callback",
            f"cb{number}",
            "SUCCESS",
            out_trade_no=attempt,
            verified=True,
            http_answer=200,
            **more,
        ),
        order_row(minutes + 0.15, "order", order, "processing", **more),
    ]


def unpaid(number: int, minutes: float = 0.0) -> list[dict[str, Any]]:
    more = {"order": f"SO2026030430{number:04d}", "customer": f"u88{number:05d}"}
    return [
        order_row(minutes, "order", more["order"], "pending", **more),
        order_row(minutes + 0.1, "attempt", f"PY2026030430{number:04d}", "PAYERROR", **more),
        order_row(minutes + 0.2, "order", more["order"], "failed", **more),
    ]


def says(name: str, case: Case) -> dict[str, Found]:
    return {found.kind: found for found in detector(name)(case).found}


def outcome(name: str, case: Case) -> str:
    (check,) = detector(name)(case).checks
    return check.outcome


# ---- every detector


def test_every_detector_of_the_list_is_a_file_and_every_file_is_in_the_list():
    folder = Path(__file__).parent.parent / "pipeline" / "evidence"
    files = {path.stem for path in folder.glob("*.py") if "\ndef detect(" in path.read_text(encoding="utf-8")}
    assert set(DETECTORS) == files - {"__init__"}


def test_every_detector_looks_at_an_empty_case_and_says_so():
    seen = detect(case_of())
    assert {check.outcome for check in seen.checks} <= {"not_evaluated", "found", "healthy"}
    assert {check.id.partition(".")[0] for check in seen.checks} >= {
        "channel_codes",
        "spans",
        "order_rule",
        "cohort",
        "gaps",
    }
    assert {found.kind for found in seen.found} == {"gap.no_logs"}


# ---- which lines are read


def test_a_line_of_the_order_is_read_whatever_its_level():
    case = case_of([*usual_lines(), line(1, f"strange news of {ORDER}", "x", level="INFO")], FAILED)
    assert [(s.tier, s.cited.doc_id) for s in case.signals] == [("focus", "x")]


def test_a_line_of_another_order_is_never_read():
    lines = [
        line(2, f"connection refused for {OTHER}", "by-message"),
        line(2, "connection refused", "by-label", **{"labels.order_id": OTHER}),
        *(
            line(2, f"connection {word}", f"by-trace-{word}", **{"trace.id": "b" * 32})
            for word in ("made", "reset", "lost")
        ),
    ]
    rows = [*FAILED, order_row(0, "order", OTHER, "pending", order=OTHER, customer="u9")]
    assert case_of([*usual_lines(), *lines], rows).signals == ()


def test_a_trace_of_one_odd_line_is_nobodys_request():
    lines = [*usual_lines(), line(2, "/etc/resolv.conf is empty", "x", **{"trace.id": "b" * 32})]
    assert [s.tier for s in case_of(lines, FAILED).signals] == ["near"]


def test_a_line_that_names_nobody_is_near_within_seconds_and_ambient_elsewhere():
    lines = [line(7, "connection refused", "near"), line(600, "disk on fire", "far")]
    assert {s.cited.doc_id: s.tier for s in case_of([*usual_lines(), *lines], FAILED).signals} == {
        "near": "near",
        "far": "ambient",
    }


def test_noise_that_is_there_all_the_time_is_not_read():
    noise = [line(60 * i - 3500, "cache miss, retrying", f"n{i}", level="WARN") for i in range(60)]
    assert (
        case_of([*usual_lines(), *noise, line(3, "cache miss, retrying", "here", level="WARN")], FAILED).signals == ()
    )


def test_lines_of_the_same_template_are_read_once_and_counted():
    """Five lines while another order was in trouble too: where none was, they would be noise."""
    lines = [line(300 + i, f"disk {i} on fire", f"far{i}") for i in range(5)]
    (signal,) = case_of([*usual_lines(), *lines], [*FAILED, *unpaid(1, minutes=5)]).signals
    assert (signal.tier, signal.times) == ("ambient", 5)


def test_what_is_not_read_is_counted():
    lines = [line(5 + i / 1000, f"{ORDER} said {'ab' * (i % 20)} {'x' * (i // 20)}", f"l{i}") for i in range(350)]
    case = case_of([*usual_lines(), *lines], FAILED)
    assert len(case.signals) == 300
    assert case.unread == 50


# ---- channel codes


def test_a_code_of_the_orders_own_events_is_looked_up():
    rows = [*FAILED[:2], order_row(0.1, "attempt", ATTEMPT, "PAYERROR", code="SIGN_ERROR")]
    found = says("channel_codes", case_of([], rows))["channel_code.exact"]
    assert (found.supports, found.subclass, found.code) == ("signature_cert", "sign_invalid", "SIGN_ERROR")
    assert found.cites


def test_a_code_in_a_gateways_answer_is_looked_up():
    message = f'pay {ATTEMPT} answered {{"code":"SIGN_ERROR","message":"签名错误"}}'
    case = case_of([*usual_lines(), line(1, message, "x")], FAILED)
    assert says("channel_codes", case)["channel_code.exact"].supports == "signature_cert"


def test_a_code_of_a_span_is_looked_up():
    span = span_row(TRACE, "s1", status="error", attributes='{"payment.error_code":"NOTENOUGH"}')
    assert says("channel_codes", case_of([], FAILED, [span]))["channel_code.exact"].supports == "customer_decline"


def test_success_is_no_finding():
    rows = [*FAILED[:2], order_row(0.1, "attempt", ATTEMPT, "SUCCESS", code="SUCCESS")]
    assert says("channel_codes", case_of([], rows)) == {}


def test_the_same_code_of_another_order_is_no_finding():
    code = order_row(0.1, "attempt", "PY1", "PAYERROR", order=OTHER, customer="u9", code="SIGN_ERROR")
    assert says("channel_codes", case_of([], [*FAILED, code])) == {}


def test_a_code_that_no_table_knows_is_said_to_be_unknown():
    rows = [*FAILED[:2], order_row(0.1, "attempt", ATTEMPT, "PAYERROR", code="NEVER_SEEN_BEFORE")]
    found = says("channel_codes", case_of([], rows))["channel_code.unknown"]
    assert (found.supports, found.code) == (None, "NEVER_SEEN_BEFORE")


# ---- wordings


def test_words_around_the_order_are_read():
    case = case_of([*usual_lines(), line(1, f"{ORDER}: getaddrinfo ENOTFOUND api.example", "x")], FAILED)
    found = says("wordings", case)["wording.dns"]
    assert (found.supports, found.subclass) == ("interface_fault", "dns_failed")
    assert [c.doc_id for c in found.cites] == ["x"]


def test_words_far_from_the_order_count_less():
    near = says("wordings", case_of([*usual_lines(), line(1, f"{ORDER} connection refused", "x")], FAILED))
    far = says("wordings", case_of([*usual_lines(), line(600, "connection refused", "x")], FAILED))
    assert weights().of(far["elsewhere.connect"]) < weights().of(near["wording.connect"])
    assert near["wording.connect"].about_focus
    assert not far["elsewhere.connect"].about_focus


def test_a_service_of_ours_that_is_not_reached_is_our_own_fault():
    lines = [
        line(1, f'{ORDER} POST "http://paydesk:9216/pay": Connection refused', "x", service="shop"),
        line(-30, "ready", "y", service="paydesk", level="INFO"),
        line(2, f"{ORDER} POST https://api.mch.weixin.qq.com/v3/pay: Connection refused", "z"),
    ]
    found = says("wordings", case_of([*usual_lines(), *lines], FAILED))
    assert (found["wording.dependency"].supports, found["wording.dependency"].cites[0].doc_id) == (
        "internal_fault",
        "x",
    )
    assert (found["wording.connect"].supports, found["wording.connect"].cites[0].doc_id) == ("interface_fault", "z")


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("connect to 10.2.3.4:5432 failed", True),
        ("http://127.0.0.1:8080/pay refused", True),
        ("upstream pay.svc.cluster.local:80 gave 503", True),
        ("https://api.stripe.com/v1/charges timed out", False),
        ("connection refused", False),
        ("call from shop:80 to api.stripe.com:443 failed", False),
    ],
)
def test_what_is_ours_is_told_by_its_name(text, ours):
    assert names_ours(text, frozenset({"shop"})) is ours


def test_words_of_another_time_are_not_read():
    lines = [line(-3000, "connection refused", "x"), line(0, f"{ORDER} created", "own", level="INFO")]
    case = case_of([*usual_lines(), *lines], FAILED)
    assert says("wordings", case) == {}
    assert outcome("wordings", case) == "healthy"


# One line in English and one in Chinese a family, as software and channels write them.
WORDINGS = {
    "dns": ("getaddrinfo ENOTFOUND api.mch.weixin.qq.com", "域名解析失败"),
    "connect": ("connect ECONNREFUSED 10.0.0.3:443", "连接被拒绝"),
    "timeout": ("java.net.SocketTimeoutException: Read timed out", "调用渠道请求超时"),
    "tls": ("SSLHandshakeException: PKIX path building failed", "TLS握手失败"),
    "gateway": ("nginx: 502 Bad Gateway", "上游服务无响应"),
    "response": ("JSONDecodeError: Expecting value", "应答报文解析失败"),
    "contract": ("Received unknown parameter: payment_metod", "接口已下线"),
    "unsupported": ("Operation not supported", "渠道不支持该操作"),
    "missing_param": ("Missing required param: currency", "缺少必填参数 openid"),
    "invalid_value": ("Invalid parameter value", "参数错误"),
    "invalid_format": ("Malformed request body", "时间格式错误"),
    "amount_currency": ("Amount must be at least 50 cents", "金额单位错误"),
    "ref_not_found": ("No such price: 'price_1'", "商品编号不存在"),
    "token_expired": ("the token has expired", "付款码已过期"),
    "field_conflict": ("a and b are mutually exclusive", "参数冲突"),
    "env_mismatch": ("a test mode key was used to make a live call", "沙箱密钥用于正式环境"),
    "config_missing": ("payment config for store 3 not found", "渠道配置缺失"),
    "customer_data": ("phone number is invalid", "手机号格式不正确"),
    "content": ("subject contains illegal character", "商品描述含敏感词"),
    "sign_invalid": ("SIGN_ERROR: invalid signature", "签名错误"),
    "notify_sign": ("webhook signature verification failed", "回调验签失败"),
    "cert_invalid": ("the merchant certificate has expired", "商户证书已过期"),
    "key_missing": ("private key not found", "商户私钥未配置"),
    "decrypt": ("AEADBadTagException: Tag mismatch", "解密失败"),
    "skew": ("timestamp is outside the allowed range", "时间戳偏差过大"),
    "credential": ("401 Unauthorized: invalid api key", "鉴权失败"),
    "permission": ("permission denied for this api", "没有接口权限"),
    "product": ("this payment method is not enabled", "产品未开通"),
    "account": ("payee account restricted", "商户账户被冻结"),
    "kyc": ("KYC incomplete", "商户资质未完成"),
    "merchant_balance": ("merchant balance insufficient", "商户余额不足"),
    "binding": ("appid and mch_id do not match: mch_id not bound", "商户号与appid不匹配"),
    "funds": ("insufficient_funds", "余额不足"),
    "issuer": ("Your card was declined", "发卡行拒绝"),
    "card_data": ("incorrect cvc", "卡号有误"),
    "card_expired": ("expired_card", "银行卡已过期"),
    "auth_required": ("authentication_required", "需要用户验证"),
    "auth_failed": ("3D Secure authentication failed", "短信验证码错误"),
    "cancelled": ("payer cancelled", "用户取消支付"),
    "customer_limit": ("card limit exceeded", "超出单笔限额"),
    "merchant_rule": ("blocked by your radar rule", "商户自设规则拦截"),
    "channel_risk": ("transaction refused because of risk", "风控拦截"),
    "fraud": ("suspected fraud", "疑似盗刷"),
    "compliance": ("blocked for OFAC sanctions", "反洗钱审查"),
    "qps": ("429 Too Many Requests", "请求过于频繁"),
    "quota": ("quota exceeded", "调用次数已用尽"),
    "retry_exhausted": ("too many payment attempts", "尝试次数过多"),
    "lock": ("object is currently being accessed by another request: lock_timeout", "资源被占用"),
    "outage": ("503 Service Unavailable", "系统繁忙"),
    "issuer_down": ("issuer unavailable", "银行系统维护"),
    "maintenance": ("scheduled maintenance", "系统正在升级"),
    "code": ("NullPointerException at Pay.java", "空指针异常"),
    "db": ("Deadlock found when trying to get lock", "数据库死锁"),
    "regression": ("fails since the release of 5.2", "升级后全部失败"),
    "mq": ("kafka publish failed", "消息投递失败"),
    "dependency": ("circuit breaker is open", "服务熔断"),
    "internal_config": ("403 by the web application firewall", "白名单未放行"),
    "resources": ("java.lang.OutOfMemoryError: heap", "线程池已满"),
    "already_paid": ("order has already been paid", "订单已支付"),
    "order_closed": ("order is closed", "订单已关闭"),
    "order_not_found": ("order not found", "订单不存在"),
    "already_captured": ("the charge was already captured", "重复请款"),
    "refund_conflict": ("charge has already been refunded", "超额退款"),
    "state_conflict": ("invalid state transition", "订单状态不允许"),
    "amount_mismatch": ("amount does not equal the order's: amount mismatch", "金额不一致"),
    "duplicate_charge": ("the customer was charged twice", "重复扣款"),
    "notify_missing": ("no callback since then", "未收到回调"),
    "idempotency": ("idempotency key reused", "同号不同参数"),
    "duplicate_number": ("OUT_TRADE_NO_USED", "商户订单号重复"),
    "duplicate_request": ("duplicate request", "重复提交"),
}


def test_the_table_of_wordings_names_every_family():
    assert set(WORDINGS) == {family.id for family in families()}
    assert len({family.id for family in families()}) == len(families())


@pytest.mark.parametrize("name", WORDINGS)
def test_a_family_knows_its_fault_in_english_and_chinese(name):
    for text in WORDINGS[name]:
        assert name in {family.id for family in read_wording(f"2026 ERROR {text}")}, text


@pytest.mark.parametrize("family", families(), ids=lambda family: family.id)
def test_a_family_speaks_for_a_fault_of_the_taxonomy(family):
    assert (family.fault_class, family.fault_subclass) in taxonomy()
    assert 0 < family.strength <= 1


@pytest.mark.parametrize("name", NAMES)
def test_no_family_reads_a_fault_into_ordinary_lines(name):
    """Lines that the shop writes all the time at INFO, before anything went wrong."""
    span = Span(START - timedelta(days=999), START + timedelta(days=999))
    logs = BundleSource("bundle", EXAMPLES / name).fetch(Ask("logs", span)).table
    usual = logs.filter(pc.equal(logs.column("log.level"), "INFO"))
    hits = Counter(
        (family.id, body[:80]) for body in set(usual.column("body").to_pylist()) for family in read_wording(body or "")
    )
    assert usual.num_rows > 1000
    # "Last One Hour: 401" counts orders, and a bare 401 also stands for refused credentials.
    counted = Counter({hit: n for hit, n in hits.items() if hit[0] == "credential" and "[Last One" in hit[1]})
    assert hits - counted == Counter()
    assert counted.total() <= 2


def test_a_line_of_a_megabyte_is_read_in_time():
    assert read_wording("x" * 1_000_000) == []
    assert read_wording("connection refused " + "x" * 1_000_000)


# ---- HTTP statuses


def test_a_failing_answer_to_our_call_speaks_of_the_way_or_the_channel():
    case = case_of([*usual_lines(), line(1, f"POST /v3/pay {ORDER} answered 502", "x")], FAILED)
    found = says("http_status", case)["http.status"]
    assert (found.code, found.channel) == ("502", "wechatpay")
    assert found.supports in ("interface_fault", "channel_outage")


def test_a_failing_answer_of_ours_to_a_callback_speaks_of_us():
    case = case_of([*usual_lines(), line(1, f'POST /pay/notify {ORDER} HTTP/1.1" 500', "x")], FAILED)
    assert says("http_status", case)["http.callback_refused"].supports == "internal_fault"


@pytest.mark.parametrize(
    "said",
    ["answered 200", 'HTTP/1.1" 302', "paid 502.00 CNY", "handled 404 items", "返回 500 条记录", "answered 450 ms"],
)
def test_good_statuses_and_other_numbers_are_no_finding(said):
    case = case_of([*usual_lines(), line(1, f"{ORDER} {said}", "x")], FAILED)
    assert says("http_status", case) == {}
    assert outcome("http_status", case) == "healthy"


def test_a_failing_client_span_is_an_answer_to_our_call():
    span = span_row(TRACE, "s1", **{"http.response.status_code": 503})
    assert says("http_status", case_of([], FAILED, [span]))["http.status"].code == "503"


@pytest.mark.parametrize(
    "said", ["rpc error: code = ResourceExhausted desc = quota", "grpc_status: 8", "gRPC status=8"]
)
def test_a_grpc_status_in_a_line_is_looked_up_by_name(said):
    found = says("http_status", case_of([*usual_lines(), line(1, f"{ORDER} {said}", "x")], FAILED))["http.rpc"]
    assert (found.code, found.supports) == ("RESOURCE_EXHAUSTED", "rate_limit")


@pytest.mark.parametrize(
    ("code", "kinds"), [("14", {"http.rpc"}), ("UNAVAILABLE", {"http.rpc"}), ("0", set()), ("OK", set())]
)
def test_a_grpc_status_of_a_span_counts_whatever_the_spans_own_status(code, kinds):
    span = span_row(TRACE, "s1", **{"rpc.status_code": code, "status": "unset"})
    case = case_of([], FAILED, [span])
    assert set(says("http_status", case)) == kinds
    assert (outcome("spans", case) == "found") == bool(kinds)


def test_a_line_that_names_anothers_order_with_dashes_is_no_signal():
    others = "ORD-2026-0001"
    rows = [
        *FAILED,
        order_row(0, "order", others, "pending", order=others, customer="u9"),
        order_row(0.1, "attempt", "PAY-77", "PAYERROR", order=others, customer="u9"),
    ]
    lines = [line(6, f"{others} refused: connection refused", "x"), line(6, "PAY-77 timed out", "y")]
    assert case_of([*usual_lines(), *lines], rows).signals == ()


def test_notes_on_an_order_are_no_answer_codes():
    rows = [*FAILED[:2], order_row(0.1, "attempt", ATTEMPT, "PAYERROR", shelf="S-77", clerk="王芳")]
    assert says("channel_codes", case_of(usual_lines(), rows)) == {}


# ---- spans


def test_the_deepest_failing_span_is_the_culprit():
    spans = [
        span_row(TRACE, "s1", kind="server", status="error", **{"service.name": "gateway"}),
        span_row(TRACE, "s2", status="error", **{"service.name": "pay", "parent.id": "s1"}),
        span_row(TRACE, "s3", **{"service.name": "db", "parent.id": "s2"}),
    ]
    (found,) = says("spans", case_of([], FAILED, spans)).values()
    assert (found.service, found.supports) == ("pay", None)


def test_the_exception_of_a_span_is_read():
    span = span_row(TRACE, "s1", status="error", **{"exception.type": "java.net.UnknownHostException"})
    (found,) = says("spans", case_of([], FAILED, [span])).values()
    assert (found.kind, found.supports) == ("span.dns", "interface_fault")


def test_healthy_and_foreign_spans_are_no_finding():
    spans = [span_row(TRACE, "s1"), span_row("b" * 32, "s2", status="error")]
    case = case_of([], FAILED, spans)
    assert says("spans", case) == {}
    assert outcome("spans", case) == "healthy"


# ---- order rules


def test_two_charges_for_one_order_are_found():
    rows = [
        *paid(1, order=ORDER, customer=CUSTOMER),
        order_row(1, "attempt", "PY2", "SUCCESS", channel_txn_id="4200" + "9" * 24),
    ]
    case = case_of([], rows)
    assert "order_rule.R04" in says("order_rules", case)


def test_a_paid_order_breaks_no_rule():
    case = case_of([], paid(1, order=ORDER, customer=CUSTOMER))
    assert set(says("order_rules", case)) == {"order_state.paid_ok"}


# ---- cohort


def test_an_outage_is_told_from_a_single_case():
    failing = [row for i in range(5) for row in unpaid(i)]
    healthy = [row for i in range(5) for row in paid(i)]
    outage, single = case_of([], [*FAILED, *failing]), case_of([], [*FAILED, *healthy])
    assert says("cohort", outage)["cohort.many"].supports is None
    assert outcome("cohort", outage) == "found"
    assert says("cohort", single) == {}
    assert outcome("cohort", single) == "healthy"


def unexplained(number: int, state: str) -> list[dict[str, Any]]:
    """An order that stands open or as the shop calls it, with an attempt in `state`."""
    more = {"order": f"SO2026030450{number:04d}", "customer": f"u99{number:05d}"}
    return [
        order_row(0, "order", more["order"], "pending", **more),
        order_row(0.1, "attempt", f"PY2026030450{number:04d}", state, **more),
    ]


@pytest.mark.parametrize("state", ["F", "USERPAYING"])
def test_orders_whose_outcome_is_unknown_neither_went_through_nor_failed(state):
    some = [row for i in range(3) for row in unexplained(i, state)]
    known = [*(row for i in range(4) for row in paid(i)), *(row for i in range(2) for row in unpaid(i))]
    (check,) = detector("cohort")(case_of([], [*FAILED, *some, *known])).checks
    assert check.outcome == "healthy"
    assert "of 9 other orders of wechatpay" in check.statement.en
    assert "4 went through, 2 failed or closed unpaid, 3 with unknown outcome" in check.statement.en
    assert "4 个正常完成，2 个失败或未支付即关闭，3 个结果未知" in check.statement.zh


def test_money_that_the_channel_took_and_the_shop_does_not_have_did_not_go_through():
    taken = [row for i in range(5) for row in unexplained(i, "SUCCESS")]
    found = says("cohort", case_of([], [*FAILED, *taken, *paid(1)]))["cohort.many"]
    assert "1 went through, 5 failed" in found.statement.en
    assert all(c.doc_id.startswith("PY202603045") for c in found.cites)


def test_a_cohort_of_mostly_unknown_outcomes_is_not_evaluated():
    case = case_of([], [*FAILED, *(row for i in range(5) for row in unexplained(i, "F")), *unpaid(1), *unpaid(2)])
    assert outcome("cohort", case) == "not_evaluated"
    assert says("cohort", case) == {}


def test_too_few_orders_say_nothing():
    assert outcome("cohort", case_of([], [*FAILED, *paid(1)])) == "not_evaluated"


def test_orders_of_another_channel_or_day_are_no_cohort():
    rows = [row for i in range(5) for row in paid(i, channel="alipay")]
    rows += [row for i in range(5, 9) for row in paid(i, minutes=3000)]
    assert case_of([], [*FAILED, *rows]).cohort == ()


# ---- gaps


def test_a_failed_source_is_a_gap():
    failed = Coverage(source="es", kind="elasticsearch", what="logs", status="failed", asked="", error="down")
    case = case_of(usual_lines(), FAILED, coverage=[failed])
    statement = says("gaps", case)["gap.source"].statement
    assert statement.en == "es gave no logs: down"
    assert statement.zh == "es 未能提供日志：down"


@pytest.mark.parametrize(
    "more", [{"status": "partial", "error": "file ends early"}, {"cut": 7}], ids=["partial", "cut"]
)
def test_logs_that_were_read_in_part_are_not_called_without_gap(more):
    asked: dict[str, Any] = {"source": "es", "kind": "elasticsearch", "what": "logs", "status": "ok", "asked": ""}
    mine = line(1, f"order {ORDER} taken", "mine", level="INFO")
    outcomes = [
        outcome("gaps", case_of([*usual_lines(), mine], FAILED, coverage=[Coverage(**asked | change)]))
        for change in ({}, more, {**more, "what": "spans"})
    ]
    assert outcomes == ["healthy", "not_evaluated", "healthy"]


def test_no_lines_at_all_are_a_gap():
    assert set(says("gaps", case_of([], FAILED))) == {"gap.no_logs"}


def test_no_order_is_a_gap():
    assert set(says("gaps", case_of(usual_lines(), [], focus_orders=()))) == {"gap.no_order"}


def within(rows: list[dict[str, Any]], start: float, end: float) -> list[dict[str, Any]]:
    """The rows without those between `start` and `end` seconds."""
    begun, ended = START + timedelta(seconds=start), START + timedelta(seconds=end)
    return [row for row in rows if not begun <= row["@timestamp"] < ended]


@pytest.mark.parametrize(("start", "end"), [(-300, 600), (-300, 9999)], ids=["in-the-middle", "to-the-end"])
def test_a_hole_around_the_orders_events_is_a_gap(start, end):
    assert set(says("gaps", case_of(within(usual_lines(600), start, end), FAILED))) == {"gap.log_hole"}


@pytest.mark.parametrize(("start", "end"), [(-3000, -2400), (-60, 60), (300, 900)], ids=["before", "short", "after"])
def test_a_hole_elsewhere_or_a_short_one_is_none(start, end):
    mine = line(1, f"order {ORDER} taken", "mine", level="INFO")
    case = case_of([*within(usual_lines(600), start, end), mine], FAILED)
    assert says("gaps", case) == {}
    assert outcome("gaps", case) == "healthy"


def test_logs_that_end_soon_after_the_orders_own_lines_have_no_hole():
    """Order books run on: a late event must not make a hole of the end of the logs."""
    lines = [*within(usual_lines(600), 60, 9999), line(3, f"{ORDER} refused", "x")]
    rows = [*FAILED, order_row(8, "order", ORDER, "cancelled")]
    assert says("gaps", case_of(lines, rows)) == {}


def test_a_service_that_is_silent_about_this_order_alone_is_a_gap():
    rows = [row for i in range(4) for row in paid(i, minutes=-5 + i)]
    lines = [
        line(60 * (-5 + i), f"{service} handles SO2026030420{i:04d}", f"{service}{i}", service=service, level="INFO")
        for i in range(4)
        for service in ("shop", "pay-channel")
    ]
    ours = [line(0, f"shop handles {ORDER}", "ours", service="shop", level="INFO")]
    theirs = [line(1, f"pay-channel handles {ORDER}", "theirs", level="INFO")]
    silent = says("gaps", case_of([*usual_lines(), *lines, *ours], [*FAILED, *rows]))
    assert silent["gap.silent_service"].service == "pay-channel"
    assert "pay-channel wrote about 4 of 4 healthy orders" in silent["gap.silent_service"].statement.en
    fewer = [one for one in lines if one["_id"] != "pay-channel2"]
    partly = says("gaps", case_of([*usual_lines(), *fewer, *ours], [*FAILED, *rows]))["gap.silent_service"]
    assert "pay-channel wrote about 3 of 4 healthy orders" in partly.statement.en
    assert "pay-channel 对 4 个正常订单中的 3 个有日志" in partly.statement.zh
    assert says("gaps", case_of([*usual_lines(), *lines, *ours, *theirs], [*FAILED, *rows])) == {}


def test_a_gap_speaks_for_no_fault():
    for found in detector("gaps")(case_of()).found:
        assert (found.supports, found.strength) == (None, 0.0)


def span_case(*rows: dict, others: int = 8) -> Case:
    """A case whose order has the spans `rows`, beside `others` ordinary calls of 200 ms."""
    usual = [span_row(f"{i:032x}", f"{i:016x}", duration_us=200_000) for i in range(1, others + 1)]
    return case_of(usual_lines(), FAILED, spans=[*usual, *rows])


def test_a_call_that_took_far_longer_than_others_is_told_with_both_figures():
    found = says("spans", span_case(span_row(TRACE, "aa" * 8, duration_us=30_000_000)))
    assert "30,000 ms" in found["span.slow"].statement.en
    assert "8 others took 200 ms" in found["span.slow"].statement.en


@pytest.mark.parametrize(("us", "others"), [(1_500_000, 8), (30_000_000, 3), (900_000, 8)])
def test_a_call_is_not_called_slow_without_reason(us, others):
    assert "span.slow" not in says("spans", span_case(span_row(TRACE, "aa" * 8, duration_us=us), others=others))


def test_spans_in_a_circle_are_told_and_not_called_healthy():
    rows = [
        span_row(TRACE, "s1", status="error", **{"parent.id": "s2"}),
        span_row(TRACE, "s2", status="error", **{"parent.id": "s1"}),
    ]
    case = case_of(usual_lines(), FAILED, spans=rows)
    assert says("spans", case)
    assert outcome("spans", case) == "found"
