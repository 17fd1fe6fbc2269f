"""The renderers show everything that matters in reading order, and nothing from outside can act on the reader.

What people read is held in `golden/`; after a wanted change, write it anew with `UPDATE_GOLDEN=1 pytest tests/test_render.py`
and look at the difference.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.cells import cell_len

from snapshots import words
from snapshots.model import Check, Coverage, Text, canonical_bytes, read_snapshot
from snapshots.render import RENDERERS, render
from snapshots.render.clean import BREAK, clean_text, one_line, shorten
from snapshots.render.details import cited_evidence
from snapshots.render.figures import id_ranges
from snapshots.render.markdown import cell_code_md, code_md, escape_md
from snapshots.render.view import build_view
from tests.hostile import hostile
from tests.snapshots_samples import OFFSETS, SAMPLES

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden"
SUFFIXES = {"md": "md", "html": "html", "table": "txt"}
LANGUAGES = ("en", "zh")


def zone_of(name: str) -> timezone:
    """The zone in which a sample's ticket was written."""
    return timezone(timedelta(hours=OFFSETS[name]))


def rendered(name: str, output: str, language: Any, **options: Any) -> str:
    """A sample in the zone of its ticket."""
    return render(SAMPLES[name], output, language=language, zone=zone_of(name), **options)


@pytest.mark.parametrize("output", SUFFIXES)
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", SAMPLES)
def test_what_people_read_is_held_in_golden_files(name, language, output):
    text = rendered(name, output, language, full=True)
    path = GOLDEN / f"{name}.{language}.{SUFFIXES[output]}"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_page_for_a_ticket_says_what_the_desk_says(language):
    """Also the short Markdown: level with deadlines and reason, and what the customer may be told; without a desk nothing."""
    s = SAMPLES["wechat_signature"]
    pick = (lambda part: part.en) if language == "en" else (lambda part: part.zh)
    short = rendered("wechat_signature", "md", language)
    assert words.label("desk", language) in short
    for said in (pick(s.customer_message), pick(s.severity.reasons[0].statement), words.label("resolve_by", language)):
        assert said in short
    assert words.label("provenance", language) not in short
    assert words.label("desk", language) not in rendered("log_hole", "md", language)


@pytest.mark.parametrize("output", ["table", "md", "html"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_located_fault_reads_in_the_order_of_ten_seconds(output, language):
    """What failed, where, how sure, the proof, what speaks against, healthy, unchecked, what to do, who."""
    s = SAMPLES["wechat_signature"]
    text = re.sub(r"\s+", " ", rendered("wechat_signature", output, language))
    pick = (lambda part: part.en) if language == "en" else (lambda part: part.zh)
    order = [
        words.label("located", language),
        words.subclass_name("signature_cert", "sign_invalid", language),
        pick(s.diagnosis.summary),
        "billing-api · POST /pay/unifiedorder · wechatpay",
        "20265392437790 · 129.00 CNY",
        "88 %",
        words.subclass_name("signature_cert", "key_missing", language),
        words.label("proof", language),
        words.label("against", language),
        pick(s.findings[3].statement)[:20],
        words.label("healthy", language),
        pick(s.checks[0].statement),
        words.label("unchecked", language),
        "R01-R05, R07-R21",
        words.label("first", language),
        pick(s.diagnosis.first_action),
        words.owner_name("us", language),
    ]
    text = (
        text
        if output != "table"
        else text.replace(words.label("located", language).upper(), words.label("located", language))
    )
    at = 0
    for part in order:
        found = text.find(part.replace("<", "&lt;") if output != "table" else part, at)
        assert found >= 0, f"{part!r} is missing or out of order"
        at = found


@pytest.mark.parametrize("output", ["table", "md", "html"])
@pytest.mark.parametrize("name", SAMPLES)
def test_the_first_screen_shows_three_lines_with_time_zone_service_and_ref(name, output):
    view = build_view(SAMPLES[name], language="en", zone=zone_of(name))
    text = re.sub(r"\s+", " ", rendered(name, output, "en"))
    available = {e.ref for finding in SAMPLES[name].findings if finding.weight > 0 for e in finding.evidence}
    assert len(view.proofs) == min(3, len(available))
    for proof in view.proofs:
        assert proof.moment is not None
        assert re.fullmatch(r"\d\d:\d\d:\d\d [+-]\d\d:\d\d", proof.moment.clock)
        for part in (proof.moment.clock, proof.service, proof.ref):
            assert part in text


def test_both_charges_prove_a_duplicate_charge():
    """A contradiction between two order events is only proved by both of them."""
    proofs = build_view(SAMPLES["duplicate_charge"], language="en").proofs
    assert [proof.ref for proof in proofs] == ["E1", "E2", "E3"]


def test_an_abstention_looks_different_and_says_what_would_decide():
    for output in ("table", "md", "html"):
        text = re.sub(r"\s+", " ", rendered("log_hole", output, "en"))
        assert "not decided" in text.lower()
        assert "fault located" not in text.lower()
        assert "no log line of those 20 minutes exists" in text
        assert "34 %" in text
        assert "Connection refused, reset or unreachable" in text
        assert "13:55:00 – 14:15:00 +08:00" in text
        assert "Ask: What does PayPal show for trade T26292818734638" in text
        assert text.index("What would decide it") < text.index("The strongest lines so far")


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_terminal_view_fits_a_screen_and_a_hundred_columns(name, language):
    lines = rendered(name, "table", language).splitlines()
    assert len(lines) <= 60
    for full in (False, True):
        for width in (60, 80, 100):
            wide = rendered(name, "table", language, width=width, full=full).splitlines()
            assert max(cell_len(line) for line in wide) <= width


@pytest.mark.parametrize("output", ["table", "md", "html"])
@pytest.mark.parametrize("name", SAMPLES)
def test_every_ref_that_is_cited_can_be_looked_up_with_its_pointer(name, output):
    text = rendered(name, output, "en", full=True)
    for evidence in cited_evidence(SAMPLES[name]):
        assert evidence.sha256[:12] in text
    cited = set(re.findall(r"\bE\d+\b", text))
    assert cited <= {e.ref for e in cited_evidence(SAMPLES[name])}
    if output == "html":
        assert set(re.findall(r'href="#(\w+)"', text)) <= set(re.findall(r'id="(\w+)"', text))


def test_twenty_checks_that_could_not_run_are_one_line():
    unchecked = build_view(SAMPLES["dns_failure"], language="en").unchecked
    assert unchecked[-1] == "20 checks not evaluated, their data is absent: R01-R03, R05, R07-R16, R20-R25"
    assert len(unchecked) == 3


def test_a_thousand_sources_and_checks_do_not_bury_the_page():
    """Whatever is not shown line by line is counted."""
    s = msgspec.structs.replace(
        SAMPLES["dns_failure"],
        coverage=[
            Coverage(source=f"s{n}", kind="bundle", what="logs", status=status, asked="x")
            for n in range(300)
            for status in ("failed", "skipped", "empty")
        ],
        checks=[
            Check(
                id=f"family{chr(97 + n % 26)}{chr(97 + n // 26)}",
                outcome="not_evaluated",
                statement=Text(en=f"n{n}", zh=f"n{n}"),
            )
            for n in range(400)
        ],
    )
    unchecked = build_view(s, language="en").unchecked
    assert len(unchecked) <= 8
    assert any("300 sources of logs failed" in line for line in unchecked)
    assert any("400 checks" in line for line in unchecked)


@pytest.mark.parametrize("name", SAMPLES)
def test_json_is_the_canonical_document_whatever_the_reader_chose(name):
    text = rendered(name, "json", "zh", full=True, width=40)
    assert text.encode() == canonical_bytes(SAMPLES[name])
    assert read_snapshot(text.encode()) == SAMPLES[name]


@pytest.mark.parametrize("output", RENDERERS)
@pytest.mark.parametrize("name", SAMPLES)
def test_equal_documents_give_equal_text_that_ends_in_one_newline(name, output):
    text = rendered(name, output, "en", full=True)
    assert text == rendered(name, output, "en", full=True)
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_times_stand_in_the_readers_zone_with_the_date_where_the_day_differs():
    s = SAMPLES["dns_failure"]
    berlin = build_view(s, language="en", zone=timezone(timedelta(hours=1)))
    assert berlin.when == "2026-11-02 12:13:52 +01:00"
    assert berlin.proofs[0].moment is not None
    assert berlin.proofs[0].moment.clock == "12:13:53 +01:00"
    assert berlin.proofs[0].moment.utc == "2026-11-02 11:13:53.446"
    # 11:13:52 UTC is one minute before midnight at +12:46; a line one minute later belongs to the next day.
    late = build_view(s, language="en", zone=timezone(timedelta(hours=12, minutes=45)))
    assert late.window.startswith("looked at 23:48:52 to 11-03 00:08:52 +12:45")


def test_without_a_zone_the_tickets_own_offset_is_used():
    s = SAMPLES["dns_failure"]
    assert build_view(s, language="en").when == "2026-11-02 03:13:52 -08:00"
    ticket = msgspec.structs.replace(s.ticket, created_at="2026-11-02T11:51:52Z")
    assert build_view(msgspec.structs.replace(s, ticket=ticket), language="en").when.endswith("+00:00")


def test_a_time_that_cannot_be_read_is_shown_as_it_is():
    s = SAMPLES["log_hole"]
    e = msgspec.structs.replace(s.findings[0].evidence[0], at="around noon")
    odd = msgspec.structs.replace(s, findings=[msgspec.structs.replace(s.findings[0], evidence=[e])])
    for output in ("table", "md", "html"):
        assert "around noon" in render(odd, output)


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("full", [False, True])
def test_nothing_from_a_log_reaches_the_terminal_as_an_escape(name, full):
    text = render(hostile(name), "table", language="zh", full=full)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069]", text)
    assert "owned" not in text
    # Wrapping may break it anywhere, so only the whole is looked for.
    assert "⟨U+202E⟩" in re.sub(r"\s+", "", text)
    assert "[red]" in re.sub(r"\s+", "", text)
    assert ":bomb:" in re.sub(r"\s+", "", text)


class Tags(HTMLParser):
    """Collects what a browser would see as tags and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remembers the tag."""
        self.seen.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


def tags(page: str) -> Tags:
    """The tags of a page."""
    parser = Tags()
    parser.feed(page)
    return parser


@pytest.mark.parametrize("name", SAMPLES)
def test_nothing_from_a_log_becomes_html(name):
    page = render(hostile(name), "html", language="en")
    assert tags(page).seen == tags(rendered(name, "html", "en")).seen | ({"span"} & tags(page).seen)
    assert not [name for name, _ in tags(page).attributes if name.startswith("on") or name in {"src", "style"}]
    assert all(value.startswith("#") for name, value in tags(page).attributes if name == "href")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069]", page)
    assert "⟨U+202E⟩" in page
    assert "49" not in re.findall(r"\{\{ (\S+) \}\}", page)


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_needs_nothing_from_outside_and_its_policy_allows_only_its_own_style(name, language):
    page = rendered(name, "html", language)
    assert f'<html lang="{"zh-CN" if language == "zh" else "en"}">' in page
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in page.replace("&#39;", "'")
    assert tags(page).seen.isdisjoint(
        {"script", "link", "img", "iframe", "object", "embed", "form", "base", "audio", "video"}
    )
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    assert "prefers-color-scheme: dark" in style[1]
    assert "@media print" in style[1]


@pytest.mark.parametrize("name", SAMPLES)
def test_nothing_from_a_log_becomes_markdown(name):
    """Neither HTML nor links, pictures, headings or broken tables come out of the parts that others wrote."""
    gfm = MarkdownIt("commonmark", {"html": True, "linkify": False}).enable("table")
    calm, wild = (gfm.parse(render(s, "md", language="en", full=True)) for s in (hostile(name, " calm"), hostile(name)))

    def shape(tokens):
        return [t.type for t in tokens if t.type not in {"inline", "paragraph_open", "paragraph_close", "text"}]

    assert shape(calm) == shape(wild)
    inline = {child.type for token in wild for child in token.children or []}
    assert inline <= {"text", "code_inline", "strong_open", "strong_close", "softbreak", "text_special"}


def test_markdown_shows_no_address_that_turns_into_a_link_by_itself():
    text = re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", render(hostile("dns_failure"), "md", full=True))
    assert "http://" not in text
    assert "www.evil" not in text


@given(st.text(max_size=60))
def test_escaped_markdown_reads_as_the_text_it_was(text):
    text = one_line(clean_text(text))
    (inline,) = MarkdownIt("commonmark").enable("table").parse(f"x {escape_md(text)} x")[1:2]
    shown = "".join(child.content for child in inline.children or []).replace(BREAK, "")
    assert shown.split() == f"x {text} x".split()


@given(st.text(alphabet="`|\\ ab", max_size=30))
def test_a_code_span_holds_exactly_its_text(text):
    text = one_line(text)
    html = MarkdownIt("commonmark").render(f"x {code_md(text)} x")
    expected = f"<p>x <code>{text}</code> x</p>\n" if text else "<p>x  x</p>\n"
    assert html == expected
    table = MarkdownIt("commonmark").enable("table").render(f"|a|b|\n|---|---|\n| {cell_code_md(text)} | z |\n")
    assert table.count("<td>") == 2
    assert "<td>z</td>" in table


@given(st.text(max_size=80))
def test_cleaning_twice_is_cleaning_once_and_leaves_no_control(text):
    once = clean_text(text)
    assert clean_text(once) == once
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ufeff]", once)


@given(st.text(max_size=200), st.integers(10, 60))
def test_a_shortened_text_is_never_longer_than_its_limit(text, limit):
    assert len(shorten(text, limit)) <= limit


@given(st.lists(st.integers(0, 30), unique=True))
def test_ranges_of_ids_stand_for_exactly_these_ids(numbers):
    back = set()
    for part in filter(None, id_ranges([f"R{n:02d}" for n in numbers]).split(", ")):
        first, _, last = part.replace("R", "").partition("-")
        back |= set(range(int(first), int(last or first) + 1))
    assert back == set(numbers)


def test_colour_is_only_there_when_asked_for_and_no_color_wins(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    s = SAMPLES["dns_failure"]
    assert "\x1b[" not in render(s, "table")
    assert "\x1b[" in render(s, "table", colour=True)
    assert re.sub(r"\x1b\[[\d;]*m", "", render(s, "table", colour=True)).split() == render(s, "table").split()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in render(s, "table", colour=True)


def test_an_unknown_output_is_refused_with_the_names_that_exist():
    with pytest.raises(ValueError, match="choose one of table, terminal, json, md, html"):
        render(SAMPLES["dns_failure"], "pdf")


def test_no_fault_is_not_shown_as_a_fault():
    s = SAMPLES["dns_failure"]
    d = msgspec.structs.replace(s.diagnosis, fault_class="pending", fault_subclass="processing", class_name=None)
    page = render(msgspec.structs.replace(s, diagnosis=d), "html")
    assert "No fault found" in page
    assert "Fault located" not in page


def test_an_empty_document_still_renders():
    """Nothing found, nothing read: every part says so and none fails."""
    s = SAMPLES["dns_failure"]
    bare = msgspec.structs.replace(
        s,
        diagnosis=msgspec.structs.replace(
            s.diagnosis,
            abstained=True,
            candidates=[],
            missing=[],
            fault_class=None,
            fault_subclass=None,
            owner=None,
            first_action=None,
        ),
        findings=[],
        checks=[],
        coverage=[],
        templates=[],
        orders=[],
        payment_attempts=[],
        spans=[],
    )
    for output in RENDERERS:
        for language in LANGUAGES:
            assert bare.ticket.id in render(bare, output, language=language, full=True)


def test_a_class_that_is_not_known_here_is_shown_by_its_id():
    s = SAMPLES["dns_failure"]
    d = msgspec.structs.replace(s.diagnosis, fault_class="quantum_fault", fault_subclass="cat_alive", class_name=None)
    assert "quantum fault › cat alive" in render(msgspec.structs.replace(s, diagnosis=d), "table")


def test_the_fault_names_equal_the_taxonomys():
    """The document's words and the judge's classes cannot drift apart."""
    with (ROOT / "pipeline/faults/fault_taxonomy.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = {(row["class"], row["subclass"]): (row["name_en"], row["name_zh"]) for row in rows}
    expected |= {(row["class"], ""): (row["class_name_en"], row["class_name_zh"]) for row in rows}
    assert words.fault_names() == expected


def test_every_fixed_text_is_there_in_both_languages_with_the_same_blanks():
    for key, (english, chinese) in words._LABELS.items():
        assert english
        assert chinese
        assert set(re.findall(r"\{(\w+)\}", english)) == set(re.findall(r"\{(\w+)\}", chinese)), key


def test_choosing_a_renderer_loads_only_its_own_library():
    """`--help` and JSON output pay for neither jinja2 nor rich."""
    code = (
        "import sys; sys.path.insert(0, '.');"
        "from snapshots.render import RENDERERS; from tests.snapshots_samples import SAMPLES;"
        "RENDERERS['json'](SAMPLES['log_hole']);"
        "assert not {'jinja2', 'rich', 'pyarrow'} & set(sys.modules), 'loaded too early'"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=30)


def test_a_page_of_five_hundred_findings_is_made_in_a_moment():
    """Rendering is not where the time goes, however much was found."""
    s = SAMPLES["dns_failure"]
    findings = [
        msgspec.structs.replace(
            s.findings[n % 5],
            id=f"G{n}",
            evidence=[msgspec.structs.replace(s.findings[n % 5].evidence[0], ref=f"E{n}")],
        )
        for n in range(500)
    ]
    big = msgspec.structs.replace(s, findings=findings)
    begun = datetime.now(UTC)
    for output in ("table", "md", "html"):
        render(big, output)
    assert (datetime.now(UTC) - begun).total_seconds() < 5
