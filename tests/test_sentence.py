"""The customer's sentence: plain words with evidence for each clause, and a guard that lets nothing else through."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

import pipeline.faults
from cli import commands
from pipeline.desk.claims import check
from pipeline.desk.grading_options import GradingOptions
from pipeline.desk.sentence import customer_message, sentences
from pipeline.desk.severity import Failing, severity_of
from snapshots.model import Candidate, Clause, CustomerMessage, Diagnosis, ProblemSnapshot, Text, with_id
from snapshots.store import Store
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
    ],
)
def test_the_guard_refuses_what_no_customer_is_told_and_what_nothing_covers(en, zh, reason):
    assert reason in {one.reason for one in check(saying(en, zh), SAMPLE, sentences())}


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


def test_a_message_is_shown_and_one_of_ones_own_is_held_to_the_same(tmp_path):
    located_one = located("order_state", "paid_not_updated")
    told = with_id(msgspec.structs.replace(located_one, customer_message=customer_message(located_one)))
    Store(tmp_path / "store").put(told)

    def run(*more: str) -> Result:
        given = ["desk", "sentence", told.ticket.id, "--store", str(tmp_path / "store"), *more]
        return CliRunner().invoke(commands, given, catch_exceptions=False)

    assert run("-l", "en").output.startswith("Your payment is on record, and the order does not show it yet.")
    assert "(F1)" in run("-l", "zh").output
    covered = run("--check", "Your payment is on record, please do not pay again.")
    assert (covered.exit_code, covered.output) == (0, "Nothing speaks against it.\n")
    promised = run("--check", "The server had a timeout, we will refund you within two days.")
    assert promised.exit_code == 9
    for reason in ("uncovered: refund", "jargon: server", "promise: will"):
        assert f"Refused, {reason}" in promised.output
