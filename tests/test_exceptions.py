"""Exceptions: the root cause down the chain decides, wrappers do not, and the place where it was thrown is named."""

from __future__ import annotations

import pytest

from parsers.stacktraces import Frame
from pipeline.evidence.exceptions import _FAMILIES, detect, family_of, whose
from pipeline.faults import taxonomy
from tests.flow_samples import ATTEMPT, ORDER, case_of, line, order_row, span_row, usual_lines

FAILED = [
    order_row(0, "order", ORDER, "pending"),
    order_row(0.1, "attempt", ATTEMPT, "PAYERROR"),
]
WRAPPED = (
    f"pay {ORDER} failed\ncom.acme.pay.PaymentException: charge failed\n\tat com.acme.pay.Client.charge(Client.java:40)\n"
    "Caused by: org.springframework.web.client.HttpClientErrorException: 400\n\tat org.springframework.web.X.y(X.java:9)\n"
    "Caused by: javax.net.ssl.SSLHandshakeException: PKIX path building failed\n"
    "\tat sun.security.ssl.Alert.create(Alert.java:131)\n\tat com.acme.pay.Client.send(Client.java:22)\n\t... 30 more"
)


def found_of(*messages, spans=(), level="ERROR", **more):
    lines = [line(1 + i, text, f"x{i}", level=level, **more) for i, text in enumerate(messages)]
    return detect(case_of([*usual_lines(), *lines], FAILED, spans)).found


def test_the_deepest_cause_counts_and_the_chain_and_place_are_told():
    (found,) = found_of(WRAPPED)
    assert (found.kind, found.supports, found.subclass) == ("exception.io", "interface_fault", "tls_failed")
    assert "PaymentException <- HttpClientErrorException <- SSLHandshakeException" in found.statement.en
    assert "sun.security.ssl.Alert.create (Alert.java:131)" in found.statement.en
    assert "our com.acme.pay.Client.send (Client.java:22)" in found.statement.en
    assert found.operation == "com.acme.pay.Client.send"
    assert [c.doc_id for c in found.cites] == ["x0"]


def test_a_mistake_in_our_code_is_ours_also_where_a_channels_answer_was_its_input():
    trace = (
        f'{ORDER}\njava.lang.NumberFormatException: For input string: "SUCCESS" in reply of wechatpay\n'
        "\tat java.lang.Integer.parseInt(Integer.java:652)\n\tat com.acme.pay.Reply.read(Reply.java:31)"
    )
    (found,) = found_of(trace)
    assert (found.kind, found.subclass, found.strength) == ("exception.code", "code_exception", 1.0)


def test_an_exception_that_carries_a_channels_reply_says_nothing_itself():
    (found,) = found_of(f"com.stripe.exception.CardException: {ORDER} declined\n\tat com.acme.A.b(A.java:1)")
    assert (found.kind, found.supports, found.strength) == ("exception.sdk", None, 0.0)


def test_a_wrapper_is_passed_over_whether_it_comes_first_or_last():
    trace = f"{ORDER}\njava.net.UnknownHostException: api\n\tat a.B.c(B.java:1)"
    (first,) = found_of(trace)
    (wrapped,) = found_of(trace + "\nCaused by: com.acme.ApiException: reply\n\tat a.B.d(B.java:2)")
    assert first.subclass == wrapped.subclass == "dns_failed"


def test_a_broken_connection_under_a_database_driver_is_the_databases():
    trace = (
        f"{ORDER}\njava.net.ConnectException: Connection refused\n\tat java.net.Socket.connect(Socket.java:1)\n"
        "\tat com.mysql.cj.protocol.StandardSocketFactory.connect(StandardSocketFactory.java:155)"
    )
    (found,) = found_of(trace)
    assert (found.kind, found.subclass) == ("exception.db", "db_error")


def test_without_frames_the_place_is_not_known_and_the_finding_counts_less():
    (bare,) = found_of(f"{ORDER} java.lang.NullPointerException: reply")
    (traced,) = found_of(f"{ORDER}\njava.lang.NullPointerException: reply\n\tat com.acme.A.b(A.java:1)")
    assert bare.subclass == traced.subclass
    assert bare.strength < traced.strength


def test_a_library_that_threw_on_its_own_counts_less_than_our_code():
    library = f"{ORDER}\njava.lang.NullPointerException: x\n\tat com.github.binarywang.wxpay.A.b(A.java:1)"
    (theirs,) = found_of(library)
    (ours,) = found_of(library + "\n\tat com.acme.Pay.go(Pay.java:2)")
    assert theirs.strength < ours.strength


def test_springs_nested_exception_is_the_root():
    text = f"{ORDER} ResourceAccessException: I/O error; nested exception is java.net.SocketTimeoutException: Read timed out"
    (found,) = found_of(text)
    assert found.subclass == "timeout_unknown"


def test_a_field_with_the_type_counts_where_the_message_only_names_a_class():
    text = f"{ORDER} com.acme.ext.OrderResult\n\tat com.acme.ext.Pay.parse(Pay.java:57)\nerr_type=com.thoughtworks.xstream.security.ForbiddenClassException"
    (found,) = found_of(text)
    assert (found.kind, found.code) == ("exception.code", "ForbiddenClassException")
    assert "com.acme.ext.Pay.parse (Pay.java:57)" in found.statement.en


def test_the_exception_of_a_span_is_read_with_its_trace():
    span = span_row(
        "a" * 32,
        "s1",
        status="error",
        **{
            "exception.type": "KeyError",
            "exception.message": "'code'",
            "exception.stacktrace": 'Traceback (most recent call last):\n  File "/app/pay/reply.py", line 12, in read\n'
            "    x['code']\nKeyError: 'code'",
        },
    )
    (found,) = found_of(spans=[span])
    assert (found.kind, found.service) == ("exception.code", "pay-channel")
    assert "read (/app/pay/reply.py:12)" in found.statement.en
    assert found.cites[0].kind == "span"


def test_the_same_root_cause_is_told_once_with_all_its_lines():
    (found,) = found_of(*[f"{ORDER} try {i}: java.net.SocketTimeoutException: Read timed out" for i in range(3)])
    assert len(found.cites) == 3
    assert "3 lines" in found.statement.en


def test_an_exception_told_again_without_its_message_is_no_second_finding():
    (found,) = found_of(f"SocketError: getaddrinfo failed for {ORDER}", f"{ORDER} ended in SocketError: see above")
    assert found.subclass == "dns_failed"


def test_lines_without_an_exception_are_no_finding():
    case = case_of([*usual_lines(), line(1, f"{ORDER} refused", "x")], FAILED)
    assert detect(case).found == ()
    assert detect(case).checks[0].outcome == "healthy"
    assert detect(case_of([], FAILED)).checks[0].outcome == "not_evaluated"


# Types and messages as the runtimes and clients print them.
ROOTS = {
    ("java.lang.ClassCastException", "String cannot be cast"): "code_exception",
    ("TypeError", "Cannot read properties of undefined (reading 'code')"): "code_exception",
    ("AttributeError", "'NoneType' object has no attribute 'get'"): "code_exception",
    ("panic", "runtime error: invalid memory address or nil pointer dereference"): "code_exception",
    ("System.NullReferenceException", "Object reference not set"): "code_exception",
    ("ErrorException", "Undefined index: trade_no"): "code_exception",
    ("NoMethodError", "undefined method `id' for nil:NilClass"): "code_exception",
    ("java.lang.NoClassDefFoundError", "com/x/Y"): "code_exception",
    ("java.sql.SQLSyntaxErrorException", "Unknown column 'fee'"): "code_exception",
    ("com.fasterxml.jackson.databind.exc.UnrecognizedPropertyException", 'Unrecognized field "x"'): "code_exception",
    ("*json.UnmarshalTypeError", "json: cannot unmarshal string into Go struct field T.fee of type int"): "code_exception",
    ("com.mysql.cj.jdbc.exceptions.MySQLTransactionRollbackException", "Deadlock found when trying"): "db_error",
    ("java.sql.SQLTransientConnectionException", "HikariPool-1 - Connection is not available"): "db_error",
    ("django.db.utils.OperationalError", "(1205, 'Lock wait timeout exceeded')"): "db_error",
    ("PDOException", "SQLSTATE[HY000] [2002] Connection refused"): "db_error",
    ("org.apache.kafka.common.errors.TimeoutException", "Topic pay not present"): "mq_push_failed",
    ("org.apache.rocketmq.client.exception.MQClientException", "No route info"): "mq_push_failed",
    ("redis.clients.jedis.exceptions.JedisConnectionException", "Could not get a resource"): "dependency_down",
    ("java.lang.OutOfMemoryError", "Java heap space"): "resource_contention",
    ("java.util.concurrent.RejectedExecutionException", "Task rejected"): "resource_contention",
    ("java.net.UnknownHostException", "api.mch.weixin.qq.com"): "dns_failed",
    ("Error", "getaddrinfo EAI_AGAIN api.stripe.com"): "dns_failed",
    ("requests.exceptions.ReadTimeout", "HTTPSConnectionPool"): "timeout_unknown",
    ("Net::OpenTimeout", "execution expired"): "timeout_unknown",
    ("System.Threading.Tasks.TaskCanceledException", "A task was canceled."): "timeout_unknown",
    ("ssl.SSLCertVerificationError", "certificate verify failed"): "tls_failed",
    ("GuzzleHttp\\Exception\\ConnectException", "cURL error 7: Failed to connect"): "connect_failed",
    ("java.net.SocketException", "Connection reset"): "connect_failed",
    ("json.decoder.JSONDecodeError", "Expecting value: line 1 column 1"): "response_invalid",
    ("SyntaxError", "Unexpected token < in JSON at position 0"): "response_invalid",
    ("javax.crypto.AEADBadTagException", "Tag mismatch!"): "decrypt_failed",
    ("java.security.InvalidKeyException", "IOException : algid parse error"): "key_missing",
}  # fmt: skip


@pytest.mark.parametrize(("root", "subclass"), ROOTS.items(), ids=[name for name, _ in ROOTS])
def test_a_root_cause_is_of_the_family_that_its_type_and_message_say(root, subclass):
    family = family_of(*root)
    assert family is not None
    assert family.subclass == subclass


@pytest.mark.parametrize("name", ["com.acme.OrderClosedException", "RuntimeException", "Exception"])
def test_an_exception_that_nobody_knows_is_of_no_family(name):
    assert family_of(name, "order 7 is closed") is None


def test_every_family_speaks_for_a_fault_of_the_taxonomy_or_for_none():
    for family in _FAMILIES:
        assert family.supports is None or (family.supports, family.subclass) in taxonomy()
        assert 0 <= family.strength <= 1


@pytest.mark.parametrize(
    ("frame", "owner"),
    [
        (Frame("com.acme.pay.Client.charge", "Client.java", 12), "ours"),
        (Frame("c.m.p.ch.ChannelClient.send", "ChannelClient.java", 12), "ours"),
        (Frame("main.(*Client).charge", "/app/pay/client.go", 3), "ours"),
        (Frame("parseReply", "/app/src/psp/reply.js", 3), "ours"),
        (Frame("charge", "/srv/shop/pay.py", 3), "ours"),
        (Frame("App.Payments.Charge", "/src/Charge.cs", 3), "ours"),
        (Frame("java.util.HashMap.get", "HashMap.java", 3), "library"),
        (Frame("org.springframework.web.X.y", "X.java", 3), "library"),
        (Frame("System.Net.Http.HttpClient.SendAsync"), "library"),
        (Frame("send", "/usr/lib/python3.11/site-packages/requests/api.py", 3), "library"),
        (Frame("processTicksAndRejections", "node:internal/process/task_queues", 95), "library"),
        (Frame("net/http.HandlerFunc.ServeHTTP", "/usr/local/go/src/net/http/server.go", 3), "library"),
        (Frame("call", "/usr/local/bundle/gems/rack-3.0/lib/rack.rb", 3), "library"),
        (Frame("com.alipay.api.DefaultAlipayClient.execute", "DefaultAlipayClient.java", 3), "channel library"),
        (Frame("request", "/app/node_modules/stripe/lib/x.js", 3), "channel library"),
        (Frame("request", "stripe-4.21.2/lib/stripe/stripe_client.rb", 350), "channel library"),
        (Frame("charge", "/app/payments/stripe/client.py", 3), "ours"),
    ],
)
def test_a_frame_is_ours_a_librarys_or_a_channel_librarys(frame, owner):
    assert whose(frame) == owner


@pytest.mark.parametrize(
    ("said", "told"), [("cURL error 28: Operation timed out", "no answer came in time"), ("order 5 looks odd", None)]
)
def test_a_logs_level_is_no_exception_and_the_words_above_the_frames_tell(said, told):
    text = f"gateway.ERROR: {said} {ORDER}\n#0 src/Pay.php(96)\n#1 src/Shop.php(12): Pay->charge()\n#2 {{main}}"
    found = detect(case_of([*usual_lines(), line(1, text, "x", service="pay-core")])).found
    if told is None:
        assert found == ()
    else:
        assert found[0].statement.en.startswith(f'pay-core: {told} ("cURL error 28')
        assert "thrown in src/Pay.php:96" in found[0].statement.en
        assert found[0].code is None
