"""The customer's sentence: plain words with evidence for each clause, and a guard that lets nothing else through."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import pipeline.faults
from cli import commands
from pipeline.commands.setting_up import examples_folder
from pipeline.desk.claims import check
from pipeline.desk.grading_options import GradingOptions
from pipeline.desk.sentence import customer_message, sentences
from pipeline.desk.severity import Failing, severity_of
from snapshots.model import Candidate, Clause, CustomerMessage, Diagnosis, ProblemSnapshot, Text
from tests.hostile import hostile
from tests.snapshots_samples import SAMPLES

TAXONOMY = Path(pipeline.faults.__file__).with_name("fault_taxonomy.csv")
FAULTS = [(row["class"], row["subclass"]) for row in csv.DictReader(TAXONOMY.read_text(encoding="utf-8").splitlines())]
SAMPLE = SAMPLES["dns_failure"]


def located(fault_class: str, subclass: str | None) -> ProblemSnapshot:
    """The sample with that fault located, by its first finding."""
    first = msgspec.structs.replace(SAMPLE.findings[0], supports=fault_class, subclass=subclass)
    candidate = Candidate(fault_class=fault_class, fault_subclass=subclass, probability=0.9, findings=["F1"])
    diagnosis = Diagnosis(
        abstained=False,
        confidence=0.9,
        summary=Text(en="-", zh="-"),
        fault_class=fault_class,
        fault_subclass=subclass,
        candidates=[candidate],
    )
    return msgspec.structs.replace(SAMPLE, findings=[first, *SAMPLE.findings[1:]], diagnosis=diagnosis, orders=[])


@pytest.mark.parametrize(("fault_class", "subclass"), FAULTS, ids="/".join)
def test_every_fault_has_a_sentence_that_the_guard_lets_through(fault_class, subclass):
    """With what the customer can do now, in both languages, each clause citing records of the document."""
    snapshot = located(fault_class, subclass)
    message = customer_message(snapshot)
    assert message is not None
    assert check(message, snapshot, sentences()) == []
    assert len(message.clauses) >= 2
    refs = {e.ref for finding in snapshot.findings for e in finding.evidence}
    assert all(clause.evidence and set(clause.evidence) <= refs for clause in message.clauses)
    if fault_class != "unknown":
        said = sentences().of(fault_class, subclass)
        assert said is not None
        assert said.seen in [clause.statement for clause in message.clauses]


@pytest.mark.parametrize("name", SAMPLES)
def test_the_samples_are_told_without_a_refusal(name):
    message = customer_message(SAMPLES[name])
    assert message is None or check(message, SAMPLES[name], sentences()) == []


@pytest.mark.parametrize("name", SAMPLES)
def test_nothing_that_others_wrote_reaches_the_customer(name):
    """A document in which an attacker wrote every free text tells the same, or nothing."""
    attacked, calm = customer_message(hostile(name)), customer_message(SAMPLES[name])
    assert attacked is None or calm is None or "evil" not in attacked.en + attacked.zh


# What sends somebody to pay once more, where it is not said to look first or to leave it.
INVITES = re.compile(
    r"(?<!before you )(?<!do not )(?<!need to )\b(?:try again|try once more|pay again|pay with|pay at|by hand|another way to pay)\b|重试|再试|改用|重新支付|手动支付"
)


@pytest.mark.parametrize(("fault_class", "subclass"), FAULTS)
def test_who_says_that_money_is_gone_is_not_sent_to_pay_again(fault_class, subclass):
    base = located(fault_class, subclass)
    graded = severity_of(said(base, "I was charged, and the order is unpaid."), {}, Failing(), GradingOptions())
    assert graded.urgency.money_at_risk
    message = customer_message(msgspec.structs.replace(base, severity=graded))
    assert message is not None
    assert not INVITES.search(message.en), message.en
    assert not INVITES.search(message.zh), message.zh


@pytest.mark.parametrize(
    "fault", ["interface_fault/gateway_error", "internal_fault/db_error", "rate_limit/retry_exhausted"]
)
def test_where_nothing_shows_that_no_money_moved_the_customer_is_told_to_look_first(fault):
    """The order's records show a failed payment, or they do not."""
    base = located(*fault.split("/"))
    failed = msgspec.structs.replace(SAMPLE.findings[0], id="F9", kind="order_state.failed", about_focus=True)
    others = [one for one in base.findings if not one.kind.startswith("order_state.")]
    unknown = customer_message(msgspec.structs.replace(base, findings=others))
    known = customer_message(msgspec.structs.replace(base, findings=[*others, failed]))
    assert unknown is not None
    assert known is not None
    assert sentences().careful in [one.statement for one in unknown.clauses]
    assert sentences().careful not in [one.statement for one in known.clauses]


@pytest.mark.parametrize(("fault_class", "subclass"), FAULTS[::7])
def test_whose_order_is_paid_is_not_sent_to_pay_again(fault_class, subclass):
    base = located(fault_class, subclass)
    paid = msgspec.structs.replace(SAMPLE.findings[0], id="F9", kind="order_state.paid_ok", about_focus=True)
    order = msgspec.structs.replace(SAMPLE.orders[0], focus=True, state="PAID")
    message = customer_message(msgspec.structs.replace(base, findings=[base.findings[0], paid], orders=[order]))
    assert message is not None
    if "Your payment is on record." in message.en:
        assert not INVITES.search(message.en), message.en
        assert not INVITES.search(message.zh), message.zh


def said(snapshot: ProblemSnapshot, text: str) -> ProblemSnapshot:
    """`snapshot` of a ticket that says that."""
    return msgspec.structs.replace(
        snapshot, ticket=msgspec.structs.replace(snapshot.ticket, title="", description=text)
    )


def test_without_evidence_nothing_is_told():
    bare = [msgspec.structs.replace(one, evidence=[]) for one in SAMPLE.findings]
    assert customer_message(msgspec.structs.replace(SAMPLE, findings=bare)) is None


def test_an_undecided_ticket_is_told_that_the_cause_is_open():
    message = customer_message(SAMPLES["log_hole"])
    assert message is not None
    assert "原因" in message.zh


def located_by(kind: str, fault: str, *, state: str) -> ProblemSnapshot:
    """The sample with that fault located by a finding of that kind; the ticket's order is in `state`."""
    fault_class, _, subclass = fault.partition("/")
    found = located(fault_class, subclass)
    finding = msgspec.structs.replace(found.findings[0], kind=kind, about_focus=True)
    rest = [one for one in found.findings[1:] if not one.kind.startswith("order_state.")]
    order = msgspec.structs.replace(SAMPLES["duplicate_charge"].orders[0], focus=True, state=state)
    return msgspec.structs.replace(found, findings=[finding, *rest], orders=[order])


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("order_rule.R09", "signature_cert/notify_sign_failed"),
        ("order_rule.R10", "internal_fault/code_exception"),
        ("order_rule.R11", "internal_fault/db_error"),
        ("order_rule.R24", "merchant_account/binding_mismatch"),
        ("order_rule.R25", "internal_fault/mq_push_failed"),
    ],
)
def test_nobody_who_has_paid_is_told_to_pay_in_another_way(kind, fault):
    """Where the channel has the payment and the order does not show it, whatever failed on our side."""
    snapshot = located_by(kind, fault, state="AWAITING_PAYMENT")
    message = customer_message(snapshot)
    assert message is not None
    assert "订单尚未显示" in message.zh
    assert message.zh.endswith("请不要重复支付，并保留支付记录。")
    assert "another way" not in message.en
    assert check(message, snapshot, sentences()) == []


@pytest.mark.parametrize("fault", ["order_state/order_closed", "order_state/state_conflict"])
def test_nobody_who_has_paid_is_told_to_order_or_try_again(fault):
    """Though the order is closed, or cannot be changed."""
    found = located_by("channel_code.exact", fault, state="PAID")
    paid = msgspec.structs.replace(found.findings[1], kind="order_state.paid_ok", about_focus=True)
    message = customer_message(msgspec.structs.replace(found, findings=[found.findings[0], paid, *found.findings[2:]]))
    assert message is not None
    assert message.en.endswith("Please do not pay again, and keep the payment record.")


RULES = [
    ("R02", "order_state/state_conflict"), ("R05", "order_state/auth_capture_conflict"), ("R12", "order_state/state_conflict"),
    ("R13", "order_state/amount_mismatch"), ("R15", "order_state/refund_conflict"), ("R16", "order_state/refund_conflict"),
    ("R18", "duplicate_idempotency/duplicate_order_no"), ("R21", "order_state/auth_capture_conflict"),
    ("R22", "order_state/order_not_found"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "fault"), RULES)
def test_what_a_rule_saw_is_told_and_not_what_its_fault_means_elsewhere(rule, fault):
    """An amount that differs is not told of a record that belongs to another order, nor a refusal of a second capture."""
    snapshot = located_by(f"order_rule.{rule}", fault, state="PAID")
    message = customer_message(snapshot)
    usual = sentences().of(*fault.split("/"))
    assert message is not None
    assert usual is not None
    assert usual.seen.zh not in message.zh
    assert check(message, snapshot, sentences()) == []


def saying(en: str, zh: str = "您的请求已收到。", **given: Any) -> CustomerMessage:
    """A message that somebody wrote, citing the DNS finding and its first record."""
    clause = Clause(statement=Text(en=en, zh=zh), **{"findings": ["F1"], "evidence": ["E1"]} | given)
    return CustomerMessage(en=en, zh=zh, clauses=[clause])


@pytest.mark.parametrize(
    ("en", "zh", "reason"),
    [
        ("We could not reach api.stripe.com.", "您的请求没有送达。", "address"),
        ("Host 10.0.3.7 was away.", "您的请求没有送达。", "address"),
        ("See https://status.shop.example for news.", "您的请求没有送达。", "address"),
        ("The code was SIGN_ERROR.", "您的请求没有送达。", "code"),
        ("A SocketTimeoutException was thrown.", "您的请求没有送达。", "code"),
        ("Order 20268860516518 is open.", "您的请求没有送达。", "code"),
        ("The request did not get through.", "接口超时，请重试。", "jargon"),
        ("The API timed out.", "您的请求没有送达。", "jargon"),
        ("We will fix this.", "您的请求没有送达。", "promise"),
        ("It works again soon.", "您的请求没有送达。", "promise"),
        ("It is done within 2 hours.", "您的请求没有送达。", "promise"),
        ("The request did not get through.", "我们保证给您处理好。", "promise"),
        ("The request did not get through.", "款项将在3个工作日内退回。", "promise"),
        ("The request did not get through.", "我们会尽快修复。", "promise"),
        ("That was your own mistake.", "您的请求没有送达。", "blame"),
        ("The request did not get through.", "这是您操作不当造成的。", "blame"),
        ("The request did not get through.", "是银行的问题。", "blame"),
        ("The service pay-channel was away.", "您的请求没有送达。", "name"),
        ("Stripe did not answer.", "您的请求没有送达。", "name"),
        ("Call us at +86 138 0013 8000.", "您的请求没有送达。", "personal"),
        ("Write to anna@shop.example.", "您的请求没有送达。", "personal"),
        ("Two payments are on record.", "您的请求没有送达。", "uncovered"),
        ("Your refund is on record.", "您的请求没有送达。", "uncovered"),
        ("The balance did not cover it.", "您的请求没有送达。", "uncovered"),
        ("The request did not get through.", "您的款项已收到付款。", "uncovered"),
        ("Somebody had stolen the data.", "您的请求没有送达。", "uncovered"),
        ("Call pay-core again.", "您的请求没有送达。", "code"),
        ("The request did not get through.", "支付服务pay-core不可用。", "code"),
        ("The request did not get through, code 05.", "您的请求没有送达。", "code"),
        ("The request did not get through.", "错误码 E12。", "code"),
        ("The request did not get through (E1).", "您的请求没有送达。", "code"),
        ("It stands in /var/log/pay.", "您的请求没有送达。", "address"),
        ("Ask the machine db.corp about it.", "您的请求没有送达。", "address"),
        ("Redis is down.", "您的请求没有送达。", "jargon"),
        ("You are going to get it back.", "您的请求没有送达。", "promise"),
        ("It is fixed by Friday.", "您的请求没有送达。", "promise"),
        ("The request did not get through.", "半小时内到账。", "promise"),
        ("The request did not get through.", "预计三天到账。", "promise"),
        ("The request did not get through.", "款项会原路退回。", "promise"),
        ("The request did not get through.", "本周五前恢复。", "promise"),
        ("The request did not get through.", "卡号是您输错了。", "blame"),
        ("The bank made an error.", "您的请求没有送达。", "blame"),
    ],
)
def test_the_guard_refuses_what_no_customer_is_told_and_what_nothing_covers(en, zh, reason):
    assert reason in {one.reason for one in check(saying(en, zh), SAMPLE, sentences())}


HIDDEN = [
    ("API", "jargon"), ("timeout", "jargon"), ("SIGN_ERROR", "code"), ("api.stripe.com", "address"), ("保证", "promise"),
    ("服务器", "jargon"), ("13800138000", "code"), ("pay-channel", "name"), ("两小时内", "promise"),
]  # fmt: skip
WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}


@pytest.mark.parametrize(("word", "reason"), HIDDEN)
@given(st.data())
def test_no_way_of_writing_hides_a_word_from_the_guard(word, reason, data):
    """Full-width letters, characters that nobody sees, and gaps in Chinese read as if they were not there."""
    unseen = [
        "",
        "",
        "\u200b",
        "\u200d",
        "\u2060",
        "\u00ad",
        "\ufeff",
        "\ufe0f",
        *([" "] if not word.isascii() else []),
    ]
    written = "".join(
        data.draw(st.sampled_from([letter, letter.translate(WIDE)])) + data.draw(st.sampled_from(unseen))
        for letter in word
    )
    message = saying("The request did not get through.", f"您的请求 {written} 没有送达。")
    assert reason in {one.reason for one in check(message, SAMPLE, sentences())}


def test_the_sentence_that_the_desk_was_asked_for_is_let_through():
    """About a timeout: slow, in plain words, and that something is done about it."""
    located_slow = located("interface_fault", "timeout_unknown")
    message = saying("Your payment request was passed on slowly.", "您的支付请求传输较慢，我们正在优化通道。")
    assert check(message, located_slow, sentences()) == []


@pytest.mark.parametrize(
    ("en", "zh"),
    [
        ("Please sign in again and open the order.", "会员可在订单页查看退款进度。"),
        ("Use a pre-paid card, or choose another way to pay.", "请清除缓存后重新打开页面，今天或明天再试均可。"),
    ],
)
def test_plain_advice_is_no_promise_and_no_code(en, zh):
    assert {one.reason for one in check(saying(en, zh), SAMPLE, sentences())} <= {"uncovered"}


def test_a_clause_that_its_findings_cover_is_let_through():
    assert check(saying("Your payment request did not get through.", "您的请求没有送达。"), SAMPLE, sentences()) == []


@pytest.mark.parametrize(
    "given",
    [{"findings": []}, {"evidence": []}, {"findings": ["F99"]}, {"evidence": ["E99"]}, {"evidence": ["E1", "E3"]}],
)
def test_the_guard_refuses_a_clause_without_evidence_of_its_own(given):
    message = saying("The request did not get through.", **given)
    assert {one.reason for one in check(message, SAMPLE, sentences())} >= {"uncited"}


@given(st.text(min_size=1, max_size=60).filter(str.strip))
def test_the_guard_refuses_words_that_stand_in_no_clause(extra):
    message = saying("The request did not get through.")
    longer = msgspec.structs.replace(message, zh=message.zh + extra)
    assert "uncited" in {one.reason for one in check(longer, SAMPLE, sentences())}


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """Commands in a folder whose store holds the example of a duplicate charge, taken with a desk."""
    (tmp_path / "problem-snapshot.toml").write_text("[defaults]\nstore = 'store'\n[defaults.desk]\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    run = CliRunner()
    assert run.invoke(commands, ["take", str(examples_folder() / "TK-24182"), "-o", "json"]).exit_code in {0, 8}
    return lambda *given, told="": run.invoke(commands, ["desk", "sentence", "TK-24182", *given], input=told)


def test_the_command_tells_the_sentence_with_what_each_clause_rests_on(desk):
    shown = desk("-l", "en")
    assert shown.exit_code == 0
    whole, *clauses = shown.stdout.splitlines()
    assert whole.startswith("Two payments are on record for one order.")
    assert len(clauses) == 2
    assert all("(F" in one and ", E" in one for one in clauses)
    assert json.loads(desk("-o", "json").stdout)["zh"].startswith("同一订单有两笔支付记录。")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("同一订单有两笔支付记录，我们会尽快退款。", "承诺：会尽"),
        ("接口超时", "技术用语：接口"),
        ("Your data was stolen.", "已有发现中没有依据：stolen"),
    ],
)
def test_the_command_refuses_what_a_person_wrote_with_the_words_that_are_wrong(desk, words, said):
    found = desk("-l", "zh", "--check", "-", "--exit-code", told=words)
    assert found.exit_code == 9
    assert said in found.stdout


def test_the_command_lets_plain_covered_words_through(desk):
    found = desk(
        "-l", "en", "--check", "-", "--exit-code", told="Two payments are on record. Please keep both records."
    )
    assert (found.exit_code, found.stdout) == (0, "")
    assert "may be told" in found.stderr
    assert desk("--exit-code").exit_code == 2
    assert desk("--check", "-", told=" ").exit_code == 2
