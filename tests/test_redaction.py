"""Promises of parsers.redaction."""

from __future__ import annotations

import random
import time

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers.redaction.redactor import Redactor
from parsers.redaction.settings import RedactionSettings
from parsers.redaction.text import redact, redact_array

GONE = [
    ("card 4242 4242 4242 4242 exp", "card [card:…4242] exp", "card"),
    ("4242-4242-4242-4242", "[card:…4242]", "card"),
    ("卡号：6222021234567890123", "卡号：[card:…0123]", "card"),
    ("amex 378282246310005", "amex [card:…0005]", "card"),
    ("下单手机号 18265354057，谢谢", "下单手机号 [phone:…4057]，谢谢", "phone"),
    ("+86 138-0013-8000", "[phone:…8000]", "phone"),
    ("+44 20 7946 0958", "[phone:…0958]", "phone"),
    ("+27 82 123 4567", "[phone:…4567]", "phone"),
    ("a=%2B2348031234567", "a=[phone:…4567]", "phone"),
    ("phone: 415-555-2671", "phone: [phone:…2671]", "phone"),
    ("身份证 11010519491231002X", "身份证 [id-number]", "id_number"),
    ("DE89 3704 0044 0532 0130 00", "[iban:…3000]", "iban"),
    ("mail a.b+c@example.co.uk.", "mail [email].", "email"),
    ("Authorization: Bearer abcdefghijklmnop.qrst", "Authorization: [auth]", "auth"),
    ("got bearer AAAABBBBCCCCDDDDEEEE", "got bearer [auth]", "auth"),
    ('Authorization: WECHATPAY2-SHA256-RSA2048 mchid="1900",signature="xx=="', "Authorization: [auth]", "auth"),
    ("Cookie: sid=abc; theme=dark", "Cookie: [cookie]", "cookie"),
    ("Set-Cookie: sid=abc123; Path=/; Secure", "Set-Cookie: [cookie]", "cookie"),
    ('{"password":"hunter 2","x":1}', '{"password":"[secret]","x":1}', "secret"),
    ('body={\\"clientSecret\\":\\"hunter 2\\"}', 'body={\\"clientSecret\\":\\"[secret]\\"}', "secret"),
    ("loginPassword=abc&x=1", "loginPassword=[secret]&x=1", "secret"),
    ("密码：abc123", "密码：[secret]", "secret"),
    ("sign=..&key=192006250b4c09247ec02edce69f6a2d&x", "sign=..&key=[secret]&x", "secret"),
    ("apiv3_key=abcdef", "apiv3_key=[secret]", "secret"),
    ("postgresql://bob:s3cret@db/x", "postgresql://[secret]@db/x", "secret"),
    ("<api_key><![CDATA[abc]]></api_key>", "<api_key>[secret]</api_key>", "secret"),
    ("cvv 123", "cvv [cvv]", "cvv"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "[jwt]", "jwt"),
    ("sk_live_" + "abcdefghijklmnop1234", "[api-key]", "api_key"),
    ("whsec_" + "abcdefghijklmnop1234", "[api-key]", "api_key"),
    ("AKIA" + "ABCDEFGHIJKLMNOP", "[api-key]", "api_key"),
    ("GET /pay?mail=zhang.san%40example.com&x=1", "GET /pay?mail=[email]&x=1", "email"),
    ("mail=zhang.san%2540example.com", "mail=[email]", "email"),
    ('"q":"to\\u003dli\\u0040example.com"', '"q":"to\\[email]"', "email"),
    ("next=%2Fpay%3Ftel%3D13800138000%26x", "next=%2Fpay%3Ftel%3D[phone:…8000]%26x", "phone"),
    ("tel=%2B442079460958", "tel=[phone:…0958]", "phone"),
    ("tel\\u003d13800138000\\u0026x", "tel\\u003d[phone:…8000]\\u0026x", "phone"),
    ("a%26password%3Dhunter2", "a%26password%3D[secret]", "secret"),
    ("card%3D4111111111111111", "card%3D[card:…1111]", "card"),
    ("身份证号：110105 19491231 002X", "身份证号：[id-number]", "id_number"),
    ("110105 19491231 002X", "[id-number]", "id_number"),
    # What a word names needs no checksum: it is the customer's all the same where he mistyped it.
    ("身份证 110105491231002", "身份证 [id-number]", "id_number"),
    ("idCard=110105194912310021", "idCard=[id-number]", "id_number"),
    ("护照号码 E12345678", "护照号码 [id-number]", "id_number"),
    ("body=eyJwaG9uZSI6IjEzODAwMTM4MDAwIn0=&x", "body=[encoded]&x", "encoded"),
    ("body=W3sicGhvbmUiOiIxMzgwMDEzODAwMCJ9XQ%3D%3D&x", "body=[encoded]&x", "encoded"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "[private-key]", "private_key"),
]


@pytest.mark.parametrize(("text", "masked", "kind"), GONE, ids=[f"{kind}-{n}" for n, (_, _, kind) in enumerate(GONE)])
def test_each_secret_becomes_its_marker_and_is_counted_once(text: str, masked: str, kind: str) -> None:
    assert redact(text) == (masked, {kind: 1})


@pytest.mark.parametrize(
    "text",
    [
        "订单 SO20265958286236 置为已支付，渠道流水 2026328382053181871975338586",
        "收到 PY26698247539818 微信 420001435970746917423272764",
        "order 4242424242424242 is paid",
        "trace_id=a4eeb24e3f4f8f181a8d616217703229 span=1353c7e5f902c379",
        "2026-09-04 22:58:07.739 INFO  [http-nio-9216-exec-5] 耗时=742ms",
        "@timestamp 2026-11-23T10:02:31+0800 epoch 1795430000000",
        "idempotency_key=abc-123 for key 'uk_out_trade_no' publicKey=MIIB",
        "Payment request failed. Invalid token. token expired, max_tokens: 100",
        "phone_tail: 4057, cvc_check=pass, response_code=402",
        "5TY05013RG002845M pi_3Q2Fj9r6OW5Dky63z1YFMyr",
        "connect to 10.0.0.1:3306 refused",
        "4242 4242 4242 4243",
        "order_id%3D4242424242424242%26paid order_no\\u003d4242424242424242",
        "%E8%AE%A2%E5%8D%95%2020265958286236 45%13 %1380013",
        "身份证已过期 passport strategy 12345678, idcard verify failed E10002",
        "trade 110105 19491231 0021",
        "11010519491231002Y",
    ],
)
def test_order_numbers_traces_times_and_plain_words_stay(text: str) -> None:
    assert redact(text) == (text, {})


def test_hardly_any_random_number_with_an_order_word_before_it_is_taken_for_a_card() -> None:
    chance = random.Random(7)
    texts = [f"订单 {chance.randrange(10**15, 10**16)} 单号={chance.randrange(10**13, 10**19)}" for _ in range(3000)]
    assert redact_array(pa.array(texts))[1] == {}


def test_allowed_identifiers_stay_unless_a_word_says_phone_or_card() -> None:
    allow = ["13800138000", "4111111111111111"]
    assert redact("13800138000 4111111111111111", allow=allow)[0] == "13800138000 4111111111111111"
    assert (
        redact("手机 13800138000, card no 4111111111111111", allow=allow)[0]
        == "手机 [phone:…8000], card no [card:…1111]"
    )


def test_addresses_and_own_patterns_go_when_configured() -> None:
    own = RedactionSettings(ip=True, patterns={"name": r"收货人[:：]\s*(\p{Han}{2,4})"})
    assert redact("收货人：张三丰 10.0.0.1 fe80::1", settings=own) == ("收货人：[name] [ip] [ip]", {"ip": 2, "name": 1})
    assert redact("a@b.co", settings=RedactionSettings(off=frozenset({"email"}))) == ("a@b.co", {})


def test_a_bad_own_pattern_is_named() -> None:
    with pytest.raises(ValueError, match="street"):
        Redactor(RedactionSettings(patterns={"street": "(?=x)"}))


def test_nested_values_are_redacted_by_key_and_by_text_and_none_is_lost() -> None:
    redactor = Redactor()
    value = {
        "password": "a b",
        "cvv": 123,
        "phone": 4155552671,
        "a@b.co": [1, None, {"n": "call 13800138000"}],
        "c@b.co": 2.5,
    }
    assert redactor.redact_value(value) == {
        "password": "[secret]",
        "cvv": "[cvv]",
        "phone": "[phone:…2671]",
        "[email]": [1, None, {"n": "call [phone:…8000]"}],
        "[email]#2": 2.5,
    }
    assert redactor.counts == {"secret": 1, "cvv": 1, "phone": 2, "email": 2}
    assert redactor.total == 6


def test_nested_values_that_hold_nothing_keep_their_types() -> None:
    value = {"amount": 46800, "id": 20263652886371, "ok": True, "list": [1.5, None, "x"], "phone_tail": "4057"}
    assert Redactor().redact_value(value) == value


def test_nulls_empties_and_chunks_come_back_as_they_were() -> None:
    array = pa.chunked_array([["a", None, "13800138000"], [], [""]], pa.string())
    done, counts = redact_array(array)
    assert done.to_pylist() == ["a", None, "[phone:…8000]", ""]
    assert done.num_chunks == array.num_chunks
    assert counts == {"phone": 1}


PIECES = st.sampled_from(
    [text for text, _, _ in GONE]
    + [
        "password",
        "=",
        ":",
        '"',
        "'",
        " ",
        "[",
        "]",
        "token=",
        "Cookie: ",
        "authorization: ",
        "Bearer ",
        "+86",
        ",",
        "-",
        "…",
        "手机",
        "卡号 ",
    ]
    + [
        "[secret]",
        "[card:…4242]",
        "[phone:…4057]",
        "key=",
        "://",
        "@",
        "\\",
        "\n",
        "1",
        "4242",
        "<secret>",
        "</secret>",
        "<![CDATA[",
        "]]>",
    ]
)
TEXTS = st.lists(st.one_of(PIECES, st.text(max_size=4)), max_size=12).map("".join)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_redacting_twice_is_redacting_once(text: str) -> None:
    once, _ = redact(text)
    assert redact(once) == (once, {})


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, max_size=6))
def test_a_column_gives_what_its_strings_give_one_by_one(texts: list[str]) -> None:
    padded = texts + ["nothing here"] * 80  # long enough for the column's own way
    done, counts = redact_array(pa.array(padded, pa.string()))
    singles = [redact(text) for text in texts]
    assert done.to_pylist()[: len(texts)] == [text for text, _ in singles]
    assert sum(counts.values()) == sum(sum(c.values()) for _, c in singles)


@pytest.mark.parametrize(
    "text",
    [
        "4" * 10**6,
        "a@" * 500_000,
        "password" + " " * 10**6,
        "4242 " * 200_000,
        "1:" * 400_000,
        "key=" * 250_000,
        "DE89 " * 200_000,
    ],
    ids=["digits", "at", "spaces", "groups", "colons", "keys", "iban"],
)
def test_a_megabyte_made_to_hurt_takes_linear_time(text: str) -> None:
    start = time.perf_counter()
    redact(text, settings=RedactionSettings(ip=True))
    assert time.perf_counter() - start < 5
