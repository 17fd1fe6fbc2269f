"""Gateway answers are found in any wrapping, with the most specific code first."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers.bodies.replies import may_hold_reply, read_replies

ALIPAY = {
    "alipay_trade_pay_response": {
        "code": "40004",
        "msg": "Business Failed",
        "sub_code": "ACQ.X_Y",
        "sub_msg": "余额不足",
    }
}
STRIPE = {
    "error": {
        "type": "card_error",
        "code": "card_declined",
        "decline_code": "insufficient_funds",
        "message": "No funds",
    }
}
# Text, channel, codes.
CASES: dict[str, tuple[str, str | None, list[tuple[str, str]]]] = {
    "alipay": (json.dumps(ALIPAY), "alipay", [("sub_code", "ACQ.X_Y"), ("code", "40004")]),
    "alipay scene": (
        'ErrorScene^_^40002^_^isv.invalid-signature^_^10.0.0.1^_^Linux^_^biz_content={"out_trade_no":"P1234"}^_^1ms',
        "alipay", [("sub_code", "isv.invalid-signature"), ("code", "40002")],
    ),
    "alipay unreached": (
        ("2026-11-23 10:05:07^_^alipay.trade.pay^_^2021^_^10.0.3.14^_^Linux^_^sdk^_^https://openapi.alipay.com/gateway.do^_^^_^"
        "Connection refused"), "alipay", [],
    ),
    "wechat v2": (
        ("<xml><return_code><![CDATA[SUCCESS]]></return_code><result_code><![CDATA[FAIL]]></result_code>"
        "<err_code><![CDATA[NOTENOUGH]]></err_code><err_code_des>余额不足</err_code_des></xml>"),
        "wechatpay", [("err_code", "NOTENOUGH"), ("result_code", "FAIL"), ("return_code", "SUCCESS")],
    ),
    "wechat map": (
        "返回结果：{return_code=SUCCESS, result_code=FAIL, err_code=NOTENOUGH, err_code_des=余额不足}",
        "wechatpay", [("err_code", "NOTENOUGH"), ("result_code", "FAIL"), ("return_code", "SUCCESS")],
    ),
    "wechat words": (
        "返回代码：SUCCESS，返回信息：OK，结果代码：FAIL，错误代码：NOTENOUGH，错误详情：余额不足",
        "wechatpay", [("错误代码", "NOTENOUGH"), ("结果代码", "FAIL"), ("返回代码", "SUCCESS")],
    ),
    "wechat v3": (
        'HTTP 400 Request-Id: 08E68E97CC0610DF0618AC86BCA80120082880CF05-268435461 {"code":"PARAM_ERROR","message":"x"}',
        "wechatpay", [("Request-Id", "268435461"), ("code", "PARAM_ERROR")],
    ),
    "stripe": (
        json.dumps(STRIPE), "stripe", [("decline_code", "insufficient_funds"), ("code", "card_declined"), ("type", "card_error")],
    ),
    "stripe logfmt": (
        "error_code=card_declined error_message='No funds.' error_param=None error_type=card_error message='Stripe v1 API error'",
        "stripe", [("error_code", "card_declined"), ("error_type", "card_error")],
    ),
    "paypal": (
        '{"name":"UNPROCESSABLE_ENTITY","details":[{"issue":"INSTRUMENT_DECLINED","description":"d"}],"debug_id":"90957fca"}',
        "paypal", [("details[].issue", "INSTRUMENT_DECLINED"), ("name", "UNPROCESSABLE_ENTITY")],
    ),
    "paypal nvp": ("ACK=Failure&L_ERRORCODE0=10486&L_SHORTMESSAGE0=x", "paypal", [("L_ERRORCODE0", "10486"), ("ACK", "Failure")]),
    "adyen": (
        '{"pspReference":"8815","refusalReason":"Expired Card","resultCode":"Refused","refusalReasonCode":"6"}',
        "adyen", [("refusalReasonCode", "6"), ("resultCode", "Refused")],
    ),
    "braintree": ('{"processor_response_code":"2001","processor_response_text":"x"}', "braintree", [("processor_response_code", "2001")]),
    "unionpay": ("respCode=05&respMsg=交易失败&orderId=P2026", "unionpay", [("respCode", "05")]),
    "checkout": ('{"status":"Declined","response_code":"20051","response_summary":"x"}', "checkout", [("response_code", "20051")]),
    "mercado pago": (
        '{"status":"rejected","status_detail":"cc_rejected_other_reason"}', "mercadopago", [("status_detail", "cc_rejected_other_reason")]
    ),
    "razorpay": (
        '{"error":{"code":"BAD_REQUEST_ERROR","description":"d","source":"customer","step":"s","reason":"payment_failed"}}',
        "razorpay", [("reason", "payment_failed"), ("code", "BAD_REQUEST_ERROR")],
    ),
    "mollie": (
        '{"status":422,"title":"Unprocessable Entity","detail":"d","_links":{"documentation":{"href":"https://docs.mollie.com"}}}',
        "mollie", [("status", "422")],
    ),
    "python": ("{'code': '40004', 'sub_code': 'ACQ.X_Y'}", "alipay", [("sub_code", "ACQ.X_Y"), ("code", "40004")]),
    "php": ("Array ( [code] => 40004 [sub_code] => ACQ.X_Y )", "alipay", [("sub_code", "ACQ.X_Y"), ("code", "40004")]),
    "java": ("ChannelRetMsg(channelErrCode=ORDERNOTEXIST, channelErrMsg=无此单)", None, [("channelErrCode", "ORDERNOTEXIST")]),
    "escaped": ('body="{\\"code\\":\\"SIGN_ERROR\\",\\"message\\":\\"m\\"}"', None, [("code", "SIGN_ERROR")]),
    "grpc": ("rpc error: code = ResourceExhausted desc = too many", None, [("code", "ResourceExhausted")]),
    "success": ('{"alipay_trade_query_response":{"code":"10000","msg":"Success"}}', "alipay", [("code", "10000")]),
}  # fmt: skip


@pytest.mark.parametrize(("text", "channel", "codes"), CASES.values(), ids=CASES)
def test_an_answer_is_read(text: str, channel: str | None, codes: list[tuple[str, str]]) -> None:
    assert [(reply.channel, list(reply.codes)) for reply in read_replies(text)] == [(channel, codes)]


@pytest.mark.parametrize("text", [text for text, *_ in CASES.values()], ids=CASES)
def test_the_column_test_misses_no_answer(text: str) -> None:
    assert may_hold_reply(pa.array([text, "order 20261117084545 marked paid", None])).to_pylist() == [
        True,
        False,
        False,
    ]


def test_message_status_address_and_numbers_come_along() -> None:
    text = 'POST https://api.stripe.com/v1/payment_intents HTTP 402 {"error":{"code":"card_declined","message":"No funds","charge":"ch_12345"}}'
    reply = read_replies(text)[0]
    assert (reply.channel, reply.message, reply.http_status) == ("stripe", "No funds", 402)
    assert (reply.url, reply.trade_ids) == ("https://api.stripe.com/v1/payment_intents", ("ch_12345",))


def test_words_behind_a_field_end_where_the_next_field_begins() -> None:
    reply = read_replies("adyen code=24 refusalReason=CVC Declined ref=PY26108012606224")[0]
    assert (reply.channel, reply.codes, reply.message) == ("adyen", (("code", "24"),), "CVC Declined")


def test_two_answers_are_two_replies() -> None:
    assert [reply.codes[0][1] for reply in read_replies(json.dumps(ALIPAY) + " then " + json.dumps(STRIPE))] == [
        "ACQ.X_Y", "insufficient_funds",
    ]  # fmt: skip


def test_entities_of_an_xml_are_not_expanded() -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa">]><xml><err_code>&a;</err_code><return_code>FAIL</return_code></xml>'
    assert all("aaaa" not in code for reply in read_replies(bomb) for _, code in reply.codes)


@pytest.mark.parametrize("text", ["", "ordinary words", "name=foo type=bar", "error: could not pay", "{}"])
def test_a_text_without_an_answer_gives_none(text: str) -> None:
    assert read_replies(text) == []


pieces = st.sampled_from(
    [text for text, *_ in CASES.values()]
    + ['{"', "}", "<xml>", "</", "^_^", "code=", "'", '\\"', "[", "]]>", "：", "\n"]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(pieces | st.text(max_size=6), max_size=6).map("".join))
def test_no_text_raises_and_codes_are_never_empty(text: str) -> None:
    for reply in read_replies(text):
        assert all(field and code for field, code in reply.codes)
        assert may_hold_reply(pa.array([text])).to_pylist() == [True]
