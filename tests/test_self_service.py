"""The answer to a P4 ticket: out of one entry that is sure, not stale and fit for a customer; else nothing, and why."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from cli import commands
from pipeline.desk.claims import check_answer
from pipeline.desk.intake_options import SelfServiceOptions
from pipeline.desk.options import DeskOptions
from pipeline.desk.self_service import fill_self_service
from pipeline.desk.sentence import sentences
from snapshots.model import ProblemSnapshot, SelfService, Text, with_id
from snapshots.render import RENDERERS
from snapshots.render.blocks import text_of
from snapshots.render.note import note_blocks
from tests.snapshots_samples import SAMPLES, severity

CREATED = datetime.fromisoformat("2026-11-23T10:00:00+08:00")
ENGLISH = """# Change the title of an invoice
## Problem
The title of an invoice is wrong.
## Questions
- How do I change the title of an invoice?
## Steps
1. Open the order and choose Invoice.
2. Choose Change title, and write the new one.
"""
CHINESE = """# 修改发票抬头
## 问题
发票抬头写错了，需要修改。
## 常见问法
- 发票抬头怎么改
## 步骤
1. 打开订单，点“发票”。
2. 点“修改抬头”，填写新的抬头。
"""
OTHER = """---
id: delivery.address
---
# Change the delivery address
## Problem
The parcel goes to an old address.
## Steps
1. Open the order and choose Address.
# 修改收货地址
## 问题
包裹寄到了旧地址。
## 步骤
1. 打开订单，点“地址”。
"""


def folder(place: Path, facts: str = "", body: str = ENGLISH + CHINESE) -> Path:
    place.mkdir(exist_ok=True)
    (place / "invoice.md").write_text(f"---\nid: invoice.title\nmodule: account\n{facts}---\n{body}", encoding="utf-8")
    (place / "address.md").write_text(OTHER, encoding="utf-8")
    return place


def ticket(text: str = "How do I change the title of an invoice?", level: str = "P4", **given: Any) -> ProblemSnapshot:
    base = SAMPLES["wechat_signature"]
    language = "zh" if any(letter >= "\u4e00" for letter in text) else "en"
    own = msgspec.structs.replace(
        base.ticket,
        **{
            "title": text,
            "description": "",
            "language": language,
            "questionnaire": {},
            "created_at": CREATED.isoformat(),
        }
        | given,
    )
    return with_id(msgspec.structs.replace(base, ticket=own, severity=severity(level)))


def answered(snapshot: ProblemSnapshot, place: Path, **desk: Any) -> tuple[SelfService | None, str]:
    """The answer, or what its check says."""
    options = DeskOptions(knowledge=str(place), self_service=SelfServiceOptions(), **desk)
    found = fill_self_service(snapshot, options)
    checks = [one.statement.en for one in found.checks if one.id == "self_service"]
    made = found.self_service
    return (made if isinstance(made, SelfService) else None), "".join(checks)


@pytest.mark.parametrize("text", ["How do I change the title of an invoice?", "发票抬头怎么改"])
def test_a_question_gets_the_steps_of_the_entry_that_answers_it(tmp_path, text):
    made, why = answered(ticket(text), folder(tmp_path / "k"))
    assert made is not None
    assert why == ""
    assert made.entry == "invoice.title"
    assert made.en[1] == "1. Open the order and choose Invoice."
    assert made.zh[-1] == "内容来自帮助文档：修改发票抬头"
    assert made.share >= 0.8
    found = with_id(msgspec.structs.replace(ticket(text), self_service=made))
    for form in ("table", "md", "html"):
        assert "invoice.title" in RENDERERS[form](found, full=True)
    part = note_blocks(found, "zh").part("desk")
    said = [text_of(line) for block in part.blocks for line in getattr(block, "lines", ())]
    assert "1. 打开订单，点“发票”。" in said
    assert any("invoice.title" in line for line in said)


@pytest.mark.parametrize(
    ("facts", "given", "told"),
    [
        ("review_by: 2026-11-22\n", {}, "its review was due"),
        ("versions: ['>=5']\n", {"questionnaire": {"app_version": "4.2"}}, "not for 4.2"),
        ("status: draft\n", {}, "not accepted"),
        ("since: 2026-11-24\n", {}, "not accepted when the ticket was created"),
        ("tickets: [TK-1042]\n", {"id": "TK-1042"}, "not accepted"),
        ("", {"title": "Where is my parcel, and which colours are there?"}, "not sure enough"),
        ("", {"title": "x" * 3000 + " title of an invoice"}, "not sure enough"),
    ],
)
def test_what_is_stale_new_or_unsure_answers_nobody(tmp_path, facts, given, told):
    made, why = answered(ticket(**given), folder(tmp_path / "k", facts))
    assert made is None
    assert told in why


def test_an_entry_whose_tickets_came_back_answers_nobody(tmp_path):
    """The history says so, as far as it was known."""
    from pipeline.desk.section import make_index
    from pipeline.settings import Settings

    rows = [
        {"id": f"T-{n}", "title": "invoice", "created_at": "2026-11-01", "closed_at": "2026-11-02", "reopened": True}
        for n in range(2)
    ]
    history = tmp_path / "h.jsonl"
    history.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    known = {"history": str(history), "index": str(tmp_path / "index"), "meaning": "off"}
    make_index(Settings(desk=DeskOptions(**known)), {}, lambda _: None)
    place = folder(tmp_path / "k", "tickets: [T-0, T-1]\n")
    assert answered(ticket(), place)[0] is not None
    made, why = answered(ticket(), place, **known)
    assert made is None
    assert "came back" in why


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("Restart the gateway server.", "gateway"),
        ("Call https://intern.example/fix.", "https://"),
        ("We will do it within two days.", "will"),
        ("Check error code PARAM_ERROR.", "PARAM_ERROR"),
        ("Write to jo@example.com.", "personal data"),
        ("Your balance was too low.", "balance"),
    ],
)
def test_the_guard_refuses_what_no_customer_is_told(tmp_path, step, words):
    made, why = answered(
        ticket(), folder(tmp_path / "k", body=ENGLISH.replace("1. Open", f"1. {step}\n2. Open") + CHINESE)
    )
    assert made is None
    assert "guard" in why
    if words != "personal data":
        assert words.casefold() in why.casefold()


def test_an_answer_may_speak_of_what_was_asked_and_names_nothing_of_ours():
    guard = sentences()
    said = Text(en="Check your balance first.", zh="请先查看余额。")
    assert check_answer(said, "Why is my balance wrong?", None, guard) == []
    assert check_answer(said, "How do I change my address?", None, guard)
    expired = Text(en="Your card expired: use another one.", zh="卡片过期：请更换银行卡。")
    assert check_answer(expired, "请问银行卡过期了怎么付款？", None, guard) == []
    snapshot = SAMPLES["wechat_signature"]
    place = snapshot.diagnosis.location.service
    assert place is not None
    assert check_answer(Text(en=f"Ask {place} about it.", zh="请询问。"), "x", snapshot, guard)


def test_one_language_is_enough_where_it_is_the_tickets(tmp_path):
    place = folder(tmp_path / "k", body=CHINESE)
    made, _ = answered(ticket("发票抬头怎么改"), place)
    assert made is not None
    assert made.en == []
    made, why = answered(ticket("发票抬头怎么改", language="en"), place)
    assert made is None
    assert "language" in why


@pytest.mark.parametrize("level", ["P1", "P2", "P3"])
def test_a_ticket_that_is_no_question_is_left_as_it_is(tmp_path, level):
    snapshot = ticket(level=level)
    options = DeskOptions(knowledge=str(folder(tmp_path / "k")), self_service=SelfServiceOptions())
    assert fill_self_service(snapshot, options) is snapshot
    assert fill_self_service(ticket(), DeskOptions(knowledge=options.knowledge)).snapshot_id == ticket().snapshot_id


def test_without_knowledge_a_check_says_so(tmp_path):
    found = fill_self_service(ticket(), DeskOptions(self_service=SelfServiceOptions()))
    assert "no knowledge is configured" in found.checks[-1].statement.en
    made, why = answered(ticket(), tmp_path / "nowhere")
    assert made is None
    assert "no such folder" in why


def test_desk_ask_gives_the_reply_or_why_there_is_none(tmp_path):
    place = folder(tmp_path / "k")
    told = CliRunner().invoke(commands, ["desk", "ask", "发票抬头怎么改", "--folder", str(place), "-o", "json"])
    assert told.exit_code == 0, told.output
    first, second = json.loads(told.stdout)
    assert first["for_customer"]["text"]["zh"].startswith("请按以下步骤操作")
    assert first["for_customer"]["why_not"] is None
    assert second["for_customer"]["text"] is None
    assert "把握不足" in second["for_customer"]["why_not"]["zh"]
