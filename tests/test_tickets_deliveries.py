"""What holds for the deliveries of every system: who may deliver, what is believed, and what of it calls us."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tickets.system import Event, Malformed, Unverified
from tests.tickets_hooks import HOOKS, Hook


def of(*, timed: bool = False, signed: bool = False) -> pytest.MarkDecorator:
    """The systems that sign what is asked for."""
    chosen = {kind: one for kind, one in HOOKS.items() if one.timed >= timed and one.signed >= signed}
    return pytest.mark.parametrize("hook", chosen.values(), ids=chosen)


EVERY = of()


@EVERY
def test_a_signed_delivery_names_its_ticket(hook: Hook) -> None:
    event = hook.system().receive(hook.delivery(hook.secrets[0]))
    assert event.ticket_id == hook.ticket_id
    assert event.ignored is None
    assert event.actor


@EVERY
def test_the_second_of_two_secrets_holds_and_one_that_was_taken_out_does_not(hook: Hook) -> None:
    assert hook.system().receive(hook.delivery(hook.secrets[1])).ticket_id == hook.ticket_id
    with pytest.raises(Unverified):
        hook.system(secrets=hook.secrets[:1]).receive(hook.delivery(hook.secrets[1]))


@EVERY
@pytest.mark.parametrize("signed", ["not at all", "with another secret", "with nothing"])
def test_a_wrong_secret_and_a_missing_signature_are_refused(hook: Hook, signed: str) -> None:
    secret = {"not at all": None, "with another secret": hook.wrong, "with nothing": ""}[signed]
    with pytest.raises(Unverified):
        hook.system().receive(hook.delivery(secret))


@of(signed=True)
def test_a_body_that_was_changed_on_its_way_is_refused(hook: Hook) -> None:
    sent = hook.delivery(hook.secrets[0])
    for body in (sent.body + b" ", sent.body.replace(b'"', b"'", 1)):
        with pytest.raises(Unverified):
            hook.system().receive(replace(sent, body=body))


@EVERY
def test_without_a_secret_all_are_refused_unless_that_is_wanted(hook: Hook) -> None:
    for sent in (hook.delivery(None), hook.delivery(hook.secrets[0])):
        with pytest.raises(Unverified, match="insecure = true"):
            hook.system(secrets=()).receive(sent)
        assert hook.system(secrets=(), insecure=True).receive(sent).ticket_id == hook.ticket_id


@EVERY
def test_secrets_are_checked_even_where_insecure_is_set(hook: Hook) -> None:
    with pytest.raises(Unverified):
        hook.system(insecure=True).receive(hook.delivery(hook.wrong))


@of(timed=True)
@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_delivery_that_was_kept_is_refused_where_its_time_is_signed(hook: Hook, minutes: int) -> None:
    with pytest.raises(Unverified, match="too"):
        hook.system().receive(hook.delivery(hook.secrets[0], at=hook.now + timedelta(minutes=minutes)))
    near = hook.delivery(hook.secrets[0], at=hook.now + timedelta(minutes=minutes * 0.8))
    assert hook.system().receive(near).ticket_id == hook.ticket_id


BAD = {
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "a number": b"7",
    "a text": b'"a"',
    "no JSON": b"<html>",
    "broken off": b"{",
    "no UTF-8": b"\xff\xfe",
    "no UTF-8 in it": b'{"a": "\xff"}',
    "nested lists": b"[" * 100_000,
    "nested": b'{"issue":' * 50_000,
    "nested in a part": b'{"detail":{"a":' + b"[" * 50_000,
    "nested and whole": b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    "half a pair": b'{"issue": "\\ud800"}',
    "a huge number": b'{"issue": {"number": 1e999}}',
    "a number of 5,000 digits": b'{"ticket_id":' + b"9" * 5000 + b'x,"issue":{"key":1e999}}',
}
# JSON objects, which a system that sends more than tickets' events may have sent.
FOREIGN = {
    "nothing in it": b"{}",
    "paths for ids": b'{"ticket_id":"../../users/1","sys_id":"../../x","type":"zen:event-type:ticket.created","detail":{"id":"../1"},'
    b'"webhookEvent":"comment_created","issue":{"key":"../../myself"}}',
    "other types": b'{"ticket_id":true,"sys_id":1,"issue":[],"detail":[]}',
}


@EVERY
@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_a_verified_body_that_makes_no_sense_is_malformed(hook: Hook, body: bytes) -> None:
    refusal: Any = (Malformed, Unverified) if hook.signs_text and b"\xff" in body else Malformed
    with pytest.raises(refusal):
        hook.system().receive(hook.delivery(hook.secrets[0], body=body))


@EVERY
@pytest.mark.parametrize("body", FOREIGN.values(), ids=FOREIGN)
def test_a_verified_body_about_no_ticket_is_malformed_or_ignored(hook: Hook, body: bytes) -> None:
    try:
        event = hook.system().receive(hook.delivery(hook.secrets[0], body=body))
    except Malformed:
        return
    assert hook.sends_others
    assert event.ignored


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["ticket_id", "type", "id", "detail", "event", "comment", "body", "issue", "key", "fields", "summary",
                         "description", "webhookEvent", "changelog", "items", "user", "author", "sys_id", "freshdesk_webhook"]) | st.text(max_size=5),
        inner, max_size=6,
    ),
    max_leaves=15,
)  # fmt: skip


@EVERY
@given(sent=JSON)
def test_any_json_makes_an_event_or_is_malformed(hook: Hook, sent: Any) -> None:
    try:
        event = hook.system().receive(hook.delivery(hook.secrets[0], body=json.dumps(sent).encode()))
    except Malformed:
        return
    assert isinstance(event, Event)
    assert event.ticket_id.replace("-", "").replace("_", "").isalnum() or (hook.sends_others and event.ignored)


@EVERY
def test_what_we_did_ourselves_never_calls_us(hook: Hook) -> None:
    system = hook.system()
    user = system._options.user
    event = system.receive(hook.delivery(hook.secrets[0], actor=user))
    assert event.ignored == f"our own change: it was made by {user}"
