"""Four whole documents to render, store and verify: three located faults and one abstention.

`RECORDS` holds the canonical bytes behind every evidence pointer, so that `verify` has something to open.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from snapshots.model import (
    Candidate,
    Check,
    Clause,
    Coverage,
    Culprit,
    CustomerMessage,
    Diagnosis,
    Evidence,
    Finding,
    Hop,
    Identifier,
    Location,
    Missing,
    OrderState,
    PaymentAttempt,
    ProblemSnapshot,
    Provenance,
    Redaction,
    RunRecord,
    ScopeRecord,
    Severity,
    SeverityReason,
    SeverityScope,
    SpanRecord,
    Template,
    TemplateTotals,
    Text,
    TicketRecord,
    Urgency,
    Window,
    canonical_json,
    sha256_hex,
    with_id,
)

# (source, kind, index, doc_id, file, start, end) -> the record's canonical bytes.
RECORDS: dict[tuple[Any, ...], bytes] = {}

PROVENANCE = Provenance(
    tool="problem-snapshot",
    tool_version="0.1.0",
    settings_sha256=sha256_hex(b"settings"),
    tables_sha256=sha256_hex(b"tables"),
    sources=["logs-prod (elasticsearch)", "orders (sqlalchemy)", "traces (jaeger)"],
)


def severity(level: Literal["P1", "P2", "P3", "P4"]) -> Severity:
    """A severity of that level, as the desk gives it to many failing orders."""
    return Severity(
        level=level,
        scope=SeverityScope(size="batch", customers=12, orders=14),
        urgency=Urgency(availability="blocked"),
        reasons=[
            SeverityReason(
                statement=Text(en="Many customers cannot pay or use the service.", zh="大批客户无法支付或使用服务。"),
                findings=["F1"],
            )
        ],
        respond_by="2026-10-11T20:40:00Z",
        resolve_by="2026-10-12T00:10:00Z",
    )


def cite(
    ref: str,
    at: str,
    service: str,
    quote: str,
    *,
    kind: Literal["log", "span", "order_event"] = "log",
    source: str = "logs-prod",
    index: str | None = None,
    doc_id: str | None = None,
    file: str | None = None,
    start: int | None = None,
    end: int | None = None,
) -> Evidence:
    """An evidence pointer whose record is kept in `RECORDS`."""
    record = canonical_json({"@timestamp": at, "service": {"name": service}, "message": quote})
    RECORDS[source, kind, index, doc_id, file, start, end] = record
    return Evidence(
        ref=ref,
        kind=kind,
        source=source,
        sha256=sha256_hex(record),
        index=index,
        doc_id=doc_id,
        file=file,
        start=start,
        end=end,
        at=at,
        service=service,
        quote=quote,
    )


def rules_not_evaluated(*numbers: int, en: str, zh: str) -> list[Check]:
    """One `not_evaluated` check for each order rule, with its own sentence."""
    return [
        Check(
            id=f"R{n:02d}",
            outcome="not_evaluated",
            statement=Text(en=f"Rule R{n:02d}: {en}", zh=f"规则 R{n:02d}：{zh}"),
        )
        for n in numbers
    ]


def dns_failure() -> ProblemSnapshot:
    """English, Stripe: the channel's host name does not resolve."""
    index = "logs-app-2026.11.02"
    host_lookup = (
        "2026-11-02 19:13:53.446 ERROR [http-nio-9216-exec-5] [c.m.p.ch.ChannelClient] - \n"
        "SocketError: getaddrinfo failed for api.stripe.com: Name or service not known\n"
        "\tat lib/stripe/certificate_blacklist.rb:28"
    )
    e1 = cite("E1", "2026-11-02T11:13:53.446Z", "pay-channel", host_lookup, index=index, doc_id="eL9JnjkC000011a7")
    e2 = cite(
        "E2",
        "2026-11-02T11:13:53.443Z",
        "pay-channel",
        "POST api.stripe.com/v1/tokens error.type=SocketError, 20 ms",
        kind="span",
        source="traces",
        index="ad1eb9716408d15a791366fa0940ab2c",
        doc_id="992fd597f0c30bd7",
    )
    e3 = cite(
        "E3",
        "2026-11-02T11:13:53.948Z",
        "infra-agent",
        "/etc/resolv.conf empty after dhcp renew",
        index=index,
        doc_id="eL9JnjkC000011a9",
    )
    e4 = cite(
        "E4",
        "2026-11-02T11:20:11.940Z",
        "pay-channel",
        host_lookup.replace("19:13:53.446", "19:20:11.940").replace("exec-5", "exec-4"),
        index=index,
        doc_id="eL9JnjkC000013a1",
    )
    e5 = cite(
        "E5",
        "2026-11-02T11:13:54.507Z",
        "pay-core",
        "attempt T26938674029962 CREATE_FAILED 1,299.00 USD",
        kind="order_event",
        source="orders",
        index="payment_events",
        doc_id="attempt:T26938674029962:CREATE_FAILED:2026-11-02T11:13:54.507Z",
    )
    e6 = cite(
        "E6",
        "2026-11-02T11:02:16.615Z",
        "pay-channel",
        "POST api.stripe.com/v1/payment_intents 200, 440 ms",
        kind="span",
        source="traces",
        index="c70b3ea39614d7317c22669d3dff4f5c",
        doc_id="dd0032a91d13e02d",
    )
    findings = [
        Finding(
            id="F1",
            kind="exception_family.dns",
            statement=Text(
                en="pay-channel could not resolve api.stripe.com.", zh="pay-channel 无法解析 api.stripe.com。"
            ),
            evidence=[e1, e4],
            weight=3.1,
            supports="interface_fault",
            subclass="dns_failed",
            service="pay-channel",
            channel="stripe",
        ),
        Finding(
            id="F2",
            kind="error_span.deepest",
            statement=Text(
                en="The deepest failing call is POST /v1/tokens, ended after 20 ms without an answer.",
                zh="最深的失败调用是 POST /v1/tokens，20 毫秒后结束且没有应答。",
            ),
            evidence=[e2],
            weight=1.4,
            supports="interface_fault",
            subclass="dns_failed",
            service="pay-channel",
            channel="stripe",
        ),
        Finding(
            id="F3",
            kind="config_change.resolver",
            statement=Text(
                en="The host's resolver list was empty after a DHCP renewal.",
                zh="DHCP 续租后主机的域名服务器列表为空。",
            ),
            evidence=[e3],
            weight=1.9,
            supports="interface_fault",
            subclass="dns_failed",
            service="infra-agent",
            about_focus=False,
        ),
        Finding(
            id="F4",
            kind="order_rule.attempt_failed",
            statement=Text(
                en="The payment attempt ended as CREATE_FAILED one second after it began; no money moved.",
                zh="支付单创建一秒后即失败（CREATE_FAILED），没有发生扣款。",
            ),
            evidence=[e5],
            weight=0.4,
            supports="interface_fault",
            channel="stripe",
        ),
        Finding(
            id="F5",
            kind="cohort.healthy",
            statement=Text(
                en="The same service reached Stripe 12 minutes earlier with 200, so no firewall rule blocks it for good.",
                zh="12 分钟前同一服务调用 Stripe 返回 200，可见并非防火墙长期阻断。",
            ),
            evidence=[e6],
            weight=-0.3,
            supports="interface_fault",
            subclass="connect_failed",
        ),
    ]
    checks = [
        Check(
            id="order_rule.R04",
            outcome="healthy",
            statement=Text(en="No second charge for this order.", zh="该订单没有重复扣款。"),
        ),
        Check(
            id="channel_code",
            outcome="healthy",
            statement=Text(en="No error code from Stripe in the window.", zh="时间窗内 Stripe 未返回错误码。"),
        ),
        Check(
            id="latency.mall-order",
            outcome="healthy",
            statement=Text(en="mall-order answers at its usual speed.", zh="mall-order 响应时间正常。"),
        ),
        Check(
            id="change.deploy",
            outcome="healthy",
            statement=Text(en="No deployment of pay-channel in the window.", zh="时间窗内 pay-channel 没有发布。"),
        ),
        Check(
            id="exception_family.dns",
            outcome="found",
            statement=Text(en="Name resolution failed 2 times.", zh="域名解析失败 2 次。"),
        ),
        *rules_not_evaluated(1, 2, 3, 8, 9, 10, 11, 12, 13, 20, 24, 25, en="no callback rows.", zh="没有回调记录。"),
        *rules_not_evaluated(5, 14, 15, 16, 21, en="no refund or capture rows.", zh="没有退款或请款记录。"),
        *rules_not_evaluated(22, 23, 7, en="no reconciliation file.", zh="没有对账单。"),
    ]
    window = Window(start="2026-11-02T11:03:52Z", end="2026-11-02T11:23:52Z")
    baseline = Window(start="2026-11-02T10:03:52Z", end="2026-11-02T11:03:52Z")
    return with_id(
        ProblemSnapshot(
            schema_version="1.0",
            snapshot_id="",
            ticket=TicketRecord(
                id="TK-33097",
                system="file",
                title="Card form throws an error",
                description="Entering the card throws an error at once. Order SO20262776275337.",
                created_at="2026-11-02T03:51:52-08:00",
                language="en",
                customer_id="u1870462",
                questionnaire={
                    "device_model": "Xiaomi 13",
                    "app_version": "6.2.3",
                    "operation_steps": ["open the shop", "add to basket", "checkout", "press pay"],
                },
            ),
            scope=ScopeRecord(
                window=window,
                baseline=baseline,
                anchor="2026-11-02T11:13:52.943Z",
                reason=Text(
                    en="The order's last event, with 10 minutes on either side.",
                    zh="以订单最后一个事件为准，前后各 10 分钟。",
                ),
                identifiers=[
                    Identifier(kind="order_id", value="SO20262776275337", found_in="description"),
                    Identifier(kind="customer_id", value="u1870462", found_in="ticket"),
                    Identifier(kind="trace_id", value="ad1eb9716408d15a791366fa0940ab2c", found_in="logs-prod"),
                ],
                hops=[
                    Hop(via="order -> attempts", source="orders", start="SO20262776275337", found=["T26938674029962"]),
                    Hop(
                        via="order -> traces",
                        source="logs-prod",
                        start="SO20262776275337",
                        found=["ad1eb9716408d15a791366fa0940ab2c"],
                    ),
                ],
                focus_orders=["SO20262776275337"],
                services=["mall-order", "pay-core", "pay-channel"],
                channels=["stripe"],
            ),
            diagnosis=Diagnosis(
                abstained=False,
                confidence=0.94,
                summary=Text(
                    en="pay-channel cannot resolve api.stripe.com, so no card token is made and the payment stops at once.",
                    zh="pay-channel 无法解析 api.stripe.com，卡令牌创建失败，支付随即中断。",
                ),
                fault_class="interface_fault",
                fault_subclass="dns_failed",
                seed_class="interface",
                class_name=Text(en="Interface / API fault", zh="接口故障"),
                candidates=[
                    Candidate(
                        fault_class="interface_fault",
                        fault_subclass="dns_failed",
                        probability=0.94,
                        findings=["F1", "F3", "F2", "F4"],
                        against=[],
                    ),
                    Candidate(
                        fault_class="interface_fault",
                        fault_subclass="connect_failed",
                        probability=0.04,
                        findings=["F2"],
                        against=["F5"],
                    ),
                    Candidate(
                        fault_class="internal_fault",
                        fault_subclass="internal_config",
                        probability=0.02,
                        findings=["F3"],
                    ),
                ],
                location=Location(
                    service="pay-channel", operation="POST /v1/tokens", host="pay-channe-e9699", channel="stripe"
                ),
                culprits=[
                    Culprit(service="pay-channel", probability=0.91),
                    Culprit(service="infra-agent", probability=0.06),
                ],
                owner="us (network/SRE)",
                first_action=Text(
                    en="Check resolver, hosts entries and the configured gateway host name.",
                    zh="检查 DNS、hosts 及网关域名配置。",
                ),
            ),
            findings=findings,
            checks=checks,
            coverage=[
                Coverage(
                    source="logs-prod",
                    kind="elasticsearch",
                    what="logs",
                    status="ok",
                    asked="logs-app-*: order, trace, customer; then the window",
                    window=Window(start=baseline.start, end=window.end),
                    matched=5703,
                    fetched=5703,
                    used=5701,
                    duplicates=2,
                    unparsed=3,
                ),
                Coverage(
                    source="orders",
                    kind="sqlalchemy",
                    what="order_events",
                    status="ok",
                    asked="payment_events of 1 order",
                    matched=31,
                    fetched=31,
                    used=31,
                ),
                Coverage(
                    source="traces",
                    kind="jaeger",
                    what="spans",
                    status="partial",
                    asked="/api/traces of 4 services",
                    window=Window(start=baseline.start, end=window.end),
                    matched=None,
                    fetched=1500,
                    used=1500,
                    sampled=True,
                    error="limit of 1500 spans a service was reached",
                ),
                Coverage(
                    source="callbacks",
                    kind="bundle",
                    what="order_events",
                    status="skipped",
                    asked="callbacks.csv",
                    error="the bundle has no such file",
                ),
            ],
            template_totals=TemplateTotals(
                lines=5701,
                incident=1409,
                baseline=4281,
                outside=11,
                templates=118,
                listed=5,
                unlisted_templates=113,
                unlisted_lines=4828,
            ),
            templates=[
                Template(
                    id="T01",
                    text="SocketError: getaddrinfo failed for <*>: Name or service not known",
                    incident_count=2,
                    baseline_count=0,
                    change="new",
                    p_value=0.0041,
                    focus_count=1,
                    levels={"ERROR": 2},
                    services={"pay-channel": 2},
                    first_seen="2026-11-02T11:13:53.446Z",
                    last_seen="2026-11-02T11:20:11.940Z",
                    examples=[e1],
                ),
                Template(
                    id="T02",
                    text="token for <*> not made",
                    incident_count=2,
                    baseline_count=0,
                    change="new",
                    p_value=0.0041,
                    focus_count=1,
                    levels={"ERROR": 2},
                    services={"pay-core": 2},
                ),
                Template(
                    id="T03",
                    text="/etc/resolv.conf empty after dhcp renew",
                    incident_count=1,
                    baseline_count=0,
                    change="new",
                    p_value=0.06,
                    levels={"WARN": 1},
                    services={"infra-agent": 1},
                    examples=[e3],
                ),
                Template(
                    id="T04",
                    text="create order <*> uid=<*> amount=<*> USD channel=stripe",
                    incident_count=9,
                    baseline_count=22,
                    change="usual",
                    p_value=0.8,
                    focus_count=1,
                    levels={"INFO": 31},
                    services={"mall-order": 31},
                ),
                Template(
                    id="T05",
                    text="stock | cache | refreshed in <*> ms",
                    incident_count=210,
                    baseline_count=627,
                    change="usual",
                    p_value=0.9,
                    levels={"INFO": 837},
                    services={"ts-food-service": 837},
                ),
            ],
            orders=[
                OrderState(
                    order_id="SO20262776275337",
                    channel="stripe",
                    amount_minor=129900,
                    currency="USD",
                    state="AWAITING_PAYMENT",
                    raw_state="1",
                    at="2026-11-02T11:13:52.944Z",
                    history=["CREATED", "AWAITING_PAYMENT"],
                )
            ],
            payment_attempts=[
                PaymentAttempt(
                    order_id="SO20262776275337",
                    entity="attempt",
                    entity_id="T26938674029962",
                    state="CREATED",
                    raw_state="INIT",
                    channel="stripe",
                    amount_minor=129900,
                    currency="USD",
                    at="2026-11-02T11:13:53.302Z",
                ),
                PaymentAttempt(
                    order_id="SO20262776275337",
                    entity="attempt",
                    entity_id="T26938674029962",
                    state="FAILED",
                    raw_state="CREATE_FAILED",
                    channel="stripe",
                    amount_minor=129900,
                    currency="USD",
                    at="2026-11-02T11:13:54.507Z",
                ),
            ],
            spans=[
                SpanRecord(
                    trace_id="ad1eb9716408d15a791366fa0940ab2c",
                    span_id="13f6ec73c139b51f",
                    service="pay-core",
                    name="pay.execute",
                    kind="internal",
                    at="2026-11-02T11:13:53.063Z",
                    duration_us=1_460_000,
                    status="error",
                ),
                SpanRecord(
                    trace_id="ad1eb9716408d15a791366fa0940ab2c",
                    span_id="992fd597f0c30bd7",
                    service="pay-channel",
                    name="POST /v1/tokens",
                    kind="client",
                    at="2026-11-02T11:13:53.443Z",
                    duration_us=20_000,
                    status="error",
                    error="SocketError",
                    parent_id="13f6ec73c139b51f",
                ),
            ],
            redaction=Redaction(total=7, counts={"card": 1, "phone": 4, "email": 2}),
            provenance=PROVENANCE,
        )
    )


def wechat_signature() -> ProblemSnapshot:
    """Chinese, WeChat Pay: every order since midnight is refused because of its signature."""
    index = "logs-app-2026.10.11"

    def refused(ref: str, at: str, mch: str, doc_id: str) -> Evidence:
        quote = f'ts={at} level=error logger=gateway msg="prepay refused, return_msg=签名错误 return_code=FAIL mch_id={mch}"'
        return cite(ref, at, "billing-api", quote, index=index, doc_id=doc_id)

    e1 = refused("E1", "2026-10-11T20:03:16.598Z", "1632558954", "wO6JmerQ000017e2")
    e2 = cite(
        "E2",
        "2026-10-11T20:03:16.697Z",
        "shop-web",
        "app.ERROR: order 20265392437790 set to failed by gateway result (签名错误) [] []",
        index=index,
        doc_id="wO6JmerQ000017e3",
    )
    e3 = cite(
        "E3",
        "2026-10-11T20:03:16.395Z",
        "billing-api",
        "POST api.mch.weixin.qq.com/pay/unifiedorder 200 payment.channel.code=SIGNERROR",
        kind="span",
        source="traces",
        index="2a0b3d0604b46b01c7ce671bdf805f7b",
        doc_id="a42a2a2ecd9d286f",
    )
    e4 = refused("E4", "2026-10-11T19:58:41.121Z", "1690208074", "wO6JmerQ00001470")
    e5 = refused("E5", "2026-10-11T20:08:56.657Z", "1690184684", "wO6JmerQ00001b78")
    e6 = cite(
        "E6",
        "2026-10-11T18:12:02.100Z",
        "billing-api",
        'level=info msg="prepay accepted" mch_id=1690208074',
        file="logs/billing-api.log",
        start=88_120,
        end=88_231,
        source="logs-files",
    )
    window = Window(start="2026-10-11T19:53:15Z", end="2026-10-11T20:13:15Z")
    baseline = Window(start="2026-10-11T18:53:15Z", end="2026-10-11T19:53:15Z")
    return with_id(
        ProblemSnapshot(
            schema_version="1.0",
            snapshot_id="",
            ticket=TicketRecord(
                id="TK-46022",
                system="file",
                title="微信付款一直提示订单失败",
                description="商城里选微信支付，点完就说订单失败，换了手机也一样，今天所有单子都付不了。时间大概是 10-12 04:00。",
                created_at="2026-10-12T04:18:15+08:00",
                language="zh",
                customer_id="u8942172",
                questionnaire={
                    "device_model": "Windows PC",
                    "system_version": "Windows 11 / Chrome 130",
                    "app_version": "8.1.4",
                },
            ),
            scope=ScopeRecord(
                window=window,
                baseline=baseline,
                anchor="2026-10-11T20:03:15.995Z",
                reason=Text(
                    en="The customer says about 04:00; the nearest order of this customer fits.",
                    zh="用户称约 04:00，与该用户最近一笔订单吻合。",
                ),
                identifiers=[
                    Identifier(kind="customer_id", value="u8942172", found_in="ticket"),
                    Identifier(kind="order_id", value="20265392437790", found_in="orders"),
                ],
                hops=[
                    Hop(
                        via="customer -> orders", source="orders", start="u8942172", found=["20265392437790"], omitted=2
                    )
                ],
                focus_orders=["20265392437790"],
                services=["edge-proxy", "shop-web", "billing-api"],
                channels=["wechatpay"],
            ),
            diagnosis=Diagnosis(
                abstained=False,
                confidence=0.88,
                summary=Text(
                    en="WeChat Pay refuses every prepay request of billing-api because its signature does not verify.",
                    zh="微信支付拒绝了 billing-api 的每一笔统一下单请求：请求签名验证不通过。",
                ),
                fault_class="signature_cert",
                fault_subclass="sign_invalid",
                seed_class="configuration",
                class_name=Text(en="Signature / certificate fault", zh="签名与证书错误"),
                candidates=[
                    Candidate(
                        fault_class="signature_cert",
                        fault_subclass="sign_invalid",
                        probability=0.88,
                        findings=["F1", "F2", "F3"],
                        against=["F4"],
                    ),
                    Candidate(
                        fault_class="signature_cert", fault_subclass="key_missing", probability=0.07, findings=["F1"]
                    ),
                    Candidate(
                        fault_class="param_config", fault_subclass="config_missing", probability=0.03, findings=["F3"]
                    ),
                ],
                location=Location(service="billing-api", operation="POST /pay/unifiedorder", channel="wechatpay"),
                culprits=[Culprit(service="billing-api", probability=0.97)],
                owner="us",
                first_action=Text(
                    en="Rebuild the string to sign, check key pair, charset and parameter order.",
                    zh="重新核对待签名串、密钥对、字符集与参数顺序。",
                ),
            ),
            findings=[
                Finding(
                    id="F1",
                    kind="channel_code.exact",
                    statement=Text(
                        en="WeChat Pay answered SIGNERROR to the order's prepay call.",
                        zh="微信支付对该订单的下单请求返回 SIGNERROR。",
                    ),
                    evidence=[e3, e1],
                    weight=3.4,
                    supports="signature_cert",
                    subclass="sign_invalid",
                    service="billing-api",
                    channel="wechatpay",
                    code="SIGNERROR",
                ),
                Finding(
                    id="F2",
                    kind="wording.signature",
                    statement=Text(
                        en="shop-web sets the order to failed, citing a wrong signature.",
                        zh="shop-web 以“签名错误”为由将订单置为失败。",
                    ),
                    evidence=[e2],
                    weight=1.2,
                    supports="signature_cert",
                    subclass="sign_invalid",
                    service="shop-web",
                ),
                Finding(
                    id="F3",
                    kind="rate.channel",
                    statement=Text(
                        en="4 of 4 WeChat orders fail in the window, of several merchants.",
                        zh="时间窗内 4 笔微信订单全部失败，涉及多个商户号。",
                    ),
                    evidence=[e4, e1, e5],
                    weight=0.9,
                    supports="signature_cert",
                    service="billing-api",
                    about_focus=False,
                ),
                Finding(
                    id="F4",
                    kind="cohort.healthy",
                    statement=Text(
                        en="The same merchant number was accepted two hours earlier.", zh="两小时前同一商户号下单成功。"
                    ),
                    evidence=[e6],
                    weight=-0.5,
                    supports="signature_cert",
                    subclass="key_missing",
                ),
            ],
            checks=[
                Check(
                    id="http_status",
                    outcome="healthy",
                    statement=Text(
                        en="WeChat Pay is reachable and answers within 200 ms.", zh="微信支付可达，应答在 200 毫秒内。"
                    ),
                ),
                Check(
                    id="change.clock",
                    outcome="healthy",
                    statement=Text(
                        en="No clock skew between our hosts and the channel.", zh="我方主机与渠道时钟一致。"
                    ),
                ),
                Check(
                    id="R06",
                    outcome="healthy",
                    statement=Text(en="Amounts agree: 129.00 CNY.", zh="金额一致：129.00 CNY。"),
                ),
                Check(
                    id="change.config",
                    outcome="not_evaluated",
                    statement=Text(
                        en="Configuration changes: no audit source is set up.", zh="配置变更：未接入审计数据源。"
                    ),
                ),
                *rules_not_evaluated(
                    *range(1, 6), *range(7, 22), en="the order has no paid attempt.", zh="订单没有成功的支付单。"
                ),
            ],
            coverage=[
                Coverage(
                    source="logs-prod",
                    kind="elasticsearch",
                    what="logs",
                    status="partial",
                    asked="logs-app-*",
                    window=Window(start=baseline.start, end=window.end),
                    matched=1_231_004,
                    fetched=200_000,
                    used=199_988,
                    sampled=True,
                    cut=1_031_004,
                    duplicates=12,
                    notes=["every row tied to the order was read; the rest is a sample"],
                ),
                Coverage(
                    source="orders",
                    kind="sqlalchemy",
                    what="order_events",
                    status="ok",
                    asked="pay_events",
                    matched=45,
                    fetched=45,
                    used=45,
                ),
                Coverage(
                    source="traces",
                    kind="otlp",
                    what="spans",
                    status="ok",
                    asked="traces/*.json",
                    matched=2210,
                    fetched=2210,
                    used=2210,
                ),
            ],
            template_totals=TemplateTotals(
                lines=199_988,
                incident=50_020,
                baseline=149_900,
                outside=68,
                templates=240,
                listed=2,
                unlisted_templates=238,
                unlisted_lines=199_980,
            ),
            templates=[
                Template(
                    id="T01",
                    text="prepay refused, return_msg=签名错误 return_code=FAIL mch_id=<*>",
                    incident_count=4,
                    baseline_count=0,
                    change="new",
                    p_value=0.0009,
                    focus_count=1,
                    levels={"ERROR": 4},
                    services={"billing-api": 4},
                    examples=[e1],
                ),
                Template(
                    id="T02",
                    text="order <*> set to failed by gateway result (签名错误)",
                    incident_count=4,
                    baseline_count=0,
                    change="new",
                    p_value=0.0009,
                    focus_count=1,
                    levels={"ERROR": 4},
                    services={"shop-web": 4},
                    examples=[e2],
                ),
            ],
            orders=[
                OrderState(
                    order_id="20265392437790",
                    channel="wechatpay",
                    amount_minor=12900,
                    currency="CNY",
                    state="AWAITING_PAYMENT",
                    raw_state="awaiting",
                    at="2026-10-11T20:03:16.069Z",
                    history=["CREATED", "AWAITING_PAYMENT"],
                )
            ],
            payment_attempts=[
                PaymentAttempt(
                    order_id="20265392437790",
                    entity="attempt",
                    entity_id="P26795879659781",
                    state="FAILED",
                    raw_state="CREATE_FAILED",
                    channel="wechatpay",
                    amount_minor=12900,
                    currency="CNY",
                    code="SIGNERROR",
                    at="2026-10-11T20:03:17.495Z",
                )
            ],
            spans=[
                SpanRecord(
                    trace_id="2a0b3d0604b46b01c7ce671bdf805f7b",
                    span_id="2b1932766ee66d22",
                    service="edge-proxy",
                    name="POST /pay",
                    kind="server",
                    at="2026-10-11T20:03:15.995Z",
                    duration_us=1_500_000,
                    status="error",
                    http_status=500,
                ),
                SpanRecord(
                    trace_id="2a0b3d0604b46b01c7ce671bdf805f7b",
                    span_id="a42a2a2ecd9d286f",
                    service="billing-api",
                    name="POST /pay/unifiedorder",
                    kind="client",
                    at="2026-10-11T20:03:16.395Z",
                    duration_us=160_000,
                    status="error",
                    http_status=200,
                    error="SIGNERROR",
                ),
            ],
            redaction=Redaction(),
            provenance=PROVENANCE,
            severity=severity("P1"),
            customer_message=CustomerMessage(
                en="Your payment could not be started. You can pay another way.",
                zh="您的支付未能发起。您可以改用其他支付方式。",
                clauses=[
                    Clause(
                        statement=Text(en="Your payment could not be started.", zh="您的支付未能发起。"),
                        findings=["F1"],
                        evidence=["E1"],
                    ),
                    Clause(
                        statement=Text(en="You can pay another way.", zh="您可以改用其他支付方式。"),
                        findings=["F1"],
                        evidence=["E1"],
                    ),
                ],
            ),
        )
    )


def duplicate_charge() -> ProblemSnapshot:
    """Chinese, WeChat Pay: two successful charges for one order (rule R04), after a time-out and a new trade number."""
    index = "logs-app-2026.09.26"
    e1 = cite(
        "E1",
        "2026-09-26T04:21:23.054Z",
        "pay-core",
        "attempt P26181962092683 SUCCESS 50.00 CNY",
        kind="order_event",
        source="orders",
        index="payment_events",
        doc_id="attempt:P26181962092683:SUCCESS:2026-09-26T04:21:23.054Z",
    )
    e2 = cite(
        "E2",
        "2026-09-26T04:21:53.047Z",
        "pay-core",
        "attempt P26391765069667 SUCCESS 50.00 CNY",
        kind="order_event",
        source="orders",
        index="payment_events",
        doc_id="attempt:P26391765069667:SUCCESS:2026-09-26T04:21:53.047Z",
    )
    e3 = cite(
        "E3",
        "2026-09-26T04:21:24.038Z",
        "pay-core",
        "轮询超时，为 SO20264242147780 新建 P26391765069667",
        index=index,
        doc_id="cdQjmZrN0000153a",
    )
    e4 = cite(
        "E4",
        "2026-09-26T04:21:56.036Z",
        "pay-notify",
        "P26391765069667 SUCCESS 验签通过，SO20264242147780 已有成功支付单",
        index=index,
        doc_id="cdQjmZrN00001557",
    )
    window = Window(start="2026-09-26T04:10:43Z", end="2026-09-26T04:32:00Z")
    baseline = Window(start="2026-09-26T03:10:43Z", end="2026-09-26T04:10:43Z")

    def event(entity: str, entity_id: str, state: str, raw: str, at: str) -> PaymentAttempt:
        return PaymentAttempt(
            order_id="SO20264242147780",
            entity=entity,
            entity_id=entity_id,
            state=state,
            raw_state=raw,
            channel="wechatpay",
            amount_minor=5000,
            currency="CNY",
            at=at,
        )

    return with_id(
        ProblemSnapshot(
            schema_version="1.0",
            snapshot_id="",
            ticket=TicketRecord(
                id="TK-24182",
                system="file",
                title="扣了两次钱",
                description="一个订单扣了我两笔一样的钱。会员编号 u6081503。",
                created_at="2026-09-26T13:57:43+08:00",
                language="zh",
                customer_id="u6081503",
            ),
            scope=ScopeRecord(
                window=window,
                baseline=baseline,
                anchor="2026-09-26T04:20:43.033Z",
                reason=Text(en="The customer's only order of that day.", zh="该用户当天唯一的订单。"),
                identifiers=[Identifier(kind="customer_id", value="u6081503", found_in="description")],
                hops=[Hop(via="customer -> orders", source="orders", start="u6081503", found=["SO20264242147780"])],
                focus_orders=["SO20264242147780"],
                services=["mall-order", "pay-core", "pay-notify"],
                channels=["wechatpay"],
            ),
            diagnosis=Diagnosis(
                abstained=False,
                confidence=0.97,
                summary=Text(
                    en="Order SO20264242147780 was charged twice, 50.00 CNY each: a second trade was opened after a query timed out.",
                    zh="订单 SO20264242147780 被扣款两次，每次 50.00 元：查单超时后换单号又扣了一次。",
                ),
                fault_class="order_state",
                fault_subclass="duplicate_charge",
                seed_class="other",
                class_name=Text(en="Order-state inconsistency / conflict", zh="订单状态不一致或冲突"),
                candidates=[
                    Candidate(
                        fault_class="order_state",
                        fault_subclass="duplicate_charge",
                        probability=0.97,
                        findings=["F1", "F2", "F3"],
                    ),
                    Candidate(
                        fault_class="duplicate_idempotency",
                        fault_subclass="duplicate_order_no",
                        probability=0.02,
                        findings=["F2"],
                    ),
                ],
                location=Location(service="pay-core", channel="wechatpay"),
                owner="us",
                first_action=Text(
                    en="Refund the later charge, P26391765069667.", zh="退还后一笔扣款 P26391765069667。"
                ),
            ),
            findings=[
                Finding(
                    id="F1",
                    kind="order_rule.R04",
                    statement=Text(
                        en="R04: two paid attempts of one order with different transaction ids, 100.00 of 50.00 CNY.",
                        zh="R04：同一订单有两笔成功支付，交易号不同，合计 100.00，应付 50.00 元。",
                    ),
                    evidence=[e1, e2],
                    weight=3.6,
                    supports="order_state",
                    subclass="duplicate_charge",
                ),
                Finding(
                    id="F2",
                    kind="order_rule.R18",
                    statement=Text(
                        en="R18: a new trade number was made one second after the first one's query timed out.",
                        zh="R18：首笔查单超时后 1 秒即换单号重试。",
                    ),
                    evidence=[e3],
                    weight=1.5,
                    supports="order_state",
                    subclass="duplicate_charge",
                ),
                Finding(
                    id="F3",
                    kind="callback.second_success",
                    statement=Text(
                        en="pay-notify saw a second success for an order that was already paid.",
                        zh="pay-notify 收到第二笔成功回调，订单此前已支付。",
                    ),
                    evidence=[e4],
                    weight=0.8,
                    supports="order_state",
                    subclass="duplicate_charge",
                ),
            ],
            checks=[
                Check(
                    id="R06",
                    outcome="healthy",
                    statement=Text(en="Amounts of order and channel agree.", zh="订单与渠道金额一致。"),
                ),
                Check(
                    id="R09",
                    outcome="healthy",
                    statement=Text(en="Both callbacks passed verification.", zh="两次回调验签均通过。"),
                ),
                Check(id="R04", outcome="found", statement=Text(en="Charged twice.", zh="重复扣款。")),
                *rules_not_evaluated(14, 15, 16, en="no refund rows.", zh="没有退款记录。"),
                *rules_not_evaluated(22, en="no reconciliation file.", zh="没有对账单。"),
            ],
            coverage=[
                Coverage(
                    source="logs-prod",
                    kind="elasticsearch",
                    what="logs",
                    status="ok",
                    asked="logs-app-*",
                    matched=6708,
                    fetched=6708,
                    used=6708,
                ),
                Coverage(
                    source="orders",
                    kind="sqlalchemy",
                    what="order_events",
                    status="ok",
                    asked="payment_events",
                    matched=44,
                    fetched=44,
                    used=44,
                ),
                Coverage(
                    source="traces",
                    kind="jaeger",
                    what="spans",
                    status="failed",
                    asked="/api/traces of 3 services",
                    error="traces.internal:16686 did not answer within 4 s",
                ),
            ],
            template_totals=TemplateTotals(
                lines=6708,
                incident=1780,
                baseline=4928,
                outside=0,
                templates=131,
                listed=1,
                unlisted_templates=130,
                unlisted_lines=6707,
            ),
            templates=[
                Template(
                    id="T01",
                    text="轮询超时，为 <*> 新建 <*>",
                    incident_count=1,
                    baseline_count=0,
                    change="new",
                    p_value=0.27,
                    focus_count=1,
                    levels={"WARN": 1},
                    services={"pay-core": 1},
                    examples=[e3],
                )
            ],
            orders=[
                OrderState(
                    order_id="SO20264242147780",
                    channel="wechatpay",
                    amount_minor=5000,
                    currency="CNY",
                    state="PAID",
                    raw_state="processing",
                    at="2026-09-26T04:21:57.087Z",
                    history=["CREATED", "AWAITING_PAYMENT", "PAID"],
                )
            ],
            payment_attempts=[
                event("attempt", "P26181962092683", "AWAITING_PAYMENT", "NOTPAY", "2026-09-26T04:20:43.357Z"),
                event("attempt", "P26181962092683", "PAID", "SUCCESS", "2026-09-26T04:21:23.054Z"),
                event("attempt", "P26391765069667", "AWAITING_PAYMENT", "NOTPAY", "2026-09-26T04:21:28.108Z"),
                event("attempt", "P26391765069667", "PAID", "SUCCESS", "2026-09-26T04:21:53.047Z"),
                event("callback", "cb_P26181962092683", "PAID", "SUCCESS", "2026-09-26T04:21:54.065Z"),
                event("callback", "cb_P26391765069667", "PAID", "SUCCESS", "2026-09-26T04:21:56.069Z"),
            ],
            spans=[],
            redaction=Redaction(total=2, counts={"phone": 2}),
            provenance=PROVENANCE,
        )
    )


def log_hole() -> ProblemSnapshot:
    """English, PayPal: the log has a hole where the failure happened, so the document abstains."""
    e1 = cite(
        "E1",
        "2026-09-08T06:04:48.326Z",
        "pay-core",
        "attempt T26292818734638 CREATE_FAILED 48.00 EUR",
        kind="order_event",
        source="bundle",
        index="orders.csv",
        doc_id="attempt:T26292818734638:CREATE_FAILED:2026-09-08T06:04:48.326Z",
    )
    e2 = cite(
        "E2",
        "2026-09-08T06:16:20.011Z",
        "pay-channel",
        "WARN retrying POST /v2/checkout/orders (attempt 2)",
        source="bundle",
        index="logs-app-2026.09.08",
        doc_id="kQx1000007b1",
    )
    window = Window(start="2026-09-08T05:54:46Z", end="2026-09-08T06:14:46Z")
    baseline = Window(start="2026-09-08T04:54:46Z", end="2026-09-08T05:54:46Z")
    hole = Window(start="2026-09-08T05:55:00Z", end="2026-09-08T06:15:00Z")
    return with_id(
        ProblemSnapshot(
            schema_version="1.0",
            snapshot_id="",
            ticket=TicketRecord(
                id="TK-83164",
                system="file",
                title="Cannot check out",
                description="Cannot check out since lunch. My phone is [phone:…3131], it was about 14:00.",
                created_at="2026-09-08T15:08:46+08:00",
                language="en",
                customer_id="u9354257",
            ),
            scope=ScopeRecord(
                window=window,
                baseline=baseline,
                anchor="2026-09-08T06:04:46.759Z",
                reason=Text(en='"about 14:00" in the ticket\'s zone.', zh="工单所在时区的“约 14:00”。"),
                identifiers=[
                    Identifier(kind="phone_tail", value="3131", found_in="description"),
                    Identifier(kind="order_id", value="M20262556526477", found_in="bundle"),
                ],
                hops=[Hop(via="phone tail -> orders", source="bundle", start="3131", found=["M20262556526477"])],
                focus_orders=["M20262556526477"],
                channels=["paypal"],
            ),
            diagnosis=Diagnosis(
                abstained=True,
                confidence=0.34,
                summary=Text(
                    en="The payment was refused within two seconds, but no log line of those 20 minutes exists, so the cause cannot be told.",
                    zh="支付在两秒内被拒，但这 20 分钟没有任何日志，无法判断原因。",
                ),
                candidates=[
                    Candidate(
                        fault_class="interface_fault",
                        fault_subclass="connect_failed",
                        probability=0.34,
                        findings=["F1", "F2"],
                    ),
                    Candidate(
                        fault_class="param_config", fault_subclass="config_missing", probability=0.27, findings=["F1"]
                    ),
                    Candidate(
                        fault_class="customer_decline",
                        fault_subclass="issuer_declined",
                        probability=0.16,
                        findings=["F1"],
                        against=["F2"],
                    ),
                    Candidate(fault_class="unknown", fault_subclass="unspecified", probability=0.23),
                ],
                missing=[
                    Missing(
                        source="application logs",
                        service="pay-channel",
                        window=hole,
                        question=Text(
                            en="Why are there no lines for these 20 minutes, and can the hosts' own files be sent?",
                            zh="这 20 分钟为何没有日志？能否提供主机上的原始日志文件？",
                        ),
                    ),
                    Missing(
                        source="PayPal",
                        question=Text(
                            en="What does PayPal show for trade T26292818734638: no request, a refusal, or an error?",
                            zh="PayPal 后台对交易 T26292818734638 显示什么：无请求、拒绝还是错误？",
                        ),
                    ),
                ],
                location=Location(channel="paypal"),
                owner="us (SRE)",
                first_action=Text(en="Query the trade at PayPal before any retry.", zh="重试前先向 PayPal 查单。"),
            ),
            findings=[
                Finding(
                    id="F1",
                    kind="order_rule.attempt_failed",
                    statement=Text(
                        en="The attempt ended as CREATE_FAILED 1.2 s after it began.",
                        zh="支付单创建 1.2 秒后失败（CREATE_FAILED）。",
                    ),
                    evidence=[e1],
                    weight=0.6,
                    supports="interface_fault",
                ),
                Finding(
                    id="F2",
                    kind="exception_family.retry",
                    statement=Text(
                        en="After the hole, pay-channel still retries calls to PayPal.",
                        zh="日志空洞之后 pay-channel 仍在重试 PayPal 调用。",
                    ),
                    evidence=[e2],
                    weight=0.5,
                    supports="interface_fault",
                    subclass="connect_failed",
                    about_focus=False,
                ),
            ],
            checks=[
                Check(id="R04", outcome="healthy", statement=Text(en="No second charge.", zh="没有重复扣款。")),
                Check(
                    id="channel_code",
                    outcome="not_evaluated",
                    statement=Text(
                        en="Channel codes: no channel answer in the window.", zh="渠道错误码：时间窗内没有渠道应答。"
                    ),
                ),
                Check(
                    id="latency",
                    outcome="not_evaluated",
                    statement=Text(en="Latency: no spans of the focus order.", zh="耗时：没有该订单的调用链。"),
                ),
                *rules_not_evaluated(
                    *range(5, 26), en="no callback, refund or query rows.", zh="没有回调、退款或查单记录。"
                ),
            ],
            coverage=[
                Coverage(
                    source="bundle",
                    kind="bundle",
                    what="logs",
                    status="partial",
                    asked="logs/*.ndjson.gz",
                    window=Window(start=baseline.start, end=window.end),
                    matched=2620,
                    fetched=2620,
                    used=2620,
                    notes=["no line from 05:55:00 to 06:15:00 UTC: a hole of 20 min"],
                ),
                Coverage(source="bundle", kind="bundle", what="spans", status="empty", asked="traces/*.json"),
                Coverage(
                    source="bundle",
                    kind="bundle",
                    what="order_events",
                    status="ok",
                    asked="orders.csv",
                    matched=39,
                    fetched=39,
                    used=39,
                ),
            ],
            template_totals=TemplateTotals(
                lines=2620,
                incident=0,
                baseline=2100,
                outside=520,
                templates=96,
                unlisted_templates=96,
                unlisted_lines=2620,
            ),
            templates=[],
            orders=[
                OrderState(
                    order_id="M20262556526477",
                    channel="paypal",
                    amount_minor=4800,
                    currency="EUR",
                    state="AWAITING_PAYMENT",
                    raw_state="1",
                    at="2026-09-08T06:04:46.841Z",
                    history=["CREATED", "AWAITING_PAYMENT"],
                )
            ],
            payment_attempts=[
                PaymentAttempt(
                    order_id="M20262556526477",
                    entity="attempt",
                    entity_id="T26292818734638",
                    state="FAILED",
                    raw_state="CREATE_FAILED",
                    channel="paypal",
                    amount_minor=4800,
                    currency="EUR",
                    at="2026-09-08T06:04:48.326Z",
                )
            ],
            spans=[],
            redaction=Redaction(total=1, counts={"phone": 1}),
            provenance=PROVENANCE,
        )
    )


SAMPLES: dict[str, ProblemSnapshot] = {
    "dns_failure": dns_failure(),
    "wechat_signature": wechat_signature(),
    "duplicate_charge": duplicate_charge(),
    "log_hole": log_hole(),
}

# The offset, in hours, in which each sample's ticket was written.
OFFSETS: dict[str, int] = {"dns_failure": -8, "wechat_signature": 8, "duplicate_charge": 8, "log_hole": 8}


def run_record(snapshot: ProblemSnapshot, seconds: float = 1.4) -> RunRecord:
    """A run record as it lies beside `snapshot`."""
    return RunRecord(
        snapshot_id=snapshot.snapshot_id,
        started_at=f"{datetime(2026, 11, 3, tzinfo=UTC):%Y-%m-%dT%H:%M:%SZ}",
        seconds=seconds,
        steps={"collect": 0.7, "parse": 0.3},
        sources={"logs-prod": 0.5},
        host="desk-1",
        python="3.11.9",
        tool_version="0.1.0",
    )
