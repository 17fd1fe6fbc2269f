"""What holds for every ticket system of this group, asked of each: on servers that hold state as the vendors document."""

import json
import re
import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.attach import attach_snapshot
from pipeline.errors import TicketNotFound
from pipeline.tickets import TicketOptions, open_system
from pipeline.tickets.system import Malformed, SystemBroken, SystemUnavailable
from snapshots.render.note import marker_of
from tests.snapshots_samples import dns_failure
from tests.tickets_generic import MARKER, TEXT, TITLE, Answer, note
from tests.tickets_generic_cases import CASES


def of(holds=lambda _: True):
    """The systems for which something holds."""
    chosen = {name: case for name, case in CASES.items() if holds(case)}
    return pytest.mark.parametrize("case", chosen.values(), ids=chosen)


EVERY = of()
OTHER = "problem-snapshot:ffffffffffffffff"


def marked(server, marker=MARKER):
    """The notes on the ticket that carry our marker."""
    return [body for body in server.bodies() if marker in body]


@EVERY
def test_a_delivery_says_who_wrote_on_the_ticket_and_what_it_is_called(case):
    with case.running() as (_, system):
        event = system.receive(case.request(case.commented("ann", "still failing")))
        assert (event.ticket_id, event.actor, event.ignored) == (case.ticket_id, "ann", None)
        assert TITLE in event.text


@EVERY
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_a_delivery_holds_it_is_an_event_or_malformed(case, data):
    """Parts of a real delivery are replaced by anything."""
    anything = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda more: st.lists(more, max_size=2) | st.dictionaries(st.text(max_size=3), more, max_size=2),
        max_leaves=4,
    )
    payload = case.commented("ann", "text")
    at = payload
    while True:
        key = data.draw(st.sampled_from(sorted(at)))
        if isinstance(at[key], dict) and at[key] and data.draw(st.booleans()):
            at = at[key]
            continue
        at[key] = data.draw(anything)
        break
    system = case.make("http://127.0.0.1:9", secrets=case.secrets)
    try:
        event = system.receive(case.request(payload))
    except Malformed:
        return
    assert isinstance(event.ticket_id, str)
    assert event.created_at is None or event.created_at.tzinfo


@EVERY
def test_our_own_note_never_triggers_us_where_our_account_has_no_name(case):
    with case.running(**case.unnamed) as (_, system):
        event = system.receive(case.request(case.commented("agent", note().bodies["markdown"])))
        assert event.ignored == "our own note"


@EVERY
def test_the_ticket_is_read_again_with_what_the_customer_wrote(case):
    with case.running() as (server, system):
        server.add()
        ticket = system.ticket(case.ticket_id)
        assert (ticket.id, ticket.title, ticket.language, ticket.system) == (case.ticket_id, TITLE, "en", system.kind)
        assert ticket.description == TEXT
        assert ticket.created_at.utcoffset() is not None
        assert ticket.customer_id.startswith("ann")


@EVERY
def test_a_chinese_ticket_is_known_as_one(case):
    with case.running() as (server, system):
        server.add(title="付款失败", body="支付宝已扣款,订单显示未支付")
        ticket = system.ticket(case.ticket_id)
        assert (ticket.language, ticket.title) == ("zh", "付款失败")


@EVERY
def test_a_ticket_that_is_not_there_is_not_found(case):
    for wrong in (case.ticket_id, "", "..", "../../etc", "a" * 300, "12?x=1", "9" * 30):
        with case.running() as (_, system), pytest.raises(TicketNotFound):
            system.ticket(wrong)
        with case.running() as (_, system), pytest.raises(TicketNotFound):
            system.attach(wrong, note())


@EVERY
def test_a_note_is_private_and_twice_the_same_leaves_one(case):
    with case.running() as (server, system):
        server.add()
        first = system.attach(case.ticket_id, note())
        again = [system.attach(case.ticket_id, note(known=known)) for known in (None, first.note_id, "999999")]
        assert first.outcome == "created"
        assert {one.outcome for one in again} == {"unchanged"}
        assert {one.note_id for one in again} == {first.note_id}
        assert len(marked(server)) == 1


@EVERY
def test_another_conclusion_changes_the_note_and_adds_none(case):
    with case.running() as (server, system):
        server.add()
        system.attach(case.ticket_id, note())
        assert system.attach(case.ticket_id, note("configuration, wrong key")).outcome == "updated"
        assert len(marked(server)) == 1
        assert "wrong key" in marked(server)[0]


@EVERY
def test_what_others_wrote_is_never_touched_not_even_with_our_marker_in_it(case):
    with case.running() as (server, system):
        server.add()
        server.say(case.key, "eve", f"look: {MARKER}")
        before = server.bodies()
        assert system.attach(case.ticket_id, note()).outcome == "created"
        assert system.attach(case.ticket_id, note("other")).outcome == "updated"
        assert server.bodies()[: len(before)] == before


@EVERY
def test_notes_of_other_tickets_and_markers_stay(case):
    with case.running() as (server, system):
        server.add()
        system.attach(case.ticket_id, note("other", marker=OTHER))
        system.attach(case.ticket_id, note())
        assert (len(marked(server)), len(marked(server, OTHER))) == (1, 1)


@EVERY
def test_two_at_once_leave_one_note(case):
    """A second worker writes between our looking and our writing."""
    with case.running() as (server, system):
        server.add()
        other = case.make(server.url, secrets=case.secrets)

        def between(asked):
            if asked.method != "POST":
                server.meanwhile = between
                return
            server.turn.release()
            try:
                other.attach(case.ticket_id, note())
            finally:
                server.turn.acquire()
                other.close()

        server.meanwhile = between
        system.attach(case.ticket_id, note())
        assert len(marked(server)) == 1


@EVERY
def test_a_crash_after_writing_leaves_one_note(case):
    """The answer to the note is lost: the note is there, and we do not know."""
    with case.running(attempts=1) as (server, system):
        server.add()
        answer = server.answer

        def lost(asked):
            found = answer(asked)
            return Answer(502) if asked.method == "POST" and found.status == 201 else found

        server.answer = lost
        with pytest.raises(SystemUnavailable):
            system.attach(case.ticket_id, note())
        server.answer = answer
        assert system.attach(case.ticket_id, note()).outcome == "unchanged"
        assert len(marked(server)) == 1


@EVERY
def test_a_note_that_comes_out_public_does_not_stay(case):
    with case.running() as (server, system):
        server.add()
        case.publish(server)
        before = server.bodies()
        with pytest.raises(SystemBroken):
            system.attach(case.ticket_id, note())
        assert server.bodies() == before


@EVERY
def test_a_system_that_asks_to_wait_is_not_asked_at_once(case):
    with case.running() as (server, system):
        server.add()
        server.failures = [Answer(429, {}, {"retry-after": "60"})]
        with pytest.raises(SystemUnavailable) as told:
            system.ticket(case.ticket_id)
        assert told.value.after == 60
        assert len(server.asked) == 1


@EVERY
def test_a_note_is_written_as_it_is_and_never_taken_for_a_template(case):
    said = "{ticket_id} {{ 7*7 }} ${HOME} %s {marker}"
    with case.running() as (server, system):
        server.add()
        system.attach(case.ticket_id, note(said))
        assert said in marked(server)[0]


@EVERY
def test_secrets_are_in_no_text_about_the_options(case):
    system = case.make("http://user:hidden@127.0.0.1:9", secrets=case.secrets, token="token-of-ours")
    shown = f"{system._options!r} {list(system._options.__rich_repr__())} {system._api.where}"
    assert not [secret for secret in (*case.secrets, "token-of-ours", "hidden") if secret in shown]
    assert json.dumps(shown)


@EVERY
def test_a_note_as_the_renderer_writes_it_is_found_again(case):
    """What a real snapshot says, in the form that the system takes."""
    snapshot = dns_failure()
    with case.running() as (server, system):
        server.add()
        outcomes = [attach_snapshot(snapshot, system, case.ticket_id).outcome for _ in range(2)]
        assert outcomes == ["created", "unchanged"]
        assert len(marked(server, marker_of(system.name, case.ticket_id))) == 1


@pytest.mark.parametrize("kind", CASES)
def test_the_table_of_its_page_is_a_configuration(kind):
    """What docs/tickets shows can be pasted."""
    page = (Path(__file__).parent.parent / "docs" / "tickets" / f"{kind}.md").read_text(encoding="utf-8")
    tree = tomllib.loads(re.search(r"```toml\n(.*?)```", page, re.DOTALL)[1].replace("${", "whsec_AAAA${"))
    options = msgspec.convert(tree["defaults"]["tickets"]["desk"], TicketOptions)
    assert (options.__struct_config__.tag, open_system("desk", options).kind) == (kind, kind)
