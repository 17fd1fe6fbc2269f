"""Ruled out: what a line calls in order is no longer a suspect; what it calls broken is never ruled out."""

from __future__ import annotations

import pytest

from pipeline.evidence.ruled_out import cleared, detect
from tests.flow_samples import ORDER, case_of, line, usual_lines


@pytest.mark.parametrize(
    ("text", "suspects"),
    [
        ("request failed; key fingerprint matches the platform's", ["keys"]),
        ("下单失败；公钥指纹与平台一致", ["keys"]),
        ("certificate serial verified, valid until 2031", ["certificate"]),
        ("client certificate: serial verified", ["certificate"]),
        ("证书序列号核对无误", ["certificate"]),
        ("resolver probe of api.channel.example ok 3ms", ["network"]),
        ("专线连通性无异常", ["network"]),
        ("other orders of the channel succeeded in the same minute", ["channel"]),
        ("同一时刻其他商户支付成功", ["channel"]),
        ("配置核对一致", ["configuration"]),
        ("other executes of the channel 200", ["channel"]),
    ],
)
def test_a_suspect_that_was_checked_is_cleared(text, suspects):
    assert cleared(text) == suspects


@pytest.mark.parametrize(
    "text",
    [
        "signature does not match",
        "key fingerprint differs from the platform's",
        "invalid signature",
        "验签不通过",
        "公钥指纹不一致",
        "certificate expired, was valid until yesterday",
        "resolver failed, cache ok",
        "check that the api key is valid",
        "请检查签名密钥是否正确",
        "other orders failed in the same minute",
        "没有通过签名校验",
        "GET /product/12 200",
        "product 200 added to cart",
        "POST /v1/sign 200",
        "config page ok",
        "meanwhile cache ok",
        "webhook signature valid",
        "支付通知，验签通过",
        "IPN signature OK, verified",
        "",
    ],
)
def test_what_is_broken_or_only_asked_for_is_not_cleared(text):
    assert cleared(text) == []


def test_a_cleared_suspect_is_cited_and_speaks_against_its_class():
    case = case_of([*usual_lines(), line(1, f"{ORDER} failed; key fingerprint matches the platform's", "odd")])
    (found,) = detect(case).found
    assert found.kind == "ruled_out.keys"
    assert (found.supports, found.against) == (None, ("signature_cert",))
    assert "key fingerprint matches" in found.cites[0].quote


def test_the_statement_quotes_the_line_and_claims_no_more():
    case = case_of([*usual_lines(), line(1, f"{ORDER} failed; key fingerprint matches the platform's", "odd")])
    statement = detect(case).found[0].statement
    assert 'a line of pay-channel says: "key fingerprint matches the platform\'s"' in statement.en
    case = case_of([*usual_lines(), line(1, f"{ORDER} failed; other executes in this second 200", "odd")])
    (found,) = detect(case).found
    assert found.statement.en.startswith("other calls of the channel went well")
    assert found.against == ("channel_outage", "interface_fault")


INCOMING = f"异步通知 {ORDER} 验签通过"


def test_a_callbacks_right_signature_clears_our_own_signature_never():
    assert detect(case_of([*usual_lines(), line(1, INCOMING, "odd")])).found == ()
    gate = line(1, f"{ORDER} 验签通过", "odd", service="notify-gate")
    assert detect(case_of([*usual_lines(), gate])).found == ()


def test_it_counts_where_a_callbacks_signature_is_what_failed():
    failed = line(2, f"callback of {ORDER}: invalid signature", "bad")
    (found,) = detect(case_of([*usual_lines(), line(1, INCOMING, "odd"), failed])).found
    assert found.kind == "ruled_out.keys"


@pytest.mark.parametrize("number", ["SO20260304777777", "order 4711", "payment_id=pi_3Nabcdefgh", "4200001234202603"])
def test_a_line_that_names_another_order_clears_nothing(number):
    lines = [*usual_lines(), line(1, f"{ORDER} failed", "own")]
    said = "key fingerprint 123456789012 matches the platform's"
    assert [f.kind for f in detect(case_of([*lines, line(1.2, said, "near")])).found] == ["ruled_out.keys"]
    assert detect(case_of([*lines, line(1.2, f"{said}, {number}", "near")])).found == ()


def test_what_ordinary_payments_say_as_well_clears_nothing():
    assert detect(case_of(usual_lines())).found == ()
