"""Questions to a customer, over HTTP: who may answer, what becomes of the answers, and that twice is once."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import msgspec
import pytest
import sqlalchemy as sa
from jsonschema import Draft202012Validator

from pipeline.commands.tickets import _answered
from pipeline.desk.answers import RECEIVED
from pipeline.desk.intake_tables import pictures, replies
from pipeline.desk.replies import MOST_REPLIES
from pipeline.service.tables import deliveries
from tests.intake_samples import ORDER, Asking, asking, png, unnamed
from tests.test_service import database

__all__ = ["database"]

WHEN = {"occurred_at.date": "2026-09-26", "occurred_at.time": "11:41", "occurred_at.zone": "+08:00"}


@pytest.fixture
def service(database, tmp_path) -> Iterator[Asking]:
    with asking(database, tmp_path) as found:
        yield found


def sent(link: str, files: dict[str, object] | None = None, **fields: str) -> httpx.Response:
    """A form as a browser sends it."""
    parts: dict[str, object] = {name: (None, value) for name, value in fields.items()}
    return httpx.post(link, files=parts | (files or {}), timeout=30)


def rows(service: Asking, table: sa.Table) -> list[sa.Row]:
    with service.hook.ledger._engine.connect() as connection:
        return list(connection.execute(sa.select(table)))


def test_an_answer_becomes_part_of_the_ticket_and_the_ticket_is_diagnosed_again(service):
    """The order number and the time that the customer gave are what the next snapshot looks at."""
    link = service.take(unnamed("zh"))
    before = service.hook.bench.store.newest("T-1")
    assert {"order_number", "occurred_at", "screenshot"} <= {one.id for one in before.questions.questions}
    assert link.replace(service.hook.url, "http://desk.invalid").split("?")[0] in service.notes("T-1")[0]
    answer = sent(link, order_number=f" {ORDER} ", **WHEN, operation_steps="打开应用\n\n点击付款")
    assert answer.status_code == 303
    after_sending = httpx.get(httpx.URL(link).join(answer.headers["location"]))
    assert "已收到您的答复" in after_sending.text
    service.hook.settled()
    after = service.hook.bench.store.newest("T-1")
    assert after.snapshot_id != before.snapshot_id
    assert after.scope.focus_orders == [ORDER]
    assert after.ticket.questionnaire["operation_steps"] == ["打开应用", "点击付款"]
    assert after.ticket.questionnaire["occurred_at"] == "2026-09-26T11:41:00+08:00"
    assert not {"order_number", "occurred_at", "operation_steps"} & {one.id for one in after.questions.questions}
    told = "\n".join(service.notes("T-1"))
    assert "客户已答复" in told
    assert ORDER in told


def test_sent_twice_is_once(service):
    link = service.take(unnamed())
    for _ in range(2):
        assert sent(link, order_number=ORDER).status_code == 303
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda _: sent(link, order_number="SO-999999", app_version="").status_code, range(8)))
    assert codes == [303] * 8
    service.hook.settled()
    assert len(rows(service, replies)) == 2
    assert len([row for row in rows(service, deliveries) if row.kind == "ticket.again"]) == 2
    assert len(service.notes("T-1")) == 2


def test_a_correction_takes_the_place_of_what_was_said_before(service):
    link = service.take(unnamed())
    for number in (ORDER, "SO-999999", ORDER):
        assert sent(link, order_number=number).status_code == 303
    service.hook.settled()
    assert service.hook.bench.asking.replies.held("desk", "T-1").answers["order_number"] == ORDER
    assert service.hook.bench.store.newest("T-1").scope.focus_orders == [ORDER]


def test_a_ticket_that_is_taken_by_hand_has_its_answers(service, tmp_path, capsys):
    link = service.take(unnamed())
    assert sent(link, order_number=ORDER).status_code == 303
    service.hook.settled()
    settings = service.hook.settings
    assert _answered(settings, "desk", unnamed()).questionnaire == {"order_number": ORDER}
    assert _answered(settings, "other", unnamed()) == unnamed()
    empty = msgspec.structs.replace(settings.service, database=f"sqlite:///{tmp_path}/none.sqlite")
    assert _answered(msgspec.structs.replace(settings, service=empty), "desk", unnamed()) == unnamed()
    assert "were not read" in capsys.readouterr().err


def test_a_picture_is_told_by_its_content_kept_without_its_place_and_never_shown_unsigned(service):
    link = service.take(unnamed())
    page = b"<!doctype html><script>alert(1)</script>"
    wrong = sent(link, {"screenshot": ("shot.png", page, "image/png")})
    assert wrong.status_code == 422
    assert "no picture that we can read" in wrong.text
    assert not rows(service, pictures)
    assert sent(link, {"screenshot": ("../../evil.html", png(), "text/html")}).status_code == 303
    service.hook.settled()
    (row,) = rows(service, pictures)
    (kept,) = [path for path in service.pictures.rglob("*") if path.is_file()]
    assert kept.name == f"picture-{row.sha256[:12]}.png"
    told = "\n".join(service.notes("T-1"))
    signed = next(word for word in told.split() if "/intake/pictures/" in word).replace(
        "http://desk.invalid", service.hook.url
    )
    shown = httpx.get(signed)
    assert (shown.status_code, shown.headers["content-type"]) == (200, "image/png")
    assert shown.headers["content-disposition"].startswith("attachment")
    bare = signed.split("?")[0]
    for key in ("", "?key=", f"?key={link.partition('key=')[2]}"):
        assert httpx.get(bare + key).status_code == 401
    # The answers' note names it, and the ticket is not asked for one again.
    assert "screenshot" not in {one.id for one in service.hook.bench.store.newest("T-1").questions.questions}


def test_what_is_too_large_is_refused_before_it_is_kept(database, tmp_path):
    with asking(database, tmp_path, max_picture=20_000) as service:
        link = service.take(unnamed())
        big = sent(link, {"screenshot": ("a.png", b"x" * 400_000, "image/png")})
        assert big.status_code == 413
        assert "过大" in big.text
        assert "too large" in big.text
        assert not service.pictures.exists()
        schema = httpx.get(link.replace("?", "/schema?")).json()
        assert schema["properties"]["screenshot"]["maxLength"] == 26_668


def test_a_link_opens_its_own_questions_only_and_says_why_not_in_both_languages(service):
    first, second = service.take(unnamed()), service.take(unnamed("zh", "T-2"))
    place, key = first.split("?key=")
    other = second.split("?key=")[1]
    page_key = httpx.URL(service.hook.bench.links(service.hook.bench.store.newest("T-1").snapshot_id).page).params[
        "key"
    ]
    for bad in (other, key[:-2] + "xx", key + "x", page_key, "", "ps-1"):
        for answer in (httpx.get(f"{place}?key={bad}"), sent(f"{place}?key={bad}", order_number=ORDER)):
            assert answer.status_code == 401
            assert "此链接无效" in answer.text
            assert "not valid" in answer.text
            assert "order" not in answer.text.lower().replace("border", "")
    assert not rows(service, replies)


def test_a_link_that_has_expired_is_refused_and_stores_nothing(database, tmp_path):
    with asking(database, tmp_path, hold=1.0) as service:
        link = service.take(unnamed())
        time.sleep(2.1)
        for answer in (httpx.get(link), sent(link, order_number=ORDER)):
            assert answer.status_code == 401
            assert "此链接已过期" in answer.text
            assert "has expired" in answer.text
        assert not rows(service, replies)


def test_what_is_wrong_is_told_at_its_question_and_nothing_of_it_is_kept(service):
    link = service.take(unnamed())
    future = {**WHEN, "occurred_at.date": "2999-01-01"}
    answer = sent(link, order_number="!", **future)
    assert answer.status_code == 422
    assert 'aria-describedby="why-order_number hint-order_number error-order_number" aria-invalid="true"' in answer.text
    assert 'id="error-occurred_at"' in answer.text
    assert 'value="!"' in answer.text
    assert "<title>Error:" in answer.text
    assert "Answer at least one question." in sent(link, order_number=" ").text
    assert sent(link, **{"occurred_at.date": "", "occurred_at.time": "10:00"}).status_code == 422
    assert not rows(service, replies)


def test_a_portal_is_told_what_to_send_and_sends_it_as_json(service):
    link = service.take(unnamed())
    answer = httpx.get(link.replace("?", "/schema?"))
    schema = answer.json()
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    given = {"order_number": ORDER, "screenshot": base64.b64encode(png()).decode(), "operation_steps": ["open", "pay"]}
    Draft202012Validator(schema).validate(given)
    assert httpx.post(link, json=given).json() == {"stored": True}
    assert httpx.post(link, json=given).json() == {"stored": False}
    assert httpx.post(link, json={"other": 1}).status_code == 422
    wrong = httpx.post(link, json={"occurred_at": "yesterday", "order_number": 7})
    # In the order of the page, since they are read one after the other.
    assert list(wrong.json()["errors"]) == ["order_number", "occurred_at"]
    assert set(wrong.json()["errors"]["occurred_at"]) == {"en", "zh"}
    refused = httpx.post(link + "x", json=given)
    assert (refused.status_code, set(refused.json()["error"])) == (401, {"en", "zh"})
    for body in (b"", b"[]", b"{", b"[" * 100_000, b"\xff"):
        assert httpx.post(link, content=body, headers={"content-type": "application/json"}).status_code == 400
    assert httpx.post(link, content=b"a=1", headers={"content-type": "text/plain"}).status_code == 415
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x"):
        assert httpx.post(link, content=b"nonsense", headers={"content-type": kind}).status_code in {400, 422}


def test_personal_data_is_masked_where_answers_leave_and_whole_where_they_are_read(service):
    link = service.take(unnamed())
    said = "I paid by card 4111 1111 1111 1111\nmail me at jo@example.com"
    assert sent(link, operation_steps=said, order_number=ORDER).status_code == 303
    service.hook.settled()
    told = "\n".join(service.notes("T-1"))
    snapshot = service.hook.bench.store.newest("T-1")
    for place in (told, str(snapshot.ticket.questionnaire)):
        assert "4111" not in place
        assert "jo@example.com" not in place
        assert ORDER in place
    assert said.splitlines() == service.hook.bench.asking.replies.held("desk", "T-1").answers["operation_steps"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_a_customer_wrote_stays_text_in_the_note(service):
    link = service.take(unnamed())
    said = "ask @all about #12 at http://evil.example {{ticket.secret}} \u202edetrever \x1b[2J <img src=x onerror=alert(1)>"
    assert sent(link, operation_steps=said + "w" * 500).status_code == 303
    service.hook.settled()
    told = next(note for note in service.notes("T-1") if "The customer answered" in note)
    for mark in ("@all", "#12", "http://evil", "{{", "\u202e", "\x1b", "w" * 60):
        assert mark not in told


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_answer_in_the_words_that_stand_for_a_picture_is_told_like_any(service):
    link = service.take(unnamed())
    assert httpx.post(link, json={"order_number": RECEIVED}).json() == {"stored": True}
    service.hook.settled()
    told = next(note for note in service.notes("T-1") if "The customer answered" in note)
    assert RECEIVED in told


def test_a_link_in_wrong_hands_fills_no_disk(service):
    link = service.take(unnamed())
    codes = [httpx.post(link, json={"order_number": f"SO-{n:06d}"}).status_code for n in range(MOST_REPLIES + 2)]
    assert codes == [200] * MOST_REPLIES + [429] * 2
    assert len(rows(service, replies)) == MOST_REPLIES


def test_old_answers_and_their_pictures_go_with_the_rest(service, tmp_path):
    link = service.take(unnamed())
    assert sent(link, {"screenshot": ("a.png", png(), "image/png")}, order_number=ORDER).status_code == 303
    service.hook.settled()
    kept = service.hook.bench.asking.replies
    assert kept.prune(time.time() - 3600) == 0
    assert kept.prune(time.time() + 1) == 1
    assert not rows(service, pictures)
    assert not [path for path in Path(tmp_path, "pictures").rglob("*") if path.is_file()]


def test_pages_let_nothing_run_and_nobody_frame_them(service):
    link = service.take(unnamed(ticket_id='T-"><script>'))
    page = httpx.get(link)
    assert "<script" not in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self'" in policy
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
