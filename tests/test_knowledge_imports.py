"""Other knowledge bases come in as drafts; a hostile file is skipped, told, and breaks nothing."""

from __future__ import annotations

import io
import time
import zipfile
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.desk.entry import read_entry, write_entry
from pipeline.desk.imports import html_to_markdown, read_export
from pipeline.errors import UsageError

TODAY = date(2026, 11, 26)
# As Confluence's HTML export writes a page (shortened).
PAGE = """<!DOCTYPE html><html><head><title>Support : Refund is stuck</title>
<link rel="stylesheet" href="styles/site.css" type="text/css" /><META http-equiv="Content-Type" content="text/html; charset=UTF-8"></head>
<body class="theme-default aui-theme-default"><div id="page"><div id="main-header"><div id="breadcrumb-section">
<ol id="breadcrumbs"><li class="first"><span><a href="index.html">Support</a></span></li></ol></div></div>
<div id="content" class="view"><div class="page-metadata">Created by <span class='author'> A B</span></div>
<div id="main-content" class="wiki-content group"><div class='toc-macro rbtoc1'><ul><li><a href='#x-Cause'>Cause</a></li></ul></div><p>The customer waits for his money.</p>
<h2 id="x-Cause">Cause</h2><p>The channel has not answered the <strong>refund query</strong>.</p>
<h2 id="x-Solution">Solution</h2><ol><li>Query the refund</li><li><p>Use the abnormal-refund interface</p></li></ol>
<h2>Common mistakes</h2><ul><li>Refunding twice</li></ul></div></div></div></body></html>"""


def test_a_confluence_export_becomes_entries(tmp_path):
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("SUP/index.html", "<title>Support</title>list of pages")
        archive.writestr("SUP/Refund-is-stuck_123.html", PAGE)
        archive.writestr("SUP/attachments/1.png", b"x")
    found = read_export(path, TODAY, owner="ops")
    assert found.skipped == []
    (entry,) = found.entries
    assert entry.facts.status == "draft"
    assert entry.facts.owner == "ops"
    assert entry.en.title == "Refund is stuck"
    assert entry.en.problem == "The customer waits for his money."
    assert entry.en.cause == "The channel has not answered the **refund query**."
    assert entry.en.steps == ("Query the refund", "Use the abnormal-refund interface")
    assert entry.en.mistakes == ("Refunding twice",)


def test_a_chinese_page_in_gbk_is_read(tmp_path):
    html = '<meta charset="gbk"><title>退款卡单</title><body><h2>原因</h2><p>渠道未返回</p><h2>解决方案</h2><p>查询退款</p>'
    (tmp_path / "a.html").write_bytes(html.encode("gbk"))
    (entry,) = read_export(tmp_path / "a.html", TODAY).entries
    assert (entry.en, entry.zh.title, entry.zh.cause, entry.zh.steps) == (None, "退款卡单", "渠道未返回", ("查询退款",))


def test_a_csv_with_names_of_its_own_is_read(tmp_path):
    path = tmp_path / "kb.csv"
    path.write_text(
        'No,Subject,标题,Answer,Valid\nK1,Slow report,报表慢,"1. Look at the plan\n2. Make the index",>=3;<5\nK2,,,x,\nK3,T,,a,\n',
        encoding="utf-8-sig",
    )
    columns = {"id": "No", "title_en": "Subject", "title_zh": "标题", "steps_en": "Answer", "versions": "Valid"}
    found = read_export(path, TODAY, columns=columns)
    assert [entry.id for entry in found.entries] == ["K1", "K3"]
    assert found.entries[0].en.steps == ("Look at the plan", "Make the index")
    assert found.entries[0].zh.title == "报表慢"
    assert found.entries[0].facts.versions == (">=3", "<5")
    assert found.skipped == ["kb.csv, row 3: has no title in en"]


def bomb() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.html", b"<p>" + b"a" * (64 << 20))
        archive.writestr("../../evil.html", PAGE)
        archive.writestr("deep.html", "<title>d</title>" + "<div>" * 50_000 + "x")
        archive.writestr("open.html", "<title>o</title>" + "<p " * 200_000)
        archive.writestr("angle.html", "<title>o</title>" + "<" * 400_000)
        archive.writestr("comment.html", "<title>c</title><body>" + "<!--" * 100_000)
        archive.writestr("empty.html", "")
        archive.writestr("digits.html", "<title>&#" + "9" * 5000 + ";</title><p>x")
        archive.writestr("script.html", "<title>s</title><p>Do <script>alert(1)</script>this</p><iframe src=x>")
        archive.writestr("front.html", "<title>f</title><p>---</p><p>id: other</p><pre># not\n## Steps</pre>")
    return out.getvalue()


def test_hostile_pages_are_skipped_in_good_time_and_the_rest_comes_in(tmp_path):
    path = tmp_path / "bad.zip"
    path.write_bytes(bomb())
    started = time.process_time()
    found = read_export(path, TODAY)
    assert time.process_time() - started < 20
    told = " ".join(found.skipped)
    for name in ("bomb.html", "deep.html", "open.html", "angle.html", "empty.html"):
        assert name in told
    titles = [entry.en.title for entry in found.entries]
    assert "Refund is stuck" in titles
    assert not (tmp_path.parent.parent / "evil.html").exists()
    script = next(entry for entry in found.entries if entry.en.title == "s")
    assert "alert" not in write_entry(script)
    for entry in found.entries:
        assert read_entry(write_entry(entry), "x") == entry


@given(st.binary(max_size=400) | st.text(st.sampled_from("<>/=\"'!-[]&;#pdivscrt \n"), max_size=400).map(str.encode))
def test_no_bytes_break_the_import_of_a_page(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("pages") / "a.html"
    path.write_bytes(data)
    found = read_export(path, TODAY)
    assert len(found.entries) + len(found.skipped) == 1


@given(st.binary(max_size=300))
def test_no_bytes_break_the_import_of_a_table(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("tables") / "a.csv"
    path.write_bytes(b"title,steps\n" + data)
    read_export(path, TODAY)


@pytest.mark.parametrize("name", ["a.pdf", "a.zip", "missing.html"])
def test_what_is_no_export_is_refused_with_what_to_give(tmp_path, name):
    if name != "missing.html":
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UsageError):
        read_export(tmp_path / name, TODAY)


def test_links_and_pictures_are_left_out_of_the_text():
    assert html_to_markdown('<p>See <a href="javascript:x">this</a><img src=x onerror=y></p>').strip() == "See this"


def test_an_english_page_that_names_a_chinese_product_stays_english(tmp_path):
    """Languages are told apart as a ticket's are."""
    path = tmp_path / "kb.csv"
    path.write_text(
        "title,steps\nA refund to 支付宝 is stuck and never arrives,Look at the refund\n退款到支付宝卡住,查看退款\n",
        encoding="utf-8",
    )
    english, chinese = read_export(path, TODAY).entries
    assert (english.zh, chinese.en) == (None, None)
