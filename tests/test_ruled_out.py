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


def test_what_ordinary_payments_say_as_well_clears_nothing():
    assert detect(case_of(usual_lines())).found == ()
