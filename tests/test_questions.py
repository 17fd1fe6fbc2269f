"""What is asked of a customer: only what helps, never what is known, and the same in every form."""

from __future__ import annotations

import importlib
import io
import json
import zipfile
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from PIL import Image

from cli import commands
from pipeline.desk.answers import Answers, Wrong, read_answers
from pipeline.desk.intake_options import PortraitOptions, QuestionOptions, SelfServiceOptions
from pipeline.desk.options import DeskOptions
from pipeline.desk.pictures import MOST_POINTS, NoPicture, read_picture
from pipeline.desk.question_forms import as_schema, as_text
from pipeline.desk.question_table import read_questions_file
from pipeline.errors import UsageError
from pipeline.run import take_snapshot
from pipeline.settings import Settings
from pipeline.settings_digest import settings_digest
from pipeline.sources import open_bundle
from pipeline.values import Ticket
from snapshots.model import ProblemSnapshot, Question, Questionnaire, canonical_bytes, read_snapshot, with_id
from snapshots.render import RENDERERS
from snapshots.store import Store
from snapshots.verify import verify
from tests.intake_samples import png

CREATED = datetime.fromisoformat("2026-11-23T10:30:00+08:00")
NOW = datetime(2026, 11, 23, 3, tzinfo=UTC)
ORDER = "SO20261123000017"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148"
ANDROID = (
    "Mozilla/5.0 (Linux; Android 14; SM-S911B) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari"
)
FROZEN = (
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36"
)
# Every question is asked whatever is missed, so that only what is known keeps it from being asked.
ALWAYS = [
    ("device_model", 'found = "device"'),
    ("system_version", 'found = "system"'),
    ("app_version", 'found = "app"'),
]


def bundle(folder: Path, *messages: str) -> Path:
    """An order that waits, and log lines that name it."""
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "_index": "logs",
            "_id": f"l{n}",
            "@timestamp": f"2026-11-23T02:05:{n:02d}Z",
            "service": {"name": "shop-web"},
            "log": {"level": "INFO"},
            "message": f"request for {ORDER} {message}",
        }
        for n, message in enumerate(messages)
    ]
    (folder / "logs" / "a.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "orders.csv").write_text(
        "order_id,entity,entity_id,state,amount_minor,currency,channel,occurred_at,attributes\n"
        f'{ORDER},order,{ORDER},created,100,CNY,alipay,2026-11-23T10:05:00+08:00,"{{""customer_id"": ""c-1""}}"\n',
        encoding="utf-8",
    )
    return folder


def always(folder: Path) -> str:
    """A file of questions that are asked wherever it is undecided."""
    said = '{ en = "q", zh = "问" }'
    text = "".join(
        f'[[questions]]\nid = "{name}"\nkind = "text"\nask = {said}\nwhy = {said}\nmissing = ["*"]\nfields = ["{name}"]\n{found}\n'
        for name, found in ALWAYS
    )
    (folder / "questions.toml").write_text(text, encoding="utf-8")
    return str(folder / "questions.toml")


def asked(ticket: Ticket, folder: Path, **options: Any) -> ProblemSnapshot:
    """The snapshot of a ticket, with questions."""
    source = open_bundle(folder, zone=CREATED.tzinfo)
    try:
        desk = DeskOptions(questions=QuestionOptions(**options))
        return take_snapshot(ticket, [source], Settings(budget=120.0, desk=desk)).snapshot
    finally:
        source.close()


def ticket(text: str = "付不了款", **given: Any) -> Ticket:
    return Ticket("T-1", "付款失败", text, CREATED, "desk", "zh", **given)


def made(snapshot: ProblemSnapshot) -> Questionnaire:
    assert isinstance(snapshot.questions, Questionnaire)
    return snapshot.questions


@pytest.mark.parametrize("name", ["first", "second"])
def test_over_labelled_cases_at_most_two_are_asked_and_none_that_is_answered(tmp_path, monkeypatch, name):
    """What is answered already is decided by other expressions, from the raw files: benchmarks/questions.py does so over all."""
    benchmarks = Path(__file__).parent.parent / "benchmarks"
    monkeypatch.syspath_prepend(str(benchmarks))
    questions = importlib.import_module("questions")
    for number, path in enumerate(sorted((benchmarks / "cases" / name).glob("*.zip"))[::4]):
        folder = tmp_path / path.stem
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
        if number % 2:
            # As tickets by mail are.
            told = json.loads((folder / "ticket.json").read_bytes())
            (folder / "ticket.json").write_text(json.dumps(told | {"questionnaire": {}}), encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["questions.py", str(tmp_path)])
    assert questions.main() == 0


KNOWN = {
    "order_number": {"order_no": ORDER},
    "occurred_at": {"occurred_at": "2026-11-23T10:05:00+08:00"},
    "screenshot": {"error_message": "SYSTEM_ERROR"},
    "operation_steps": {"operation_steps": ["open", "pay"]},
    "app_version": {"App_Version": "4.2.0"},
    "device_model": {"机型": "iPhone 15"},
    "system_version": {"os": "iOS 18"},
    "network": {"network": "wifi"},
}
WORDS = {
    "device_model": "用的是 iPhone 15",
    "system_version": "系统 iOS 18.1",
    "app_version": "版本 4.2.0",
    "network": "用的 WiFi",
    "screenshot": "页面提示系统繁忙请稍后",
    "operation_steps": "第一步打开应用，第二步点付款",
}


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(fields=st.sets(st.sampled_from(sorted(KNOWN))), words=st.sets(st.sampled_from(sorted(WORDS))))
def test_what_the_ticket_says_is_never_asked(tmp_path_factory, fields, words):
    """Whatever is filled in or written, in any combination, is not asked again; what is left is asked in the table's order."""
    folder = bundle(tmp_path_factory.mktemp("b"), "ok")
    filled = {key: value for name in fields for key, value in KNOWN[name].items()}
    text = "。".join(["有问题", *(WORDS[name] for name in sorted(words))])
    found = made(asked(ticket(text, questionnaire=filled), folder, most=50))
    ids = [one.id for one in found.questions]
    assert not set(ids) & (fields | words)
    table = [one.id for one in read_questions_file(None).questions]
    assert ids == [name for name in table if name in ids]
    assert all(one.gaps or one.findings for one in found.questions)
    assert {one.id for one in found.known if one.certain}.isdisjoint(ids)
    # The order that was named has a time.
    if "order_number" in fields:
        assert "occurred_at" not in ids


@pytest.mark.parametrize("words", ["错误码 44", "返回码：E5", "It said error code 57.", "error code is NOT_ENOUGH"])
def test_a_code_that_the_ticket_names_is_not_asked_for_a_picture(tmp_path, words):
    found = made(asked(ticket(f"付不了款 {words}"), bundle(tmp_path, "GET /")))
    assert "screenshot" in [one.id for one in found.known]
    assert "screenshot" not in [one.id for one in found.questions]


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(["", "-", "N/A", "unknown", "不清楚", " 无 "]))
def test_a_field_that_says_nothing_answers_nothing(tmp_path_factory, nothing):
    folder = bundle(tmp_path_factory.mktemp("b"), "ok")
    found = made(asked(ticket("有问题", questionnaire={"device_model": nothing}), folder, most=50))
    assert "device_model" in {one.id for one in found.questions}


def test_the_orders_own_requests_say_which_device_and_the_record_proves_it(tmp_path):
    folder = bundle(tmp_path, f'ua="{IPHONE}"', "rejected")
    snapshot = asked(ticket(f"订单号 {ORDER}"), folder, file=always(tmp_path))
    assert snapshot.diagnosis.abstained
    known = {one.id: one for one in made(snapshot).known}
    assert (known["device_model"].value, known["system_version"].value) == ("iPhone", "iOS 18.1")
    (evidence,) = known["device_model"].evidence
    assert evidence.doc_id == "l0"
    assert evidence.sha256
    source = open_bundle(folder)
    report = verify(snapshot, lambda _: source)
    source.close()
    assert report.ok
    assert evidence.ref in {row.ref for row in report.evidence}
    assert "iPhone" in RENDERERS["md"](snapshot, full=True)


def test_what_browsers_freeze_is_confirmed_and_programs_are_no_devices(tmp_path):
    folder = bundle(tmp_path, f'ua="{FROZEN}"', 'ua="Apache-HttpClient/4.5 (Java/11.0)"')
    found = made(asked(ticket(f"订单号 {ORDER}"), folder, file=always(tmp_path)))
    values = {one.id: (one.value, one.doubt is not None) for one in found.questions}
    assert values["system_version"] == ("Android 10", True)
    assert values["device_model"] == (None, False)


def test_two_devices_of_one_order_are_a_question(tmp_path):
    folder = bundle(tmp_path, f'ua="{IPHONE}"', f'ua="{ANDROID}"')
    found = made(asked(ticket(f"订单号 {ORDER}"), folder, file=always(tmp_path)))
    values = {one.id: one.value for one in found.questions}
    assert values["device_model"] == "Samsung SM-S911B"
    assert not next(one for one in found.known if one.id == "device_model").certain


def test_an_order_number_that_is_nowhere_is_shown_to_be_corrected(tmp_path):
    found = made(asked(ticket("订单号 SO20260000000001"), bundle(tmp_path, "ok")))
    first = found.questions[0]
    assert (first.id, first.value) == ("order_number", "SO20260000000001")
    assert first.doubt is not None
    # One that the logs know is none to be asked about.
    found = made(asked(ticket(f"订单号 {ORDER}"), bundle(tmp_path, "ok")))
    assert "order_number" not in {one.id for one in found.questions}


def test_personal_data_in_a_value_is_neither_shown_nor_kept(tmp_path):
    """A card's number in the order number's place."""
    snapshot = asked(ticket("订单号 4111111111111111"), bundle(tmp_path, "ok"))
    first = made(snapshot).questions[0]
    assert (first.id, first.value) == ("order_number", None)
    assert b"4111111111111111" not in msgspec.json.encode(snapshot)


def test_a_record_whose_name_is_personal_data_is_named_by_its_mask(tmp_path):
    """In what is known as in the rest of the document, however the record proves an answer."""
    folder = bundle(tmp_path, f'ua="{IPHONE}"')
    lines = folder / "logs" / "a.ndjson"
    lines.write_text(lines.read_text(encoding="utf-8").replace('"l0"', '"jo@example.com"'), encoding="utf-8")
    snapshot = asked(ticket(f"订单号 {ORDER}"), folder, file=always(tmp_path))
    known = {one.id: one for one in made(snapshot).known}
    (evidence,) = known["device_model"].evidence
    assert evidence.sha256
    assert b"jo@example.com" not in msgspec.json.encode(snapshot)


@pytest.mark.parametrize(
    ("title", "text", "ids"),
    [
        ("How do I change my card?", "How can I change the card that I pay with?", []),
        ("怎么开发票", "请问发票在哪里开？", []),
        ("付款失败", "付不了款", ["order_number", "occurred_at", "screenshot", "operation_steps"]),
    ],
    ids=["question", "question_zh", "failure"],
)
def test_whoever_only_asks_is_asked_nothing(tmp_path, title, text, ids):
    folder = bundle(tmp_path, "GET /")
    asking = Ticket("T-1", title, text, CREATED + timedelta(days=30), "desk", "zh")
    assert [one.id for one in made(asked(asking, folder)).questions] == ids
    # A person who made more of it wants to know what happened.
    graver = replace(asking, custom_fields={"severity": "P2"})
    assert "occurred_at" in [one.id for one in made(asked(graver, folder)).questions]


def test_so_many_are_asked_and_the_rest_is_counted(tmp_path):
    all_of_them = made(asked(ticket("有问题"), bundle(tmp_path, "ok"), most=50))
    two = made(asked(ticket("有问题"), bundle(tmp_path, "ok"), most=2))
    assert two.questions == all_of_them.questions[:2]
    assert two.omitted == len(all_of_them.questions) - 2 > 0


def test_without_the_table_the_document_and_its_settings_are_as_before(tmp_path):
    source = open_bundle(bundle(tmp_path, "ok"), zone=CREATED.tzinfo)
    plain = take_snapshot(ticket(), [source], Settings(budget=120.0, desk=DeskOptions())).snapshot
    source.close()
    assert b'"questions"' not in msgspec.json.encode(plain)
    assert b'"portrait"' not in msgspec.json.encode(plain)
    # The digest of a desk without questions; the table of severity counts, so it changes with that.
    assert settings_digest(Settings(desk=DeskOptions())) == DIGEST
    with_questions = Settings(desk=DeskOptions(questions=QuestionOptions()))
    assert settings_digest(with_questions) != DIGEST
    elsewhere = Settings(desk=DeskOptions(questions=QuestionOptions(folder="/elsewhere", hold=60.0)))
    assert settings_digest(elsewhere) == settings_digest(with_questions)


DIGEST = "07e683ad798110e2e444fd5c94a119f76da29a91bdd3a76ea53335210ceecfba"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("questions = 1", "Expected `array`"),
        ("[[questions]]\nid = 'A b'", "questions[0]"),
        ("x = ", "Invalid"),
        ("[[questions]]\nid='a'\nkind='choice'\nask={en='a',zh='a'}\nwhy={en='a',zh='a'}", "a choice has options"),
        (
            "[[questions]]\nid='a'\nkind='text'\nask={en='a',zh='a'}\nwhy={en='a',zh='a'}\nsaid=['(']",
            "no RE2 expression",
        ),
        (
            "\n".join(
                f"[[questions]]\nid='{n}'\nkind='picture'\nask={{en='a',zh='a'}}\nwhy={{en='a',zh='a'}}" for n in "ab"
            ),
            "a and b: one question of the kind picture at most",
        ),
    ],
)
def test_a_file_of_questions_that_is_wrong_says_where(tmp_path, text, told):
    path = tmp_path / "q.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=r"q\.toml") as error:
        read_questions_file(str(path))
    assert told in str(error.value)
    with pytest.raises(UsageError, match="cannot be read"):
        read_questions_file(str(tmp_path / "none.toml"))


# ---- forms


def sample() -> Questionnaire:
    """All the shipped questions."""
    return Questionnaire(
        questions=[
            Question(
                id=one.id, kind=one.kind, ask=one.ask, why=one.why, hint=one.hint, options=list(one.options),
                longest=one.longest, shape=one.shape, shape_hint=one.shape_hint,
            )
            for one in read_questions_file(None).questions
        ]
    )  # fmt: skip


def test_every_shipped_question_reads_in_both_languages_and_promises_nothing():
    from pipeline.desk.rule_file import compiled
    from pipeline.desk.sentence import sentences

    forbidden = sentences().forbidden
    for one in read_questions_file(None).questions:
        for text in filter(
            None, (one.ask, one.why, one.hint, one.doubt, one.shape_hint, *(o.label for o in one.options))
        ):
            assert text.en
            assert any("\u4e00" <= letter <= "\u9fff" for letter in text.zh)
            for reason in ("promise", "blame", "address"):
                assert not any(compiled(pattern).search(f"{text.en}\n{text.zh}") for pattern in forbidden[reason])


def test_as_mail_each_question_has_its_reason_and_the_link():
    en = as_text(sample(), "TK-1", "en", "https://desk.example/intake/x")
    zh = as_text(sample(), "TK-1", "zh")
    assert en.count("\n") > 20
    for one in sample().questions:
        assert one.ask.en in en
        assert one.why.zh in zh
    assert "https://desk.example/intake/x" in en
    assert "one-time codes" in en
    assert as_text(Questionnaire(), "TK-1", "en") == "There is nothing to ask the customer.\n"


def test_the_schema_is_one_and_holds_what_the_page_takes():
    schema = as_schema(sample(), "zh", 1 << 20)
    Draft202012Validator.check_schema(schema)
    assert set(schema["properties"]) == {one.id for one in sample().questions}
    assert schema["properties"]["network"]["oneOf"][0] == {"const": "wifi", "title": "无线网络（Wi-Fi）"}


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=30)
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from([one.id for one in sample().questions]) | st.text(max_size=10)


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(names, anything, max_size=6))
def test_whatever_is_posted_is_good_by_the_schema_or_refused_in_both_languages(posted):
    found = read_answers(sample(), posted, NOW, 1 << 20)
    if isinstance(found, Wrong):
        assert found.errors
        assert all(text.en and text.zh for text in found.errors.values())
    else:
        assert found.values
        told = {name: value for name, value in found.values.items() if name != "screenshot"}
        Draft202012Validator(as_schema(sample(), "en", 1 << 20)).validate(told or {"network": "wifi"})


@settings(max_examples=100, deadline=None)
@given(st.datetimes(timezones=st.timezones() | st.just(UTC)))
def test_a_moment_is_within_the_last_year_or_refused(moment):
    found = read_answers(sample(), {"occurred_at": moment.isoformat()}, NOW, 1 << 20)
    try:
        ago = NOW - moment
    except OverflowError:
        ago = timedelta.max
    assert isinstance(found, Answers) == (timedelta(minutes=-10) <= ago <= timedelta(days=366))


# ---- pictures


def test_a_photo_loses_the_place_where_it_was_taken_and_stands_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8825)[1] = "N"
    out = io.BytesIO()
    Image.new("RGB", (60, 20), "blue").save(out, "JPEG", exif=exif)
    kept = read_picture(out.getvalue())
    with Image.open(io.BytesIO(kept.data)) as shown:
        assert shown.size == (20, 60)
        assert not shown.getexif()
    assert b"Exif" not in kept.data
    assert read_picture(out.getvalue()) == kept


def test_what_is_no_picture_or_would_take_all_memory_is_refused():
    gif = io.BytesIO()
    Image.new("RGB", (2, 2)).save(gif, "GIF")
    side = int(MOST_POINTS**0.5) + 1
    head = b"IHDR" + side.to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    bomb = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + head + zlib.crc32(head).to_bytes(4, "big") + b"\0" * 64
    for data in (b"", b"GIF89a", gif.getvalue(), b"<svg/>", png()[:60], bomb, b"%PDF-1.7"):
        with pytest.raises(NoPicture):
            read_picture(data)


def test_all_sections_stand_in_one_document_and_twice_is_the_same(tmp_path):
    """A plain question: answered out of knowledge, with the customer's portrait, and nothing is asked."""
    knowledge = tmp_path / "knowledge"
    knowledge.mkdir()
    steps = "# 修改发票抬头\n## 问题\n发票抬头怎么修改\n## 步骤\n1. 打开订单，点“修改抬头”。\n"
    (knowledge / "a.md").write_text(f"---\nid: invoice\n---\n{steps}", encoding="utf-8")
    folder, store = bundle(tmp_path / "b", "ok"), Store(tmp_path / "store")
    earlier = asked(ticket("付不了款", customer_id="c-7"), folder)
    own = msgspec.structs.replace(earlier.ticket, id="T-0", created_at="2026-11-01T10:00:00+08:00")
    store.put(with_id(msgspec.structs.replace(earlier, ticket=own)))
    desk = DeskOptions(
        knowledge=str(knowledge),
        questions=QuestionOptions(),
        portrait=PortraitOptions(),
        self_service=SelfServiceOptions(),
    )
    options = Settings(budget=120.0, desk=desk, store=str(tmp_path / "store"))
    question = replace(ticket("请问发票抬头怎么修改？", customer_id="c-7"), title="请问发票抬头怎么修改？")
    taken = []
    for _ in range(2):
        source = open_bundle(folder, zone=CREATED.tzinfo)
        taken.append(take_snapshot(question, [source], options).snapshot)
        source.close()
        store.put(taken[-1])
    assert canonical_bytes(taken[0]) == canonical_bytes(taken[1])
    found = taken[0]
    assert found.severity is not None
    assert found.severity.level == "P4"
    assert found.self_service.entry == "invoice"
    assert [one.id for one in found.portrait.listed] == ["T-0"]
    assert made(found) == Questionnaire()
    assert read_snapshot(canonical_bytes(found)) == found


# ---- the command


def test_the_command_prints_mail_schema_and_link(tmp_path):
    snapshot = asked(ticket("有问题"), bundle(tmp_path / "b", "ok"))
    Store(tmp_path / "store").put(snapshot)
    config = tmp_path / "problem-snapshot.toml"
    config.write_text(
        '[defaults.desk.questions]\n[defaults.service]\npublic_url = "https://desk.example"\nsecret = "a secret of sixteen"\n'
        '[defaults.tickets.helpdesk]\nkind = "zammad"\nurl = "https://helpdesk.example"\ntoken = "t"\nsecrets = ["a secret of the hook"]\n',
        encoding="utf-8",
    )

    def run(*arguments: str, code: int = 0) -> str:
        given = ["desk", "questions", "T-1", "--config", str(config), "--store", str(tmp_path / "store"), *arguments]
        found = CliRunner().invoke(commands, given)
        assert found.exit_code == code, found.output
        return found.output

    assert "1. 订单号是多少？" in run()
    assert "1. What is the order number?" in run("-l", "en")
    assert set(json.loads(run("-o", "schema"))["properties"]) == {one.id for one in made(snapshot).questions}
    assert json.loads(run("-o", "json")) == msgspec.to_builtins(made(snapshot))
    link = next(line for line in run("--system", "helpdesk").splitlines() if "https://" in line)
    assert link.startswith(f"https://desk.example/intake/{snapshot.snapshot_id}?key=")
    assert "there is no table [tickets.other]" in run("--system", "other", code=2)
    plain = take_plain(tmp_path)
    Store(tmp_path / "store").put(plain)
    given = ["desk", "questions", plain.snapshot_id, "--config", str(config), "--store", str(tmp_path / "store")]
    assert "desk.questions" in CliRunner().invoke(commands, given).output


def take_plain(tmp_path: Path) -> ProblemSnapshot:
    source = open_bundle(bundle(tmp_path / "b", "ok"), zone=CREATED.tzinfo)
    try:
        return take_snapshot(ticket(), [source], Settings(budget=120.0)).snapshot
    finally:
        source.close()


def test_a_moment_that_was_answered_is_the_window(tmp_path):
    """The answer's own offset counts, and one that is no time is passed over."""
    folder = bundle(tmp_path, "ok")
    answered = ticket("有问题", questionnaire={"occurred_at": "2026-11-23T03:05:00+01:00"})
    snapshot = asked(answered, folder)
    assert snapshot.scope.anchor == "2026-11-23T02:05:00Z"
    for value in ("soon", "2026-11-23", "0001-01-01T00:00:00+00:00", "2999-01-01T00:00:00Z", 7, None):
        other = asked(replace(answered, questionnaire={"occurred_at": value}), folder)
        assert other.scope.anchor != "2026-11-23T02:05:00Z"
