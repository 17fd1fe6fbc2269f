"""Text out of what desks hold, and notes cut to what they take."""

from __future__ import annotations

import json
import time
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tickets import _desk as desk
from pipeline.tickets._plain import MAX_TEXT, adf_text, conversation, html_text, wiki_text
from pipeline.tickets._shorten import CUT, short_adf, short_html, short_text, short_wiki
from tests.tickets_desks import MARKER, note

WORDS = st.text(st.characters(exclude_characters="<>&{}[]|\r", exclude_categories=("Cs", "Cc")), max_size=12)


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>one</p><p>two</p>", "one\ntwo"),
        ("one<br/>two<br>three", "one\ntwo\nthree"),
        ("<pre>a  b\n  c</pre>", "a  b\nc"),
        ("a\n   b", "a b"),
        ("<table><tr><td>order</td><td>M1</td></tr></table>", "order M1"),
        ("<p>5 &lt; 6 &amp; 7</p>", "5 < 6 & 7"),
        ("<script>alert(1)</script>ok<style>p{}</style><!-- hidden -->", "ok"),
        ('<img alt="screenshot of order M1" src="x">', "screenshot of order M1"),
        ("<p>见图：<img src='x' alt='订单 M1 截图'></p>", "见图：订单 M1 截图"),
        ("<p>订单<b>M1</b>支付失败</p>", "订单M1支付失败"),
        ("<div>" * 20_000 + "deep", "deep"),
        ("1 < 2 and <b", "1 < 2 and <b"),
        (None, ""),
    ],
)
def test_html_is_read_as_a_person_would_see_it(html: str | None, text: str) -> None:
    assert html_text(html) == text


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece",
    [
        "<",
        "<a ",
        "</",
        "<!--",
        "<![CDATA[",
        '<a href="',
        "&",
        "&#",
        "&#9",
        "<?",
        "{code:",
        "[a|b",
        "\n \n",
        "<a b='",
        " alt=",
    ],
)
def test_no_text_takes_long_to_read(piece: str) -> None:
    """A quarter of a megabyte in well under a second of processor time."""
    text = piece * (250_000 // len(piece))
    start = time.process_time()
    html_text(text)
    html_text(f"<img {text}>")
    wiki_text(text)
    assert time.process_time() - start < 2


def test_a_number_without_end_is_no_character() -> None:
    assert html_text(f"a&#{'9' * 5000};b&#x{'f' * 5000};c&#65;") == "a\ufffdb\ufffdcA"


@given(st.text(max_size=300))
def test_any_text_is_read_as_html_and_wiki_without_an_error(text: str) -> None:
    assert "\n\n" not in html_text(text)
    wiki_text(text)


def test_a_document_is_read_with_lists_tables_mentions_and_links() -> None:
    def text(said: str, **more: Any) -> dict[str, Any]:
        return {"type": "text", "text": said, **more}

    link = [{"type": "link", "attrs": {"href": "https://shop.example/orders/M1"}}]
    document = {
        "type": "doc",
        "version": 1,
        "content": [
            {"type": "heading", "content": [text("支付失败")]},
            {"type": "paragraph", "content": [{"type": "mention", "attrs": {"text": "@Li"}}, text(" see "), text("the order", marks=link)]},
            {"type": "bulletList", "content": [{"type": "listItem", "content": [{"type": "paragraph", "content": [text("app 1.2")]}]}]},
            {"type": "table", "content": [{"type": "tableRow", "content": [{"type": "tableCell", "content": [{"type": "paragraph", "content": [text("code 51")]}]}]}]},
            {"type": "unheard-of", "content": [text("still read")]},
        ],
    }  # fmt: skip
    assert adf_text(document).splitlines() == [
        "支付失败", "@Li see the order (https://shop.example/orders/M1)", "app 1.2", "code 51", "still read",
    ]  # fmt: skip


def test_a_document_of_any_depth_is_read() -> None:
    document: Any = {"type": "text", "text": "deep"}
    for _ in range(50_000):
        document = {"type": "paragraph", "content": [document]}
    assert adf_text(document) == "deep"
    while isinstance(document, dict) and document.get(
        "content"
    ):  # taken apart by hand: so deep a thing is not freed else
        document = document["content"].pop()


JSON = st.recursive(
    st.none() | st.text() | st.integers(),
    lambda x: st.lists(x) | st.dictionaries(st.sampled_from(["type", "content", "text", "attrs", "marks"]), x),
    max_leaves=12,
)


@given(JSON)
def test_what_is_no_document_makes_no_error(document: Any) -> None:
    assert isinstance(adf_text(document), str)


def test_a_conversation_tells_what_it_leaves_out() -> None:
    assert conversation("a", ["b", " ", "c"]) == "a\n\nb\n\nc"
    assert conversation("a", [], omitted=3) == "a\n\n[at least 3 more comments of the customer were left out]"
    long = conversation("x" * (MAX_TEXT + 7), ["said"])
    assert long.endswith("[7 more characters were left out]\n\n[1 more comments of the customer were left out]")


class Balanced(HTMLParser):
    """Fails where an element is closed that is not open, and knows what is left open."""

    def __init__(self) -> None:
        super().__init__()
        self.left: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag != "br":
            self.left.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.left.pop() == tag


HTML = st.recursive(
    WORDS,
    lambda inner: st.builds(
        lambda tag, many: f"<{tag}>{'<br>'.join(many)}</{tag}>",
        st.sampled_from(["p", "div", "b", "ul"]),
        st.lists(inner, max_size=5),
    ),
    max_leaves=40,
)


@given(HTML, st.integers(300, 900))
def test_html_that_is_cut_stays_well_formed_and_within_its_limit(html: str, limit: int) -> None:
    end = f"<p>{MARKER}</p>"
    short = short_html(html, limit, end)
    parser = Balanced()
    parser.feed(short)
    parser.close()
    assert parser.left == []
    assert short.endswith(end)
    assert len(short.encode()) <= limit
    if len((html + end).encode()) <= limit:
        assert short == html + end
    else:
        assert CUT in short


@given(
    st.lists(
        st.builds(
            str.__add__,
            st.sampled_from(["", "{code}", "{noformat}", "{panel:title=x}", "{panel}", "{color:red}"]),
            WORDS,
        ),
        max_size=60,
    ),
    st.integers(300, 600),
)
def test_wiki_text_that_is_cut_leaves_no_macro_open(lines: list[str], limit: int) -> None:
    text = "\n".join(lines)
    short = short_wiki(text, limit, MARKER)
    assert len(short) <= limit
    if short == text:
        return
    assert short.endswith(MARKER)
    verbatim = None
    for piece in short.replace("}", "}\n").splitlines():
        for name in ("code", "noformat"):
            if piece.endswith(f"{{{name}}}") and verbatim in {None, name}:
                verbatim = None if verbatim else name
    assert verbatim is None


@given(st.lists(WORDS, max_size=60), st.integers(60, 400))
def test_text_that_is_cut_ends_with_its_stamp(lines: list[str], limit: int) -> None:
    short = short_text("\n".join(lines), limit, MARKER)
    assert short.endswith(MARKER)
    assert len(short) <= limit


@given(st.lists(WORDS, max_size=60), st.integers(300, 900))
def test_a_document_that_is_cut_stays_a_document(lines: list[str], limit: int) -> None:
    content = [{"type": "paragraph", "content": [{"type": "text", "text": line}]} for line in lines]
    document = {"type": "doc", "version": 1, "content": content}
    short = short_adf(document, limit)
    assert len(json.dumps(short, ensure_ascii=False, separators=(",", ":")).encode()) <= limit
    assert short is document or short["content"][:-1] == content[: len(short["content"]) - 1]


def test_a_stamp_is_found_behind_the_bodys_own_marker() -> None:
    one = note()
    line = desk.stamped(one, "body")
    assert desk.stamp(f"text\n{MARKER}\n\n{line}", MARKER) == desk.Stamp(desk.conclusion(one), desk.digest("body"))
    assert desk.stamp(f"only {MARKER}", MARKER) == desk.Stamp("", "")
    assert desk.stamp("nothing", MARKER) is None


def test_how_sure_we_are_is_no_part_of_the_conclusion() -> None:
    assert desk.conclusion(note(confidence="0.5")) == desk.conclusion(note(confidence="0.9"))
    assert desk.conclusion(note(fault="rate_limit")) != desk.conclusion(note())
