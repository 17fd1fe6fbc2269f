"""Changes before the failure: in the words of tools and people, in versions, in a feed; and what is no change."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pipeline.evidence.changes import detect, kind_of_change
from tests.flow_samples import (
    ATTEMPT,
    ORDER,
    START,
    background,
    case_of,
    failed_order,
    hit,
    line,
    ndjson,
    order_row,
    span_row,
    take,
    usual_lines,
    write_bundle,
)

FAILED = [
    order_row(0, "order", ORDER, "pending"),
    order_row(0.05, "attempt", ATTEMPT, "NOTPAY"),
    order_row(0.1, "attempt", ATTEMPT, "PAYERROR"),
    order_row(0.15, "order", ORDER, "failed"),
]
OWN = line(1, f"pay {ORDER} started", "own", level="INFO", service="pay-core")

# As the tools and people themselves word it.
WORDS = {
    "deploy": (
        "Scaled up replica set pay-core-6d5f8c to 1",
        'deployment "pay-core" successfully rolled out',
        "Sync operation to 4f2a9c1 succeeded",
        "Deploying pay-core build #512 to production",
        "Starting PayCoreApplication v2.3.1 using Java 17.0.9 with PID 1",
        "Started PayCoreApplication in 8.213 seconds (process running for 9.1)",
        "systemd[1]: Started pay-core.service - Pay core",
        'Release "pay-core" has been upgraded. Happy Helming!',
        "rolled back pay-core to revision 41",
        "release pay-core v4.12.0 is live",
        "pay-core 发布完成，版本 4.12.0",
        "开始灰度，比例 10%",
        "执行回滚 pay-core 至 4.11.9",
        "新版本 4.12.0 已上线",
    ),
    "config": (
        "Refresh keys changed: [pay.wechat.notify-url]",
        "[fixed-nacos] [data-received] dataId=pay-core.yaml, group=DEFAULT_GROUP, md5=1f2e",
        "Auto update apollo changed value successfully, new value: 3000, key: pay.timeout",
        "feature flag new-checkout turned on for 100%",
        "configuration reloaded from /etc/pay/app.yml",
        "2026/03/04 09:50:00 [notice] 7#7: signal process started",
        "ConfigMap pay-core-env updated by ops",
        "property pay.channel.default changed from alipay to wechatpay",
        "配置中心推送：pay.timeout 由 3000 改为 300",
        "渠道配置已更新",
        "开关 new_checkout 已打开",
        "定时任务参数已修改",
    ),
    "certificate": (
        "The certificate has been successfully issued",
        "certificate apiclient_cert.p12 replaced by ops",
        "Congratulations, all renewals succeeded",
        "keystore reloaded, alias pay",
        "uploaded new certificate, serial 5F1C",
        "平台证书已更换，序列号 5F1C",
        "商户证书已续期",
    ),
    "key": (
        "api key rotated for merchant 1900000109",
        "webhook secret was updated in the console",
        "keys were rotated two hours before",
        "vault: secret pay/channel renewed",
        "APIv3 密钥已重置",
        "支付公钥切换完成",
        "密钥轮换完成",
    ),
    "schema": (
        'Migrating schema "pay" to version "12 - add fee"',
        "Successfully applied 1 migration to schema pay",
        "ChangeSet db/changelog/12.xml::12::li ran successfully in 15ms",
        "INFO [alembic.runtime.migration] Running upgrade 1ae3 -> 27c6, add fee",
        "ALTER TABLE pay_order ADD COLUMN fee BIGINT",
        "支付库表结构变更完成",
    ),
    "network": (
        "firewall rules updated by netops",
        "DNS record api.pay.example switched to 10.2.0.7",
        "egress proxy changed to squid-2",
        "出口IP 变更完成",
        "机房切换：流量迁移至上海二区",
    ),
    "version": (
        "wechatpay sdk upgraded from 0.2.11 to 0.2.12",
        "account API version moved to 2024-06-20",
        "微信支付 SDK 升级完成",
        "JDK 升级至 21",
    ),
}
ORDINARY = (
    "order 20260304 was paid",
    "Transaction rolled back because it has been marked as rollback-only",
    "事务回滚，未再次处理",
    "user changed password and settings",
    "access token refreshed",
    "handled request 12 in 3 ms",
    "cache miss for key pay:7, retrying",
    "订单状态更新为已支付",
    "customer updated card, ending 4242",
    "库存预占重试 2 次后成功",
    "connection released to pool",
    "signature verified with key id 7",
    "no changes in configuration detected",
    "dns cache refreshed late by 3s",
    "resolver cache updated in 4 ms",
    "DNS 缓存已刷新，耗时 3 秒",
    "package shipped to customer 2.5 kg",
    "package moved to warehouse 3.1",
    "order shipped, weight 2.50",
    "平台证书将于 3 月 20 日更换，请提前更新",
    "certificate will be replaced on March 20",
    "DNS switch scheduled for 02:00, record updated then",
    "planned: firewall rules updated by netops tonight",
    "upcoming: API version moved to 2024-06-20",
    "即将切换机房出口 IP",
)


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in WORDS.items() for text in texts])
def test_a_change_is_told_by_its_words(kind, text):
    assert kind_of_change(text) == kind


@pytest.mark.parametrize("text", ORDINARY)
def test_what_a_shop_writes_every_day_is_no_change(text):
    assert kind_of_change(text) is None


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in WORDS.items() for text in texts])
def test_a_change_is_found_in_the_logs_and_its_line_cited(kind, text):
    case = case_of([*usual_lines(), line(-300, text, "c", level="INFO", service="pay-core"), OWN], FAILED)
    (found,) = detect(case).found
    assert found.kind == f"change.{kind}"
    assert [c.doc_id for c in found.cites] == ["c"]
    assert "5 min" in found.statement.en
    assert found.supports is not None


def found_of(lines, events=FAILED, spans=()):
    return detect(case_of([*usual_lines(), *lines, OWN], events, spans)).found


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("planned maintenance completed: firewall rules updated", "network"),
        ("configuration reloaded. Workers will be restarted", "config"),
        ("平台证书已更换，新证书将在 10 分钟内生效", "certificate"),
        ("api key was rotated, old one will be revoked tomorrow", "key"),
        ("计划内变更：平台证书已更换，完成", "certificate"),
        ("DNS record api.pay.example switched to 10.2.0.7, ttl 60", "network"),
        ("shipment-service deployed v2.3.1 to production", "deploy"),
    ],
)
def test_a_change_that_happened_is_told_beside_what_is_to_come(text, kind):
    assert kind_of_change(text) == kind


def test_an_announcement_in_a_feed_is_no_change_either():
    told = line(-300, "new cluster will be used from 20 March", "c", level="INFO", service="ops", _index="changes")
    assert found_of([told]) == ()


def test_before_the_first_failure_is_said_only_of_a_failure_that_was_seen():
    change = line(-300, "configuration reloaded", "c", level="INFO", service="pay-core")
    failed, unknown = case_of([*usual_lines(), change, OWN], FAILED), case_of([*usual_lines(), change, OWN], FAILED[:2])
    assert (failed.failure_known, unknown.failure_known) == (True, False)
    assert "before the first failure" in detect(failed).found[0].statement.en
    seen = detect(unknown)
    for statement in (seen.found[0].statement, seen.checks[0].statement):
        assert "before the ticket's moment" in statement.en
        assert "首次失败" not in statement.zh


def test_a_change_after_the_failure_is_no_finding():
    assert found_of([line(400, "configuration reloaded", "c", service="pay-core")]) == ()


def test_a_line_after_the_failure_may_tell_of_an_earlier_change():
    (found,) = found_of([line(60, "keys: api key rotated 2h ago", "c", service="pay-core")])
    assert found.kind == "change.key"
    assert "told at" in found.statement.en


def test_what_recurs_all_the_time_is_routine():
    assert found_of([line(-3500 + 600 * i, "configuration reloaded", f"c{i}", level="INFO") for i in range(6)]) == ()


def test_a_line_about_an_order_is_no_change():
    assert found_of([line(-90, "config changed", "c", **{"labels.order_id": "SO1"})]) == ()
    assert found_of([line(2, f"config changed for {ORDER}", "c")]) == ()


def test_a_line_of_the_order_may_tell_of_a_change_well_before():
    (early,) = found_of(
        [line(-600, "release 3.4 live: other fields are sent", "c", level="INFO", **{"trace.id": "a" * 32})]
    )
    assert early.kind == "change.deploy"
    (later,) = found_of([line(2, f"{ORDER} not verified, endpoint secret was rolled 3h ago", "c")])
    assert (later.kind, later.supports) == ("change.key", "signature_cert")
    assert "told at" in later.statement.en


def test_a_step_that_other_orders_go_through_is_no_change():
    other = "SO20260304999999"
    rows = [*FAILED, order_row(-9, "order", other, "pending", order=other, customer="u9")]
    lines = [line(-500 - i, f"secret {i} was rotated 3h ago: {name}", f"c{i}") for i, name in enumerate((ORDER, other))]
    assert found_of(lines, rows) == ()


def test_the_lines_of_one_rollout_are_one_change():
    pods = [line(-300 + 20 * i, f"Scaled up replica set pay-core-{i} to {i}", f"p{i}", service="k8s") for i in range(6)]
    (found,) = found_of(pods)
    assert len(found.cites) == 4


def test_a_change_in_the_orders_own_services_comes_first():
    lines = [
        line(-200, "configuration reloaded", "far", service="search"),
        line(-300, "configuration reloaded", "own-service", service="pay-core"),
    ]
    first, second = found_of(lines)
    assert (first.service, second.service) == ("pay-core", "search")
    assert first.strength > second.strength


def paid(number, minutes):
    order, attempt = f"SO2026030420{number:04d}", f"PY2026030420{number:04d}"
    more = {"order": order, "customer": f"u77{number:05d}"}
    return [
        order_row(minutes, "order", order, "pending", **more),
        order_row(minutes + 0.05, "attempt", attempt, "SUCCESS", channel_txn_id=f"4200{number:024d}", **more),
        order_row(
            minutes + 0.1, "callback", f"cb{number}", "SUCCESS", out_trade_no=attempt, verified=True, http_answer=200, **more
        ),
        order_row(minutes + 0.15, "order", order, "processing", **more),
    ]  # fmt: skip


def test_where_others_went_through_since_a_change_is_context_only():
    change = line(-600, "configuration reloaded", "c", service="pay-core")
    rows = [row for i in range(4) for row in paid(i, -8 + i)]
    (found,) = found_of([change], [*FAILED, *rows])
    assert found.supports is None
    assert "4 of 4 after it" in found.statement.en
    (blamed,) = found_of([change], [*FAILED, *[row for i in range(4) for row in paid(i, -18 + i)]])
    assert blamed.supports == "internal_fault"
    assert "4 of 4 before it, 0 of 0 after it" in blamed.statement.en


def test_a_service_that_writes_another_version_has_changed():
    lines = [
        line(
            -1800 + 60 * i, f"pay {i}", f"v{i}", service="pay-core", **{"service.version": "4.11" if i < 20 else "4.12"}
        )
        for i in range(30)
    ]
    (found,) = found_of(lines)
    assert (found.kind, found.service) == ("change.version", "pay-core")
    assert "4.11 -> 4.12" in found.statement.en
    assert [c.doc_id for c in found.cites] == ["v20"]


def test_versions_that_run_side_by_side_are_no_change():
    lines = [
        line(-1800 + i, f"pay {i}", f"v{i}", service="pay-core", **{"service.version": "4.1" + str(i % 2)})
        for i in range(30)
    ]
    assert found_of(lines) == ()


def test_a_version_is_read_from_spans_too():
    spans = [
        span_row("b" * 32, f"s{i}", **{"@timestamp": START - timedelta(minutes=20 - i)})
        | {"attributes": '{"service.version":"%s"}' % ("1.0" if i < 9 else "1.1")}
        for i in range(15)
    ]
    (found,) = found_of([], spans=spans)
    assert found.kind == "change.version"
    assert found.cites[0].kind == "span"


def test_each_line_of_a_feed_of_changes_counts_whatever_its_words():
    feed = line(-300, "CHG-8812 by li, pay-core", "c", level=None, service="pay-core", _index="changes-2026.03.04")
    (found,) = found_of([feed])
    assert (found.kind, found.supports) == ("change.other", None)


def test_without_a_change_the_check_says_so():
    (check,) = detect(case_of(usual_lines(), FAILED)).checks
    assert check.outcome == "healthy"
    (check,) = detect(case_of([], FAILED)).checks
    assert check.outcome == "not_evaluated"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("account API version moved to 2024-06-20", ("interface_fault", "protocol_contract")),
        ("JDK upgraded to 21", ("interface_fault", "tls_failed")),
        ("pay-core upgraded to 4.12", ("internal_fault", "code_exception")),
        ("channel config changed: notify_url", ("param_config", "config_missing")),
        ("thread pool config changed", ("internal_fault", "internal_config")),
    ],
)
def test_what_a_change_may_have_broken_follows_from_what_was_changed(text, fault):
    (found,) = found_of([line(-300, text, "c", service="pay-core")])
    assert (found.supports, found.subclass) == fault


def test_a_file_of_changes_in_a_bundle_is_a_feed(tmp_path):
    """`logs/changes.ndjson`: nothing else is needed to pass changes in."""
    feed = [{k: v for k, v in hit(-300, "CHG-8812 approved by li", service="pay-core").items() if k[0] != "_"}]
    folder = write_bundle(tmp_path / "b", logs=[*background(), hit(1, f"pay {ORDER}")], orders=failed_order())
    (folder / "logs" / "changes.ndjson").write_bytes(ndjson(feed))
    kinds = {f.kind: f for f in take(folder).findings}
    assert "CHG-8812 approved by li" in kinds["change.other"].statement.en
