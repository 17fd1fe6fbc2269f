"""Tickets out of ticket.json, whatever is in it."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SnapshotError, TicketNotFound, UsageError
from pipeline.tickets.file import MAX_BYTES, find_ticket, guess_language, parse_time, read_ticket
from pipeline.values import Ticket

TICKET: dict[str, Any] = {
    "id": "TK-1",
    "title": "Payment failed",
    "description": "Order M1 was charged twice.",
    "created_at": "2026-11-23T10:02:31+08:00",
}


def ticket(**over: Any) -> bytes:
    """A ticket.json; a field given as `...` is left out."""
    return json.dumps({k: v for k, v in {**TICKET, **over}.items() if v is not ...}).encode()


def read(**over: Any) -> Ticket:
    """The ticket that `ticket(**over)` holds."""
    return read_ticket(ticket(**over), "ticket.json")


def refused(data: bytes) -> str:
    """The sentence with which `data` is refused."""
    with pytest.raises(UsageError) as error:
        read_ticket(data, "ticket.json")
    return str(error.value)


def test_a_whole_ticket_is_read_with_every_field() -> None:
    """Known fields have their place; all others are kept as custom fields."""
    found = read(
        system="zendesk",
        language="zh-CN",
        customer={"id": 77, "phone": "13800138000"},
        questionnaire={"app_version": "1.2"},
        custom_fields={"order": "M1"},
        priority="high",
    )
    assert (found.id, found.system, found.language, found.customer_id) == ("TK-1", "zendesk", "zh", "77")
    assert found.questionnaire == {"app_version": "1.2"}
    assert found.custom_fields == {"priority": "high", "customer": {"phone": "13800138000"}, "order": "M1"}
    assert found.created_at.utcoffset() == timedelta(hours=8)


def test_the_least_ticket_is_enough() -> None:
    """An id, one text and a time."""
    found = read(title=..., id=42)
    assert (found.id, found.title, found.system, found.customer_id) == ("42", "", "file", None)
    assert found.custom_fields == {}
    assert found.questionnaire == {}


def test_a_byte_order_mark_does_no_harm() -> None:
    """Neither UTF-8's nor that of the UTF-16 that PowerShell writes."""
    text = ticket(title="付款失败").decode()
    for encoding in ("utf-8-sig", "utf-16"):
        assert read_ticket(text.encode(encoding), "ticket.json").title == "付款失败"


def test_a_time_without_offset_is_taken_as_utc_and_said() -> None:
    """Somebody has to know that the zone was assumed."""
    notes: list[str] = []
    found = read_ticket(ticket(created_at="2026-11-23 10:02"), "ticket.json", notes.append)
    assert found.created_at == datetime(2026, 11, 23, 10, 2, tzinfo=UTC)
    assert notes == ["ticket.json: created_at has no UTC offset; taken as UTC"]
    read_ticket(ticket(), "ticket.json", notes.append)
    assert len(notes) == 1


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23T02:02:31Z",
        "2026-11-23 10:02:31 +08:00",
        "2026-11-23T10:02:31+0800",
        "2026-11-23 02:02:31 UTC",
        "20261123T100231+08",
    ],
)
def test_times_are_read_as_systems_write_them(text: str) -> None:
    """With a space, with Z, with and without a colon in the offset."""
    assert parse_time(text) == datetime(2026, 11, 23, 2, 2, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("over", "sentence"),
    [
        ({"id": ...}, "id is missing"),
        ({"id": " "}, "id is missing"),
        ({"id": ["TK"]}, "id: expected a string, got an array"),
        ({"id": True}, "id: expected a string, got a boolean"),
        ({"title": ..., "description": ""}, "both title and description are missing"),
        ({"title": 5}, "title: expected a string, got a number"),
        ({"description": {"a": 1}}, "description: expected a string, got an object"),
        ({"created_at": ...}, "created_at is missing; write the time"),
        ({"created_at": None}, "created_at is missing"),
        ({"created_at": 1764000000}, "created_at: expected a string, got a number"),
        ({"created_at": "yesterday"}, "created_at: 'yesterday' is not a time"),
        ({"created_at": "2026-02-30T10:00:00Z"}, "created_at: '2026-02-30T10:00:00Z' is not a time"),
        ({"created_at": "0001-01-01T00:00:00+08:00"}, "is not a time"),
        ({"language": 3}, "language: expected a string, got a number"),
        ({"customer": [1]}, "customer: expected an object, got an array"),
        ({"customer": {"id": {}}}, "customer.id: expected a string, got an object"),
        ({"questionnaire": "iPhone"}, "questionnaire: expected an object, got a string"),
    ],
)
def test_a_wrong_field_is_told_with_what_was_expected(over: dict[str, Any], sentence: str) -> None:
    """Field, expectation and what is there, in one sentence."""
    assert refused(ticket(**over)).startswith("ticket.json: ")
    assert sentence in refused(ticket(**over))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"[]", "expected a JSON object, got an array"),
        (b"null", "expected a JSON object, got null"),
        (b"{", "is not JSON"),
        (b"id: TK-1", "is not JSON"),
        (b'{"id": "\xff\xfe"}', "is not UTF-8 (byte 8)"),
        (b"[" * 100_000, "is not JSON: nested too deeply"),
        (b'{"a":' * 100_000, "is not JSON: nested too deeply"),
        (b"\x1f\x8b\x08\x00", "is not UTF-8"),
        (b'{"id": 1e999}', "is not JSON"),
    ],
)
def test_what_is_no_ticket_is_refused_with_a_reason(data: bytes, sentence: str) -> None:
    """Whatever file was named by mistake."""
    assert sentence in refused(data)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5).map(
            lambda v: json.dumps(v).encode()
        ),
    )
)
def test_no_input_raises_anything_but_a_sentence(data: bytes) -> None:
    """Any bytes are a ticket or a UsageError."""
    with pytest.raises(UsageError):
        read_ticket(data, "ticket.json")


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(),
    st.lists(st.text(), max_size=2),
    st.dictionaries(st.text(), st.text(), max_size=2),
)


@given(
    st.fixed_dictionaries(
        dict.fromkeys((*TICKET, "customer", "questionnaire", "custom_fields", "language", "other"), values)
    )
)
def test_no_field_raises_anything_but_a_sentence(fields: dict[str, Any]) -> None:
    """Whatever type each field has, the answer is a ticket with an aware time, or a UsageError."""
    for over in (fields, {**fields, "created_at": TICKET["created_at"], "id": "1", "title": "t", "description": "d"}):
        try:
            found = read_ticket(json.dumps(over).encode(), "ticket.json")
        except UsageError:
            continue
        assert found.created_at.tzinfo
        assert found.id


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("付款失败，提示 ERROR", "zh"),
        ("Payment by 支付宝 failed at the last step of the checkout", "en"),
        ("付款失败 java.net.SocketTimeoutException: Read timed out", "zh"),
        ("", "en"),
        ("12345 !!", "en"),
    ],
)
def test_a_language_that_is_not_said_is_guessed(text: str, language: str) -> None:
    """By how much of the text is Chinese."""
    assert guess_language(text) == language
    assert read(title="", description=text or "x", language=...).language == language


# ---- where tickets are found


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    """A folder of two bundles."""
    for name in ("TK-1", "TK-2"):
        (tmp_path / name / "logs").mkdir(parents=True)
        (tmp_path / name / "ticket.json").write_bytes(ticket(id=name))
    return tmp_path


def test_an_id_is_found_in_a_bundle_and_in_a_folder_of_bundles(bundles: Path) -> None:
    """The bundle that belongs to the ticket comes with it."""
    for place in (bundles, bundles / "TK-2"):
        found, bundle = find_ticket("TK-2", place)
        assert (found.id, bundle) == ("TK-2", bundles / "TK-2")


def test_a_ticket_json_brings_the_bundle_around_it(bundles: Path) -> None:
    """A lone ticket.json brings none."""
    found, bundle = find_ticket(str(bundles / "TK-1" / "ticket.json"))
    assert (found.id, bundle) == ("TK-1", bundles / "TK-1")
    lone = bundles / "ticket.json"
    lone.write_bytes(ticket())
    assert find_ticket(str(lone))[1] is None


def test_a_bundle_is_found_by_its_own_path(bundles: Path) -> None:
    """As a folder and as a .zip."""
    packed = bundles / "TK-1.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("ticket.json", ticket())
    for path in (bundles / "TK-1", packed):
        found, bundle = find_ticket(str(path))
        assert (found.id, bundle) == ("TK-1", path)
    assert find_ticket("TK-1", packed)[1] == packed


def test_a_dash_is_standard_input_with_the_bundle_that_was_named(bundles: Path) -> None:
    """The ticket from one place, the records from another."""
    assert find_ticket("-", None, io.BytesIO(ticket()))[1] is None
    assert find_ticket("-", bundles / "TK-2", io.BytesIO(ticket()))[1] == bundles / "TK-2"
    assert find_ticket(str(bundles / "TK-1" / "ticket.json"), bundles / "TK-2")[0].id == "TK-1"


@pytest.mark.parametrize(
    ("arg", "place", "kind", "sentence"),
    [
        ("TK-3", ".", TicketNotFound, "TK-3"),
        ("TK-3", "gone", UsageError, "no such folder or file"),
        ("TK-3", None, TicketNotFound, "without --bundle, TICKET is the path"),
        ("gone/ticket.json", None, TicketNotFound, "no such file"),
        (".", None, UsageError, "is a folder without ticket.json"),
        ("x" * 5000, None, TicketNotFound, "not found"),
        ("a\0b", None, TicketNotFound, "not found"),
        ("../../etc/passwd", ".", TicketNotFound, ""),
    ],
)
def test_a_ticket_that_is_not_there_is_told_apart_from_a_wrong_call(
    bundles: Path,
    monkeypatch: pytest.MonkeyPatch,
    arg: str,
    place: str | None,
    kind: type[SnapshotError],
    sentence: str,
) -> None:
    """Exit code 3 for the one, 2 for the other."""
    monkeypatch.chdir(bundles)
    with pytest.raises(SnapshotError) as error:
        find_ticket(arg, Path(place) if place else None)
    assert type(error.value) is kind
    assert sentence in str(error.value)


def test_a_file_too_large_for_a_ticket_is_not_read_whole(tmp_path: Path) -> None:
    """A log named by mistake, or an endless input."""
    large = tmp_path / "ticket.json"
    with large.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(UsageError, match="is larger than 16 MiB"):
        find_ticket(str(large))


def test_a_broken_zip_is_a_sentence(tmp_path: Path) -> None:
    """Half a download."""
    packed = tmp_path / "TK-1.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("ticket.json", ticket() * 100)
    packed.write_bytes(packed.read_bytes()[:200])
    with pytest.raises(UsageError):
        find_ticket(str(packed))
