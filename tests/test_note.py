"""A note says the same in every form, names nobody, leads only where we lead, and fits what the system takes.

What people read is held in `golden/notes/`; after a wanted change, write it anew with `UPDATE_GOLDEN=1 pytest
tests/test_note.py` and look at the difference.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, get_args

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.tickets import system
from snapshots.model import Coverage, Hint, PaymentAttempt, Portrait, Question, Questionnaire, Text
from snapshots.render.blocks import Blocks, Items, Paragraph, Run
from snapshots.render.clean import BREAK, clean_text, defused, one_line
from snapshots.render.forms import WRITERS, Form, escape_wiki, write_form
from snapshots.render.note import Links, Touched, marker_of, note_blocks, write
from tests.hostile import PIECES, hostile
from tests.note_forms import ADF, READERS, TAGS, gfm, read_adf, said
from tests.snapshots_samples import SAMPLES

GOLDEN = Path(__file__).parent / "golden" / "notes"
SUFFIXES = {"html": "html", "markdown": "md", "wiki": "wiki", "adf": "adf.json", "text": "txt"}
LANGUAGES: tuple[Any, ...] = ("en", "zh")
FORMS: tuple[Any, ...] = tuple(SUFFIXES)
MARKER = marker_of("desk", "TK-1")
LINKS = Links(page="https://desk.example/s/ps-1", document="https://desk.example/s/ps-1.json")
OURS = {LINKS.page, LINKS.document}

FULL_WIDTH = {mark: chr(ord(mark) + 0xFEE0) for mark in "+^~|"}

attacks = st.lists(st.sampled_from(PIECES) | st.text(max_size=8), min_size=1, max_size=12).map(" ".join) | st.lists(
    st.sampled_from(PIECES), min_size=1, max_size=6
).map("".join)


def note(name: str, language: Any, form: Form, **options: Any) -> str:
    """The note of a sample."""
    return write(note_blocks(SAMPLES[name], language, LINKS), form, MARKER, **options)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ["dns_failure", "log_hole"])
def test_what_stands_on_the_ticket_is_held_in_golden_files(name, language, form):
    text = note(name, language, form)
    path = GOLDEN / f"{name}.{language}.{SUFFIXES[form]}"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_the_forms_are_those_that_ticket_systems_take():
    assert set(get_args(system.Form)) == set(get_args(Form)) == set(WRITERS) == set(FORMS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_located_fault_is_told_in_the_order_of_ten_seconds(language):
    """What failed, what to do, who, where, how sure, the order and its payment, when; then the records."""
    s = SAMPLES["dns_failure"]
    pick = (lambda part: part.en) if language == "en" else (lambda part: part.zh)
    order = [
        {"en": "DNS resolution failure", "zh": "域名解析失败"}[language],
        pick(s.diagnosis.summary),
        pick(s.diagnosis.first_action),
        {"en": "our side (network/SRE)", "zh": "我方（network/SRE）"}[language],
        "pay-channel · POST /v1/tokens · stripe",
        "94 %",
        "1,299.00 USD",
        "CREATE_FAILED",
        "2026-11-02 03:13:52 -08:00",
        pick(s.findings[0].statement),
        "E1",
        "logs-app-2026.11.02 / eL9JnjkC000011a7",
        "1,500",
        "R01-R03",
        f"problem-snapshot show {s.snapshot_id}",
    ]
    text = note("dns_failure", language, "text").replace(BREAK, "")
    at = 0
    for part in order:
        found = text.find(part, at)
        assert found >= 0, f"{part!r} is missing or out of order"
        at = found


def test_an_abstention_says_so_and_what_would_decide():
    text = note("log_hole", "en", "text")
    assert text.startswith("Not decided")
    assert "located" not in text
    assert text.index("What would decide it") < text.index("The strongest lines so far")
    assert "Ask: What does PayPal show for trade T26292818734638" in text
    assert "34 %" in text


@pytest.mark.parametrize("name", SAMPLES)
def test_each_finding_stands_with_a_record_that_can_be_opened(name):
    """Its number leads to the record on the page; index and document id, or file and bytes, stand beside it."""
    part = note_blocks(SAMPLES[name], "en", LINKS).part("proof")
    assert part is not None
    items = next(block for block in part.blocks if isinstance(block, Items)).items
    assert 1 <= len(items) <= 5
    for *_, where in items:
        ref, pointer = where[0], where[-1]
        assert ref.url == f"{LINKS.page}#{ref.text}"
        cited = [e for f in SAMPLES[name].findings for e in f.evidence if e.ref == ref.text]
        assert pointer.text.startswith(cited[0].source)
        assert pointer.text.endswith((cited[0].doc_id or cited[0].file or "")[-12:])


def test_what_was_not_read_is_told_in_numbers():
    rows = [
        Coverage(source="a", kind="elasticsearch", what="logs", status="failed", asked="x", error="connection refused"),
        Coverage(source="b", kind="elasticsearch", what="logs", status="ok", asked="x", matched=91_000, fetched=2_000, sampled=True, cut=89_000),
        Coverage(source="c", kind="jaeger", what="spans", status="partial", asked="x", matched=10, fetched=4),
    ]  # fmt: skip
    text = write(note_blocks(msgspec.structs.replace(SAMPLES["dns_failure"], coverage=rows, checks=[]), "en"), "text")
    for part in (
        "logs (a): failed",
        "connection refused",
        "2,000 of 91,000 rows",
        "a sample",
        "89,000 left out",
        "4 of 10 rows",
    ):
        assert part in text


def test_how_many_are_touched_is_told_where_it_is_known():
    s = SAMPLES["dns_failure"]
    assert "Touched" not in write(note_blocks(s, "en"), "text")
    text = write(note_blocks(s, "en", touched=Touched(tickets=7, customers=1_205, channels=2)), "text")
    assert "Touched: tickets 7 · customers 1,205 · channels 2" in text
    many = msgspec.structs.replace(
        s, scope=msgspec.structs.replace(s.scope, focus_orders=["A", "B"], channels=["x", "y", "z"])
    )
    assert "影响范围：订单 2 · 渠道 3" in write(note_blocks(many, "zh"), "text")


def test_an_order_with_many_attempts_is_still_one_line():
    rows = [
        PaymentAttempt(order_id="O", entity="attempt", entity_id=f"P{n}", state="FAILED", raw_state="FAILED", code="E7")
        for n in range(9)
    ]
    text = write(note_blocks(msgspec.structs.replace(SAMPLES["dns_failure"], payment_attempts=rows), "en"), "text")
    assert "Payments: P6 failed E7; P7 failed E7; P8 failed E7; and 6 more\n" in text


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_text_is_the_same_in_every_form(name, language, form):
    blocks = note_blocks(SAMPLES[name], language, LINKS)
    assert READERS[form](write(blocks, form)).words == said(blocks, marks=form == "text")


def held(blocks: Blocks, form: Form) -> None:
    """The laws: the same text, only our links and elements, the marker once."""
    text = write_form(blocks, form)
    shown = READERS[form](text)
    assert shown.words == said(blocks, marks=form == "text")
    assert shown.tags <= TAGS[form]
    assert {url.partition("#")[0] for url in shown.links} <= OURS
    assert not re.search(r"problem-snapshot:", text, re.IGNORECASE)
    marked = write(blocks, form, MARKER)
    assert marked.count("problem-snapshot:") == marked.count(MARKER) == 1
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    # Template engines know no escaping: whoever renders the stored note once more finds nothing to fill in.
    assert not re.search(r"\{\{\s*[\w/]|\{%|\{#|[$#]\{|<%", text) or form == "wiki"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SAMPLES)
def test_nothing_that_others_wrote_acts_in_a_note(name, form):
    held(note_blocks(hostile(name), "en", LINKS), form)


@pytest.mark.parametrize("form", FORMS)
def test_no_mark_of_any_system_acts_in_a_note(form):
    # Checking against Atlassian's schema takes a fifth of a second.
    pieces = PIECES if form != "adf" else [" ".join(PIECES[n::9]) for n in range(9)]
    for piece in pieces:
        held(note_blocks(hostile("dns_failure", f" {piece}"), "zh", LINKS), form)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=25, deadline=None)
@given(attack=attacks, name=st.sampled_from(sorted(SAMPLES)), language=st.sampled_from(LANGUAGES))
def test_whatever_is_written_into_a_log_stays_text(form, attack, name, language):
    held(note_blocks(hostile(name, attack), language, LINKS), form)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=150, deadline=None)
@given(text=attacks, style=st.sampled_from(["plain", "strong", "code"]))
def test_a_run_of_any_text_reads_as_it_was(form, text, style):
    """Beside other text, since that is how it stands in a note."""
    text = one_line(clean_text(text))
    blocks = Blocks(
        "en",
        (),
        (
            Paragraph(((Run("is: ", "plain"), Run(text, style), Run(" .", "plain")),)),
            Items((((Run(text, style),), (Run(text, "code"),)),)),
        ),
    )
    shown = READERS[form](write_form(blocks, form))
    assert shown.words == said(blocks, marks=form == "text")
    assert not shown.links


def test_no_name_is_called_and_no_number_referred_to():
    """GitHub, GitLab, Redmine and Jira look for these in what the reader will see, so an entity would not do."""
    for text in (
        "@all",
        "(@octocat)",
        "a@b.c",
        "#12",
        "x/y#9",
        "!4",
        "&7",
        "~bug",
        '%"v1"',
        "[~bob]",
        "[[Page]]",
        "http://x.y",
        "www.x.y",
        "mailto:a",
    ):
        assert defused(text) != text
        assert defused(text).replace(BREAK, "") == text
        for form in FORMS:
            assert f"is {text}" not in write(Blocks("en", (), (Paragraph(((Run(f"is {text}"),),)),)), form)


@pytest.mark.skipif(shutil.which("pandoc") is None, reason="pandoc is not installed")
@pytest.mark.parametrize("name", SAMPLES)
def test_pandoc_reads_the_same_text_out_of_the_wiki_form(name):
    attacks = (" ".join(PIECES[n::8]) for n in range(8))
    for snapshot in (SAMPLES[name], hostile(name), *(hostile(name, f" {attack}") for attack in attacks)):
        blocks = note_blocks(snapshot, "en", LINKS)
        text = write_form(blocks, "wiki")
        # Before version 3 it does not know that these may be escaped; Jira does.
        text = re.sub(r"\\([+^~|])", lambda found: FULL_WIDTH[found[1]], text)
        run = subprocess.run(
            ["pandoc", "-f", "jira", "-t", "json"], input=text, capture_output=True, text=True, check=True
        )
        shown, links, kinds = pandoc_words(json.loads(run.stdout)["blocks"])
        narrow = {ord(wide): mark for mark, wide in FULL_WIDTH.items()}
        assert [word.translate(narrow) for word in shown] == said(blocks)
        assert {url.partition("#")[0] for url in links} <= OURS
        assert kinds <= {
            "Header",
            "Para",
            "Plain",
            "Strong",
            "Code",
            "Str",
            "Space",
            "LineBreak",
            "SoftBreak",
            "Link",
            "OrderedList",
            "BulletList",
            "Span",
        }


def pandoc_words(node: Any) -> tuple[list[str], set[str], set[str]]:
    """The words, links and kinds of pandoc's tree."""
    out: list[str] = []
    links: set[str] = set()
    kinds: set[str] = set()

    def walk(part: Any) -> None:
        if isinstance(part, list):
            for one in part:
                walk(one)
        elif isinstance(part, dict) and "t" in part:
            kind, content = part["t"], part.get("c")
            if kind in {"DecimalPeriod", "Decimal", "DefaultStyle", "DefaultDelim"}:
                return
            kinds.add(kind)
            if kind == "Str":
                out.append(content)
            elif kind in {"Space", "LineBreak", "SoftBreak"}:
                out.append(" ")
            elif kind == "Code":
                out.append(content[1])
            elif kind == "Link":
                links.add(content[2][0])
                walk(content[1])
            elif kind == "Header":
                walk(content[2])
                out.append(" ")
            elif kind == "Span":
                walk(content[1])
            else:
                walk(content)
            if kind in {"Para", "Plain"}:
                out.append(" ")

    walk(node)
    return "".join(out).replace(BREAK, "").split(), links, kinds


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SAMPLES)
def test_past_the_limit_whole_parts_go_from_the_end_and_are_named(name, form):
    blocks = note_blocks(SAMPLES[name], "en", LINKS)
    whole = write(blocks, form, MARKER)
    assert write(blocks, form, MARKER, len(whole)) == whole
    limit = len(whole) - 1
    for gone in range(1, len(blocks.parts)):
        text = write(blocks, form, MARKER, limit)
        assert len(text) <= limit
        assert f"Left out here for length ({gone})" in " ".join(READERS[form](text).words)
        assert all(part.name in text for part in blocks.parts[-gone:])
        assert SAMPLES[name].snapshot_id in text
        assert text.count(MARKER) == 1
        limit = len(text) - 1
    with pytest.raises(ValueError, match=str(limit)):
        write(blocks, form, MARKER, limit)


def test_the_limit_may_be_of_bytes():
    text = note("dns_failure", "zh", "text", limit=2000, size=lambda t: len(t.encode()))
    assert len(text.encode()) <= 2000 < len(note("dns_failure", "zh", "text").encode())


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_note_fits_on_a_screen_whatever_the_document_holds(name, language):
    """At most forty lines and 4,000 characters, also where every text is ten times too long."""
    long = hostile(name, " very long words " * 400)
    assert len(write(note_blocks(long, language), "text")) < 6_500
    assert write(note_blocks(long, language), "text").count("\n") < 60
    assert len(note(name, language, "text")) < 3_000


def test_a_marker_is_the_same_for_a_ticket_and_another_for_every_other():
    assert marker_of("a", "1") == marker_of("a", "1")
    assert len({marker_of("a", "1"), marker_of("a", "2"), marker_of("b", "1"), marker_of("a1", "")}) == 4
    with pytest.raises(ValueError, match="no marker"):
        write(note_blocks(SAMPLES["log_hole"], "en"), "text", "problem-snapshot:XYZ")


def test_the_marker_is_hidden_where_what_hides_it_is_kept():
    """Comments last in Markdown's source; HTML sanitizers take them out, and ADF, wiki and text have none."""
    assert note("log_hole", "en", "markdown").endswith(f"<!-- {MARKER} -->\n")
    for form in ("html", "wiki", "adf", "text"):
        text = note("log_hole", "en", form)
        assert MARKER in text.splitlines()[-1]
        assert "<!--" not in text
    assert READERS["html"](note("log_hole", "en", "html")).words[-1] == MARKER
    assert read_adf(note("log_hole", "en", "adf")).words[-1] == MARKER


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "//desk.example/x", "desk.example", "ftp://desk.example", "http:x"]
)
def test_a_link_that_is_no_web_address_is_refused(url):
    with pytest.raises(ValueError, match="no http or https address"):
        Links(page=url)


@pytest.mark.parametrize("form", FORMS)
def test_an_address_of_ours_leads_where_it_did_whatever_is_in_it(form):
    links = Links(page='https://desk.example/a b/(c)|[d]{e}"f<g>\\h?x=1&y=*_2_*')
    assert links.page == "https://desk.example/a%20b/%28c%29%7C%5Bd%5D%7Be%7D%22f%3Cg%3E%5Ch?x=1&y=%2A_2_%2A"
    shown = READERS[form](write(note_blocks(SAMPLES["dns_failure"], "en", links), form))
    assert links.page in shown.links
    assert {url.partition("#")[0] for url in shown.links} == {links.page}


def test_without_links_a_note_has_none():
    for form in FORMS:
        assert not READERS[form](write(note_blocks(SAMPLES["dns_failure"], "en"), form)).links


def test_the_schema_refuses_a_document_that_is_none():
    """So that the checks above can fail."""
    for content in (
        [{"type": "text", "text": "bare"}],
        [{"type": "paragraph", "content": [{"type": "text", "text": ""}]}],
    ):
        with pytest.raises(jsonschema.ValidationError):
            ADF.validate({"version": 1, "type": "doc", "content": content})


@pytest.mark.browser
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("form", ["html", "markdown"])
def test_in_a_browser_a_note_fits_a_narrow_column_and_does_nothing(form, language, tmp_path, chromium):
    """380 pixels, as beside a ticket's fields: nothing sticks out, no script runs, no picture is asked for."""
    attacks = [" ".join(PIECES), " " + "W" * 300, ""]
    bodies = [write(note_blocks(hostile("dns_failure", attack), language, LINKS), form, MARKER) for attack in attacks]
    notes = [body if form == "html" else gfm().render(body) for body in bodies]
    columns = "".join(f'<div style="width:380px">{body}</div>' for body in notes)
    # Markdown's page is GitHub's or GitLab's, whose style sheets let long words break; HTML stands in whatever page
    # there is.
    wraps = "overflow-wrap:break-word" if form == "markdown" else ""
    script = """<script>
        for (const column of document.querySelectorAll("div")) {
            const edge = column.getBoundingClientRect().right + 1;
            const out = [...column.querySelectorAll("*")].filter(e => e.getBoundingClientRect().right > edge);
            const acting = column.querySelectorAll("script,img,iframe,style,[onerror]");
            const told = document.createElement("output");
            told.textContent = `${out.length} out, ${acting.length} acting, ${column.scrollHeight > 300}`;
            document.body.append(told);
        }
    </script>"""
    page = tmp_path / "note.html"
    page.write_text(
        f'<!doctype html><meta charset="utf-8"><body style="font:14px sans-serif;{wraps}">{columns}{script}',
        encoding="utf-8",
    )
    quiet = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
    run = subprocess.run(
        [chromium, *quiet.split(), f"--user-data-dir={tmp_path}/profile", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert re.findall("<output>(.*?)</output>", run.stdout) == ["0 out, 0 acting, true"] * 3


def test_a_wiki_escape_is_only_where_it_is_needed():
    assert (
        escape_wiki("SO-2026 at 12:13:53, 94 % (sure); a@b /etc/x.conf")
        == "SO-2026 at 12:13:53, 94 % (sure); a@b /etc/x.conf"
    )


def test_questions_and_hints_that_a_note_has_no_room_for_are_counted():
    """All of them are in the document, where the settings ask for more than a note shows."""
    text = Text(en="What was seen?", zh="看到了什么？")
    asked = Questionnaire(questions=[Question(id=f"q{n}", kind="text", ask=text, why=text) for n in range(6)])
    known = Portrait(tickets=9, hints=[Hint(statement=text, tickets=["T-1"]) for _ in range(4)])
    snapshot = msgspec.structs.replace(SAMPLES["dns_failure"], questions=asked, portrait=known)
    shown = write(note_blocks(snapshot, "en", LINKS), "text", MARKER)
    assert shown.count("What was seen?") == 4 + 3
    assert (shown.count("and 2 more"), shown.count("and 1 more")) == (1, 1)
