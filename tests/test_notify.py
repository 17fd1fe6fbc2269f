"""Messages of snapshots: who gets which, what is sent, what the answers mean, and that no text of others acts in a chat.

The receivers are small servers on loopback that answer as each vendor documents it; none of them is the vendor.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from pipeline.errors import Refused, UsageError
from pipeline.notify import NotifyOptions, apprise, dingtalk, feishu, open_target, send, slack, teams, webhook, wecom
from pipeline.notify._robot_markdown import wide, write_robot
from pipeline.notify.payload import LIMIT, Payload, payload_bytes
from pipeline.notify.target import Event, Sent, TargetBroken, TargetUnavailable
from snapshots.model import ProblemSnapshot, canonical_bytes, read_snapshot
from snapshots.render.clean import BREAK
from snapshots.render.note import Links, card_blocks
from tests.hostile import PIECES, hostile
from tests.note_forms import gfm, read_html, said
from tests.snapshots_samples import SAMPLES, severity
from tests.web import serving

NOW = datetime(2026, 11, 2, 12, 0, 0, tzinfo=UTC)
LINKS = Links(
    page="https://desk.example/s/ps-1", document="https://desk.example/s/ps-1.json", ticket="https://desk.example/t/1"
)
OURS = {LINKS.page, LINKS.document, LINKS.ticket}
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
OTHER = "whsec_" + base64.b64encode(b"fedcba9876543210fedcba9876543210").decode()
LANGUAGES: tuple[Any, ...] = ("en", "zh")

attacks = st.lists(st.sampled_from(PIECES) | st.text(max_size=8), min_size=1, max_size=12).map(" ".join)


def event(snapshot: ProblemSnapshot = SAMPLES["dns_failure"], **given: Any) -> Event:
    """A snapshot that was taken."""
    return Event(**{"kind": "snapshot.created", "snapshot": snapshot, "at": NOW, "links": LINKS} | given)


class Receiver(ThreadingHTTPServer):
    """A receiver that keeps what it is sent and answers what it is told to."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.answer: tuple[int, dict[str, str], bytes] = (200, {}, b'{"errcode":0,"code":0}')

    @property
    def url(self) -> str:
        """The address, with a secret in it as a chat's has."""
        return f"http://127.0.0.1:{self.server_port}/services/T0/s3cr3t-path?access_token=s3cr3t-token"

    @property
    def body(self) -> Any:
        """The newest message."""
        return json.loads(self.got[-1][2])


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", 0))
        self.server.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, self.rfile.read(length)))
        status, headers, body = self.server.answer
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver on loopback."""
    with serving(Receiver()) as server:
        yield server


KINDS: dict[str, Callable[..., NotifyOptions]] = {
    "dingtalk": dingtalk.Options,
    "feishu": feishu.Options,
    "slack": slack.Options,
    "teams": teams.Options,
    "webhook": lambda **given: webhook.Options(**{"secrets": (SECRET,)} | given),
    "wecom": wecom.Options,
}


@pytest.fixture
def target(receiver: Receiver) -> Iterator[Callable[..., Any]]:
    """Opens targets named `ops` that send to the receiver; all of them are closed in the end."""
    opened: list[Any] = []

    def make(kind: str, **given: Any) -> Any:
        opened.append(open_target("ops", KINDS[kind](**{"url": receiver.url} | given)))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


# ---- which messages go where


@pytest.mark.parametrize(
    ("when", "name", "level", "kind", "goes"),
    [
        ((), "dns_failure", None, "snapshot.created", True),
        (("located",), "dns_failure", None, "snapshot.created", True),
        (("located",), "log_hole", None, "snapshot.created", False),
        (("undecided", "located"), "log_hole", None, "snapshot.created", True),
        (("P1", "P2"), "dns_failure", "P2", "snapshot.created", True),
        (("P1", "P2"), "dns_failure", "P3", "snapshot.created", False),
        (("P1",), "dns_failure", None, "snapshot.created", False),
        (("P1", "located"), "log_hole", "P1", "snapshot.created", False),
        (("P1", "located", "updated"), "dns_failure", "P1", "snapshot.updated", True),
        (("updated",), "dns_failure", "P1", "snapshot.created", False),
    ],
)
def test_of_each_kind_of_word_that_is_named_one_has_to_fit(target, receiver, when, name, level, kind, goes):
    snapshot = msgspec.structs.replace(SAMPLES[name], severity=severity(level) if level else None)
    sent = send(target("slack", when=when), event(snapshot, kind=kind))
    assert (sent.outcome == "sent") is goes
    assert len(receiver.got) == goes
    assert goes or "when" in sent.note


@pytest.mark.parametrize("when", [("p1",), ("always",)])
def test_a_word_that_there_is_not_is_told(when):
    with pytest.raises(ValueError, match="there is no"):
        slack.Options(url="https://hooks.example/x", when=when)


@pytest.mark.parametrize("url", ["", "hooks.example/x", "file:///etc/passwd", "https://"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(ValueError, match="url is no http or https address"):
        slack.Options(url=url)


# ---- the webhook


def test_a_webhook_is_signed_as_the_library_verifies_it(target, receiver):
    assert send(target("webhook", secrets=(SECRET, OTHER)), event()) == Sent("sent", 200)
    _, headers, body = receiver.got[0]
    for secret in (SECRET, OTHER):
        assert Webhook(secret).verify(body, headers)["type"] == "snapshot.created"
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + base64.b64encode(b"x" * 32).decode()).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body + b" ", headers)
    assert headers["webhook-id"] == event().id


def test_the_signature_is_the_one_that_the_specification_tells():
    """HMAC-SHA256 with the decoded secret over `id.timestamp.body`, base64 after `v1,`."""
    one = webhook.WebhookTarget("x", webhook.Options(url="https://x.example", secrets=(SECRET,)), clock=lambda: NOW)
    headers = one.signed("evt_1", b'{"a":"\xe4\xbb\x98"}')
    stamp = str(int(NOW.timestamp()))
    digest = hmac.new(base64.b64decode(SECRET[6:]), f'evt_1.{stamp}.{{"a":"付"}}'.encode(), hashlib.sha256).digest()
    assert headers == {
        "webhook-id": "evt_1",
        "webhook-timestamp": stamp,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }


def test_one_event_has_one_id_however_often_it_is_sent():
    again = event(at=datetime(2026, 12, 1, tzinfo=UTC))
    assert again.id == event().id
    assert len({event().id, event(kind="snapshot.updated").id, event(SAMPLES["log_hole"]).id}) == 3


@pytest.mark.parametrize("name", SAMPLES)
def test_the_body_tells_what_was_found_and_where_the_rest_is(name):
    s = SAMPLES[name]
    payload = msgspec.json.decode(payload_bytes(event(s)), type=Payload)
    assert payload.version == "1"
    assert payload.timestamp == "2026-11-02T12:00:00Z"
    data = payload.data
    assert (data.snapshot_id, data.ticket.id, data.fault_class) == (s.snapshot_id, s.ticket.id, s.diagnosis.fault_class)
    assert data.verdict == ("undecided" if s.diagnosis.abstained else "located")
    assert data.links.page == LINKS.page
    assert len(data.findings) + data.omitted == len(s.findings)
    assert data.document is None
    if s.diagnosis.abstained:
        assert [q.en for q in data.questions] == [m.question.en for m in s.diagnosis.missing[:3]]


def test_the_document_goes_along_where_it_is_wanted(target, receiver):
    send(target("webhook", document=True), event())
    document = msgspec.json.encode(receiver.body["data"]["document"])
    assert canonical_bytes(read_snapshot(document)) == canonical_bytes(SAMPLES["dns_failure"])


@pytest.mark.parametrize("attack", [" 付款失败" * 3000, "\x00" * 9000, " ".join(PIECES) * 10])
@pytest.mark.parametrize("name", SAMPLES)
def test_a_thin_body_stays_below_what_receivers_take(name, attack):
    s = SAMPLES[name]
    text = msgspec.convert(hostile(name, attack), ProblemSnapshot)
    # Ids are told whole, whatever they are.
    text = msgspec.structs.replace(
        text,
        snapshot_id=s.snapshot_id,
        schema_version=s.schema_version,
        ticket=msgspec.structs.replace(
            text.ticket, id=s.ticket.id, system=s.ticket.system, created_at=s.ticket.created_at
        ),
        diagnosis=msgspec.structs.replace(
            text.diagnosis, fault_class=s.diagnosis.fault_class, fault_subclass=s.diagnosis.fault_subclass
        ),
        findings=[
            msgspec.structs.replace(f, id=g.id, kind=g.kind) for f, g in zip(text.findings, s.findings, strict=True)
        ],
    )
    body = payload_bytes(event(text))
    assert len(body) < LIMIT
    data = json.loads(body)["data"]
    assert len(data["findings"]) + data["omitted"] == len(s.findings)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "secrets is missing"),
        ({"secrets": ("whsec_c2hvcnQ=",)}, "24 to 64 bytes"),
        ({"secrets": (SECRET, "whsec_not base64!")}, "24 to 64 bytes"),
    ],
)
def test_a_webhook_without_a_good_secret_is_refused(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        webhook.Options(url="https://x.example", **given)
    assert webhook.Options(url="https://x.example", unsigned=True)


# ---- what each answer means


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("status", "headers", "error", "after"),
    [
        (401, {}, Refused, None),
        (403, {}, Refused, None),
        (400, {}, TargetBroken, None),
        (404, {}, TargetBroken, None),
        (302, {"location": "http://127.0.0.1:1/"}, TargetBroken, None),
        (429, {"retry-after": "17"}, TargetUnavailable, 17.0),
        (503, {"retry-after": "Mon, 02 Nov 2020 12:00:00 GMT"}, TargetUnavailable, 0.0),
        (500, {}, TargetUnavailable, None),
    ],
)
def test_a_status_is_told_in_our_words(target, receiver, kind, status, headers, error, after):
    receiver.answer = (status, headers, b"no \x1b[2J such thing")
    with pytest.raises(error) as told:
        target(kind).send(event())
    assert str(status) in str(told.value)
    assert "s3cr3t" not in str(told.value)
    assert "\x1b" not in str(told.value)
    assert getattr(told.value, "after", None) == after
    assert len(receiver.got) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_receiver_that_is_gone_for_good_is_disabled_and_told(target, receiver, kind):
    receiver.answer = (410, {}, b"channel_is_archived")
    sent = target(kind).send(event())
    assert (sent.outcome, sent.status) == ("disabled", 410)
    assert "[notify.ops]" in sent.note


@pytest.mark.parametrize(
    ("kind", "answer", "error", "after"),
    [
        ("dingtalk", {"errcode": 310000, "errmsg": "sign not match"}, Refused, None),
        (
            "dingtalk",
            {"errcode": 130101, "errmsg": "send too fast, exceed 20 times per minute"},
            TargetUnavailable,
            600.0,
        ),
        ("dingtalk", {"errcode": 400, "errmsg": "what"}, TargetBroken, None),
        (
            "feishu",
            {"code": 19021, "msg": "sign match fail or timestamp is not within one hour from current time"},
            Refused,
            None,
        ),
        ("feishu", {"code": 19024, "msg": "Key Words Not Found"}, Refused, None),
        ("feishu", {"code": 11232, "msg": "frequency limited"}, TargetUnavailable, 60.0),
        ("feishu", {"code": 9499, "msg": "Bad Request"}, TargetBroken, None),
        ("wecom", {"errcode": 93000, "errmsg": "invalid webhook url"}, Refused, None),
        ("wecom", {"errcode": 45009, "errmsg": "api freq out of limit"}, TargetUnavailable, 60.0),
        ("wecom", {"errcode": 40058, "errmsg": "markdown.content exceed max length 4096"}, TargetBroken, None),
        ("wecom", {"errcode": {"a": 1}}, TargetBroken, None),
        ("wecom", [], TargetBroken, None),
    ],
)
def test_a_chat_that_answers_200_and_means_no_is_understood(target, receiver, kind, answer, error, after):
    receiver.answer = (200, {}, json.dumps(answer).encode())
    with pytest.raises(error) as told:
        target(kind).send(event())
    assert getattr(told.value, "after", None) == after


@pytest.mark.parametrize("kind", ["dingtalk", "feishu", "wecom"])
def test_an_answer_that_is_no_json_is_told(target, receiver, kind):
    receiver.answer = (200, {}, b"<html>")
    with pytest.raises(TargetBroken, match="no JSON"):
        target(kind).send(event())


@pytest.mark.parametrize("kind", KINDS)
def test_a_receiver_that_is_not_there_can_be_tried_again(kind):
    one = open_target("ops", KINDS[kind](url="http://127.0.0.1:9/s3cr3t"))
    with pytest.raises(TargetUnavailable) as told:
        one.send(event())
    assert "127.0.0.1:9" in str(told.value)
    assert "s3cr3t" not in str(told.value)
    one.close()


@pytest.mark.parametrize("kind", KINDS)
def test_no_secret_is_logged_or_shown(target, receiver, kind, caplog):
    caplog.set_level(logging.DEBUG)
    one = target(kind)
    one.send(event())
    assert "s3cr3t" not in caplog.text
    assert "s3cr3t" not in repr(one._options)
    assert SECRET not in repr(one._options)
    assert receiver.got


# ---- signatures of chats


def test_dingtalks_address_is_signed_as_its_documentation_computes_it(receiver):
    """Its Python example, with the secret of the example: the HMAC's key is the secret."""
    one = dingtalk.DingTalkTarget("x", dingtalk.Options(url=receiver.url, secret="this is secret"), clock=lambda: NOW)
    one.send(event())
    query = parse_qs(urlsplit(receiver.got[0][0]).query)
    timestamp = str(round(NOW.timestamp() * 1000))
    string_to_sign = f"{timestamp}\nthis is secret"
    code = hmac.new(b"this is secret", string_to_sign.encode(), digestmod=hashlib.sha256).digest()
    assert query == {
        "access_token": ["s3cr3t-token"],
        "timestamp": [timestamp],
        "sign": [base64.b64encode(code).decode()],
    }
    one.close()


def test_feishus_body_is_signed_as_its_documentation_computes_it(receiver):
    """Its Python example: the HMAC's key is timestamp and secret, and nothing is signed with it."""
    one = feishu.FeishuTarget("x", feishu.Options(url=receiver.url, secret="demo"), clock=lambda: NOW)
    one.send(event())
    timestamp = str(int(NOW.timestamp()))
    code = hmac.new(f"{timestamp}\ndemo".encode(), digestmod=hashlib.sha256).digest()
    assert receiver.body["timestamp"] == timestamp
    assert receiver.body["sign"] == base64.b64encode(code).decode()
    one.close()


# ---- what is shown


def strings(node: Any) -> Iterator[tuple[str, str]]:
    """Every text of a message with its key."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from ((key, value),) if isinstance(value, str) else strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from strings(value)


def shown(kind: str, snapshot: ProblemSnapshot, language: Any) -> tuple[dict[str, Any], list[str]]:
    """A chat's message, and the words that it shows."""
    blocks = card_blocks(snapshot, language, LINKS)
    message: dict[str, Any] = {
        "slack": lambda: slack.message(blocks),
        "dingtalk": lambda: dingtalk.message(blocks, LINKS.page),
        "feishu": lambda: feishu.message(blocks, "red"),
        "teams": lambda: teams.message(blocks),
        "wecom": lambda: wecom.message(blocks),
        "apprise": lambda: dict(zip(("title", "text"), apprise.message(blocks), strict=True)),
    }[kind]()
    texts = [value for key, value in strings(message) if key in {"text", "content"}]
    return message, " ".join(texts).replace(BREAK, "").split()


CHATS = ("apprise", "dingtalk", "feishu", "slack", "teams", "wecom")


@pytest.mark.parametrize("kind", CHATS)
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", SAMPLES)
def test_a_message_says_what_failed_what_to_do_and_where_to_read_on(kind, language, name):
    s = SAMPLES[name]
    pick = (lambda part: part.en) if language == "en" else (lambda part: part.zh)
    message, _ = shown(kind, s, language)
    text = json.dumps(message, ensure_ascii=False).replace(BREAK, "")
    for part in (s.ticket.id, pick(s.diagnosis.summary), pick(s.diagnosis.first_action), LINKS.page):
        # A mark of Markdown's may be written in its full width.
        assert part in text or part.translate({ord(c): ord(c) + 0xFEE0 for c in "*`~[]<>|\\#!"}) in text
    assert len(text.encode()) < 6_000


def harmless(kind: str, snapshot: ProblemSnapshot, language: Any) -> None:
    """The laws of a chat: nobody is called, only our links, no mark of the chat's own out of somebody's text."""
    message, _ = shown(kind, snapshot, language)
    text = json.dumps(message, ensure_ascii=False)
    addresses = {value for key, value in strings(message) if key in {"url", "singleURL"}}
    assert addresses <= OURS
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "".join(v for _, v in strings(message))
    )
    values = "\n".join(value for _, value in strings(message))
    loose = set(re.findall(r"(?i)(?:https?|ftp)://[^\s\"')\]]+|www\.\w+", values)) - OURS
    assert loose <= {"http://adaptivecards.io/schemas/adaptive-card.json"}
    assert not re.search(r"@\w", text)
    assert not re.search(r"(?<=[^\\])\{\{\s*\w", text)
    if kind == "slack":
        kinds = {value for key, value in strings(message) if key == "type"}
        assert kinds <= {
            "header",
            "plain_text",
            "rich_text",
            "rich_text_section",
            "rich_text_list",
            "text",
            "link",
            "context",
        }
        assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", message["text"])
        assert (message["mrkdwn"], message["unfurl_links"]) == (False, False)
        assert len(message["blocks"]) <= 50
        assert all(len(b["text"]["text"]) <= 150 for b in message["blocks"] if b["type"] == "header")
    if kind == "feishu":
        assert {value for key, value in strings(message) if key == "tag"} <= {"plain_text", "div", "action", "button"}
    if kind == "teams":
        kinds = {value for key, value in strings(message) if key == "type"}
        assert kinds <= {"message", "AdaptiveCard", "RichTextBlock", "TextRun", "Action.OpenUrl"}
        assert "entities" not in text
    if kind in {"dingtalk", "wecom"}:
        markdown = message["actionCard"]["text"] if kind == "dingtalk" else message["markdown_v2"]["content"]
        page = read_html(gfm().render(markdown))
        assert page.tags <= {"h3", "h4", "p", "strong", "br", "a", "ul", "ol", "li", "em"}
        assert page.links <= OURS
        assert "<" not in markdown
        assert "!" not in markdown.replace(BREAK, "")
    if kind == "wecom":
        assert len(message["markdown_v2"]["content"].encode()) <= wecom.LIMIT


@pytest.mark.parametrize("kind", CHATS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_no_mark_of_any_chat_acts_in_a_message(kind, language):
    for piece in PIECES:
        harmless(kind, hostile("dns_failure", f" {piece}"), language)
    for name in SAMPLES:
        harmless(kind, hostile(name), language)


@pytest.mark.parametrize("kind", CHATS)
@settings(max_examples=40, deadline=None)
@given(attack=attacks, name=st.sampled_from(sorted(SAMPLES)), language=st.sampled_from(LANGUAGES))
def test_whatever_is_written_into_a_log_calls_nobody(kind, attack, name, language):
    harmless(kind, hostile(name, attack), language)


@pytest.mark.parametrize("kind", ["slack", "teams"])
@pytest.mark.parametrize("name", SAMPLES)
def test_a_chat_whose_text_is_only_text_shows_all_of_it(kind, name):
    for snapshot in (SAMPLES[name], hostile(name)):
        message, _ = shown(kind, snapshot, "en")
        told = "".join(value for key, value in strings(message) if key in {"text", "title"} and value)
        for word in said(card_blocks(snapshot, "en", LINKS)):
            assert word in told.replace(BREAK, "") or "…" in told


@given(st.text(max_size=40))
def test_a_robots_text_reads_the_same_in_full_width(text):
    narrow = {ord(c) + 0xFEE0: ord(c) for c in "*`~[]<>|\\#!"}
    assert wide(text).replace(BREAK, "").translate(narrow) == text.replace(BREAK, "").translate(narrow)


def test_wecom_leaves_parts_out_and_names_them_where_bytes_run_out():
    blocks = card_blocks(hostile("log_hole", " 付款失败" * 60), "zh", LINKS)
    assert len(write_robot(blocks).encode()) > wecom.LIMIT
    content = wecom.message(blocks)["markdown_v2"]["content"]
    assert len(content.encode()) <= wecom.LIMIT
    assert "因长度限制此处省略" in content


def test_without_a_page_dingtalk_is_sent_markdown():
    message = dingtalk.message(card_blocks(SAMPLES["log_hole"], "zh"))
    assert message["msgtype"] == "markdown"
    assert message["at"] == {"isAtAll": False}


# ---- Apprise


# It asks Python for a module that Python 3.13 no longer has, and does without there.
@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
def test_apprise_sends_plain_text(receiver):
    """By its own JSON receiver."""
    one = open_target("mail", apprise.Options(url=receiver.url.replace("http://", "json://"), language="zh"))
    assert one.send(event(hostile("log_hole"))) == Sent("sent")
    assert receiver.body["title"].startswith("未能定论")
    assert "重试前先向 PayPal 查单" in receiver.body["message"]
    assert "http://evil" not in receiver.body["message"]
    receiver.answer = (500, {}, b"")
    with pytest.raises(TargetUnavailable):
        one.send(event())
    one.close()


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
def test_an_address_that_apprise_does_not_know_is_told():
    with pytest.raises(UsageError, match=r"\[notify.mail\]: url is no address"):
        open_target("mail", apprise.Options(url="nonsense://x")).send(event())
