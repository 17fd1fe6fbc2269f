"""Standard Webhooks: the specification's scheme, the library's own example, and what a hostile sender may try."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from standardwebhooks import Webhook

from pipeline.tickets import TicketOptions, standard_webhooks
from pipeline.tickets.system import Incoming, Malformed, Unverified
from tests.tickets_generic import NOW
from tests.tickets_generic_cases import CASES, OWN

CASE = CASES["standard_webhooks"]
# The signature that the libraries of the specification test themselves with
# (https://github.com/standard-webhooks/standard-webhooks/blob/main/libraries/python/tests/test_webhooks.py, test_sign_function).
VECTOR = {
    "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "timestamp": "1614265330",
    "body": b'{"test": 2432232314}',
    "signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}


def vector(**changed):
    """The example as a request, at its time."""
    given = VECTOR | changed
    headers = {f"webhook-{name}": given[name] for name in ("id", "timestamp", "signature")}
    return Incoming(headers, given["body"], datetime.fromtimestamp(int(VECTOR["timestamp"]), UTC))


def system(*secrets):
    options = standard_webhooks.Options(secrets=secrets or (VECTOR["secret"],), url="http://127.0.0.1:9", **OWN)
    return standard_webhooks.StandardWebhooksSystem("desk", options)


def verified(request, *secrets):
    """Whether a request got as far as being read."""
    try:
        system(*secrets).receive(request)
    except Malformed:
        return True
    except Unverified:
        return False
    return True


def test_the_specifications_own_example_holds():
    assert verified(vector())
    assert verified(vector(), VECTOR["secret"].removeprefix("whsec_"))


WRONG = {
    "another id": {"id": "msg_other"},
    "another time": {"timestamp": "1614265331"},
    "another body": {"body": b'{"test": 2432232315}'},
    "no signature": {"signature": ""},
    "the version alone": {"signature": "v1"},
    "no version": {"signature": VECTOR["signature"].removeprefix("v1,")},
    "another version": {"signature": VECTOR["signature"].replace("v1,", "v2,")},
    "no base64": {"signature": "v1,!!!!"},
    "many of them": {"signature": "v1,AAAA " * 10_000},
    "beyond ASCII": {"signature": "v1,付款"},
    "a time that is a word": {"timestamp": "now"},
    "a body that is no text": {"body": b"\xff\xfe"},
}


@pytest.mark.parametrize("changed", WRONG.values(), ids=WRONG)
def test_whatever_else_is_sent_does_not_hold(changed):
    assert not verified(vector(**changed))


def test_the_librarys_own_sender_is_understood():
    request = CASE.request()
    signed = Webhook(CASE.secrets[1]).sign("msg_9", NOW, request.body.decode())
    headers = {"webhook-id": "msg_9", "webhook-timestamp": str(int(NOW.timestamp())), "webhook-signature": signed}
    with CASE.running() as (_, opened):
        event = opened.receive(Incoming(headers, request.body, NOW + timedelta(minutes=1)))
    assert (event.ticket_id, event.delivery_id) == ("T-12", "msg_9")


@pytest.mark.parametrize("secret", ["whsec_", "whsec_!", "!!", "付款"])
def test_a_secret_that_can_be_no_key_is_refused_at_once(secret):
    tree = {"kind": "standard_webhooks", "secrets": [secret], "event": {"id": "id", "title": "t", "created_at": "at"}}
    with pytest.raises(msgspec.ValidationError, match=r"number 1 is no base64"):
        msgspec.convert(tree, TicketOptions)
