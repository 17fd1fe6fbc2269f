"""What the desk adds to a document: there in every form that people read, with numbers that lead to what it rests on."""

from __future__ import annotations

import re

import pytest
from msgspec.structs import replace

from snapshots.model import (
    Answered,
    Clause,
    CustomerMessage,
    Hint,
    KnowledgeEntry,
    Portrait,
    ProblemSnapshot,
    Question,
    Questionnaire,
    RoutedHandler,
    Routing,
    SelfService,
    Severity,
    SeverityReason,
    SeverityScope,
    SimilarTicket,
    Text,
    Urgency,
)
from snapshots.render import note
from snapshots.render.html import render as html
from snapshots.render.markdown import render as markdown
from snapshots.render.terminal import render as terminal
from tests.snapshots_samples import SAMPLES

SAMPLE = SAMPLES["dns_failure"]


def both(name: str) -> Text:
    """A text that is told apart in each language."""
    return Text(en=f"{name} in English", zh=f"{name} 的中文")


def desk() -> ProblemSnapshot:
    """The sample with every section that a desk can add."""
    level = Severity(
        level="P2",
        scope=SeverityScope(size="one", customers=1, orders=1),
        urgency=Urgency(availability="blocked", money_at_risk=True, data_security=False, contract="standard"),
        reasons=[SeverityReason(statement=both("grave"), findings=["F1", "F2"])],
        respond_by="2026-11-26T10:00:00Z",
        resolve_by="2026-11-26T18:00:00Z",
    )
    handler = RoutedHandler(handler="li", score=0.9, skill=0.9, open=1, reasons=[both("record")], tickets=["TK-7"])
    routing = Routing(abstained=False, reason=both("queue"), line=both("line"), queue="q", handlers=[handler])
    alike = SimilarTicket(
        id="TK-8",
        title="title",
        closed_at="2026-01-01T00:00:00Z",
        score=0.5,
        reasons=[both("alike")],
        findings=["F3"],
        solution="cure",
        reopened=True,
    )
    entry = KnowledgeEntry(
        id="dns.entry",
        title=both("entry"),
        score=0.4,
        reasons=[both("fits")],
        sha256="0" * 64,
        findings=["F1"],
        steps=[both("first"), both("second")],
        mistakes=[both("mistake")],
        video="https://video.example/1",
    )
    clause = Clause(statement=both("told"), findings=["F2"], evidence=["E2"])
    asked = Question(id="app_version", kind="text", ask=both("ask"), why=both("why"), findings=["F4"])
    known = Answered(id="device_model", value="iPhone", found=both("found"), evidence=SAMPLE.findings[0].evidence[:1])
    made = replace(
        SAMPLE,
        severity=level,
        routing=routing,
        similar_tickets=[alike],
        knowledge=[entry],
        customer_message=CustomerMessage(en="told in English", zh="told 的中文", clauses=[clause]),
        questions=Questionnaire(questions=[asked], known=[known]),
        portrait=Portrait(tickets=2, open=["TK-9"], hints=[Hint(statement=both("hint"), tickets=["TK-9"])]),
        self_service=SelfService(
            en=["answer"], zh=["答复"], entry="dns.entry", title=both("entry"), share=0.9, sha256="0" * 64
        ),
    )
    return replace(made, snapshot_id="ps-desk")


WHOLE = ("grave", "queue", "record", "line", "told", "alike", "fits", "second", "mistake", "ask", "found", "hint")
BRIEF = ("grave", "queue", "cure", "first", "told")


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("render", [markdown, html, terminal])
def test_every_section_of_the_desk_is_in_every_form(render, language):
    page = " ".join(render(desk(), language=language, full=True, width=400).split())
    for name in WHOLE:
        assert (both(name).en if language == "en" else both(name).zh) in page
    assert "https://video.example/1" in page or "video.example" in page
    assert "TK-7" in page


@pytest.mark.parametrize("render", [markdown, terminal])
def test_the_first_screen_says_what_the_desk_does_with_the_ticket(render):
    """Who takes it until when, what solved its like, what is known, and what the customer may be told."""
    page = " ".join(render(desk(), language="zh", full=False, width=400).split())
    shown = [name for name in BRIEF if name in page]
    assert shown == list(BRIEF)
    assert "后来又重新打开" in page
    assert "ask 的中文" in page
    assert "hint 的中文 (TK-9)" in page
    assert "服务台摘要" not in render(SAMPLE, language="zh", full=False, width=400)


def test_the_note_on_the_ticket_says_the_same():
    told = note.write(note.note_blocks(desk(), "zh"), "text")
    for name in (*BRIEF, "hint", "ask"):
        assert name in told


def test_numbers_on_the_page_lead_to_findings_and_records():
    page = html(desk(), language="en")
    part = page[page.index('<details id="desk"') :]
    linked = re.findall(r'href="#([EF]\d+)"', part[: part.index("</details>")])
    assert {"F1", "F2", "F3", "F4", "E1"} <= set(linked)
    assert all(f'<tr id="{ref}"' in page for ref in linked)


def test_what_others_wrote_makes_no_link_of_its_own():
    attack = replace(desk(), customer_message=CustomerMessage(en='x <a href="#x"> (F1, <b>E2</b>)', zh="", clauses=[]))
    page = html(attack, language="en")
    assert "&lt;b&gt;E2&lt;/b&gt;" in page
    assert '<a href="#x">' not in page
