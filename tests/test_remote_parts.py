"""The parts of remote collection, each by itself: what is asked, which files, which records, and what the desk writes down."""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import json
import os
import socket
import ssl
import threading
import zipfile
from datetime import UTC, datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from cli import commands
from parsers.excerpts import Cutting, cut
from parsers.redaction.redactor import Redactor
from parsers.redaction.settings import RedactionSettings
from pipeline.desk.collections import Collections
from pipeline.desk.remote_options import RemoteOptions
from pipeline.desk.uploaded import folder_of, uploaded_sources
from pipeline.errors import NotUploaded, Refused, UsageError
from pipeline.remote.files import choose
from pipeline.remote.gather import RECEIPT, gather
from pipeline.remote.manifest import Manifest, key_name, open_manifest, sign
from pipeline.remote.receipt import Receipt, consent_of, is_sealed
from pipeline.remote.sending import Desk, _digest
from pipeline.remote.stretches import Damaged, stretches
from pipeline.remote.words import consent_text, letter
from pipeline.service.database import opened, prepare
from pipeline.service.ledger import Ledger
from pipeline.service.options import ServiceOptions
from pipeline.service.receiving import Closed, Receiver
from pipeline.settings import load_settings
from pipeline.settings_digest import settings_digest
from tests.test_service import database  # noqa: F401 - a fixture

SECRET = "a secret of the tests"
START = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
SHANGHAI = timezone(timedelta(hours=8))


def manifest(*paths: str, number: int = 1, **over: object) -> Manifest:
    """What a desk asks for."""
    given = {
        "id": f"c{number:016x}",
        "desk": "Support",
        "system": "desk",
        "ticket": "T1",
        "created_at": "2026-11-23T10:30:00+08:00",
        "paths": paths or ("/var/log/*.log",),
        "start": "2026-11-23T02:00:00Z",
        "end": "2026-11-23T03:00:00Z",
        "max_bytes": 1 << 20,
        "max_files": 10,
        "upload": f"https://desk.example.com/uploads/c{number:016x}",
        "key": "the key of the link",
        "issued_at": "2026-11-23T04:00:00Z",
        "expires_at": "2099-11-23T04:00:00Z",
        "consent": consent_text("Support", "desk", "T1", "desk.example.com", 30),
    }
    return msgspec.convert({**msgspec.to_builtins(given), **over}, Manifest)


# ---- the manifest


def test_a_signed_manifest_is_read_as_it_was_written_and_known_by_its_key():
    asked = manifest(keep=("SO1",), redact={"name": ("收货人(\\S+)",)})
    opened_ = open_manifest(sign(asked, SECRET), "m.json", key=key_name(SECRET))
    assert opened_.manifest == asked
    assert key_name(SECRET) != key_name(SECRET + "!")
    with pytest.raises(Refused, match="not by"):
        open_manifest(sign(asked, SECRET), "m.json", key=key_name("another secret"))


@given(place=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_no_byte_of_a_manifest_can_be_changed_so_that_it_asks_for_something_else(place, byte):
    asked = manifest()
    data = bytearray(sign(asked, SECRET))
    data[place % len(data)] = byte
    try:
        found = open_manifest(bytes(data), "m.json", key=key_name(SECRET)).manifest
    except (Refused, UsageError):
        return
    # White space is nothing that is asked for.
    assert found == asked


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"path": "/etc/passwd"}, "is below none of"),
        ({"path": "/var/log/shop/../../../etc/passwd"}, "no path"),
        ({"path": "/var/logs/x.log"}, "is below none of"),
        ({"screen": "http://meet.example.com/x"}, "no https"),
        ({"screen": "https://evil.example.com/x"}, "not one of screen_hosts"),
        ({"screen": "https://user@meet.example.com/x"}, "no https"),
    ],
)
def test_only_what_the_settings_allow_can_be_asked_for(change, said):
    options = RemoteOptions(folders=("/var/log",), screen_hosts=("meet.example.com",))
    check = options.check_path if "path" in change else options.check_screen
    with pytest.raises(ValueError, match=said):
        check(*change.values())


@pytest.mark.usefixtures("home")
def test_the_settings_of_collection_change_no_snapshot(tmp_path):
    text = '[defaults.desk]\nlead = "wang"\n'
    file = tmp_path / "problem-snapshot.toml"
    file.write_text(text, encoding="utf-8")
    before = settings_digest(load_settings(file, env={}))
    file.write_text(
        text + '[defaults.desk.remote]\nfolders = ["/opt/shop"]\nfolder = "up"\nkeep = "7d"\n', encoding="utf-8"
    )
    settings = load_settings(file, env={})
    assert settings.desk is not None
    assert settings.desk.remote is not None
    assert settings.desk.remote.uploads == str(tmp_path / "up")
    assert settings.desk.remote.keep == 7 * 86400
    assert settings_digest(settings) == before


# ---- files


def test_what_is_named_and_not_read_is_told_with_its_reason(tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    (tmp_path / "secret.log").write_text("x\n", encoding="utf-8")
    for name in ("a.log", "b.log.1.gz", "catalina.out", "pay.ndjson", "key.pem", ".env", "old.log"):
        (logs / name).write_text("x\n", encoding="utf-8")
    (logs / "empty.log").touch()
    os.utime(logs / "old.log", (0, START.timestamp() - 1))
    (logs / "out.log").symlink_to(tmp_path / "secret.log")
    (logs / "in.log").symlink_to(logs / "a.log")
    (logs / "odd.log").symlink_to("a" * 300)
    os.mkfifo(logs / "pipe.log")
    chosen, left = choose([f"{logs}/*", f"{logs}/none.log", f"{logs}/key.pem"], START, 10)
    names = {one.path.name: one.shape for one in chosen}
    assert names == {"a.log": "text", "b.log.1.gz": "text", "catalina.out": "text", "pay.ndjson": "documents"}
    told = {Path(one.path).name: one.why.en for one in left}
    assert told == {
        "empty.log": "is empty",
        "key.pem": "is not called as a log is",
        "none.log": "nothing of that name is here",
        "odd.log": "may not be read by this user",
        "old.log": "was last written before the time asked for",
        "out.log": "is a link that leads out of the folder asked for",
        "pipe.log": "is no ordinary file",
    }


def test_of_too_many_files_those_written_last_are_taken(tmp_path):
    for number in range(5):
        path = tmp_path / f"{number}.log"
        path.write_text("x\n", encoding="utf-8")
        os.utime(path, (0, START.timestamp() + number))
    chosen, left = choose([f"{tmp_path}/*.log"], START, 2)
    assert [one.path.name for one in chosen] == ["3.log", "4.log"]
    assert len(left) == 3


@given(lines=st.lists(st.text("ab 手机\t", max_size=30), max_size=40), size=st.integers(1, 60), packed=st.booleans())
def test_the_stretches_of_a_file_are_the_file(tmp_path_factory, lines, size, packed):
    data = "".join(f"2026-11-23 10:00:0{n % 10} {line}\n" for n, line in enumerate(lines)).encode()
    path = tmp_path_factory.mktemp("s") / ("a.log.gz" if packed else "a.log")
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.remote.stretches._STRETCH", size)
        found = list(stretches(path, "text"))
    pieces = [one for one in found if not isinstance(one, Damaged)]
    assert pieces == found
    assert b"".join(piece for _, piece in pieces) == data
    assert [offset for offset, _ in pieces] == [sum(len(p) for _, p in pieces[:n]) for n in range(len(pieces))]
    assert all(piece.endswith(b"\n") for _, piece in pieces)


def test_a_file_is_read_as_far_as_it_goes(tmp_path):
    whole = gzip.compress(b"".join(b"2026-11-23 10:00:00 line %d\n" % n for n in range(10_000)))
    (tmp_path / "a.log.gz").write_bytes(whole[: len(whole) // 2])
    *pieces, broken = stretches(tmp_path / "a.log.gz", "text")
    assert isinstance(broken, Damaged)
    assert pieces
    (tmp_path / "b.log").write_bytes(b"\x7fELF" + bytes(100))
    assert list(stretches(tmp_path / "b.log", "text")) == [Damaged(0, "it holds no text")]
    (tmp_path / "c.log").write_text("2026-11-23 10:00:00 付款失败\n", encoding="utf-16")
    assert list(stretches(tmp_path / "c.log", "text")) == [(0, "2026-11-23 10:00:00 付款失败\n".encode())]


# ---- records


WORDS = ["paid", "card 4242 4242 4242 4242", "手机 13800138000", "password=hunter2hunter2", "a@example.com", "付款失败"]


@given(
    rows=st.lists(st.tuples(st.integers(-60, 120), st.sampled_from(WORDS), st.booleans()), max_size=30),
    documents=st.booleans(),
)
def test_only_the_time_asked_for_is_kept_every_record_is_counted_and_nothing_personal_stays(rows, documents):
    cutting = Cutting(START, START + timedelta(hours=1), SHANGHAI, Redactor())
    lines = []
    for minute, word, dated in rows:
        at = START + timedelta(minutes=minute)
        if documents:
            lines.append(json.dumps({"message": word} | ({"@timestamp": at.isoformat()} if dated else {})))
        else:
            lines.append(f"{at.astimezone(SHANGHAI):%Y-%m-%d %H:%M:%S} INFO x - {word}" if dated else f"INFO {word}")
    data = "".join(f"{line}\n" for line in lines).encode()
    found = cut(data, "documents" if documents else "text", "/var/log/a.log", 0, cutting, None)
    last, inside = None, 0
    for minute, _, dated in rows:
        last = minute if dated else last
        inside += last is not None and 0 <= last < 60
    if documents:
        assert len(found.lines) == inside
        assert len(found.lines) + found.outside + found.undated == len(rows)
    else:
        for line in found.lines:
            told = json.loads(line)
            assert "2026-11-23T02:00:00" <= told["@timestamp"] < "2026-11-23T03:00:00"
            assert data[told["log.offset"] :].startswith((b"2026", b"INFO"))
    again = Redactor()
    assert [again.redact(line.decode()) for line in found.lines] == [line.decode() for line in found.lines]
    assert not again.counts


NAMES = ["message", "phone", "userPhoneNum", "card_no", "password", "value", "姓名", "span"]
PIECES = [
    *WORDS,
    "\n",
    "\t",
    '"',
    "\\",
    "/",
    "4242424242424242",
    "13800138000",
    "010-62345678",
    "密码：hunter2",
    "张三",
    "x",
]
VALUES = st.recursive(
    st.lists(st.sampled_from(PIECES), max_size=4).map("".join)
    | st.sampled_from([13800138000, 1.3800138e10, None, True]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=5,
)
OWN = RedactionSettings(patterns={"name": "^张.$", "tab": "\t(x)"})


@given(
    values=st.lists(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3), max_size=4),
    plain=st.booleans(),
    slashes=st.booleans(),
    settings=st.sampled_from([RedactionSettings(), OWN, RedactionSettings(patterns={"tab": "\t(x)"})]),
)
def test_a_document_is_masked_by_its_values_however_they_are_written(values, plain, slashes, settings):
    texts = [json.dumps(value, ensure_ascii=plain) for value in values]
    lines = [text.replace("/", "\\/") if slashes else text for text in texts]
    done = Redactor(settings).redact_json_lines(pa.array(lines, pa.string())).to_pylist()
    told = [json.loads(line) for line in done]
    assert told == Redactor(settings).redact_value(values)
    for line, value, after, before in zip(done, values, told, lines, strict=True):
        assert line == before or value != after


@pytest.mark.parametrize("shape", ["documents", "text"])
@pytest.mark.parametrize(
    "line",
    [
        r'{"message": "refused\n13800138000 called", "time": "2026-11-23T02:10:00Z"}',
        r'{"time": "2026-11-23T02:10:00Z", "message": "card 4242 4242 4242 4242", "message": "paid"}',
        r'{"message": "\u5bc6\u7801\uff1ahunter2hunter2", "time": "2026-11-23T02:10:00Z"}',
        '{"message": ' + "[" * 500 + '"13800138000"' + "]" * 500 + ', "time": "2026-11-23T02:10:00Z"}',
        r'{"amount": NaN, "message": "refused\t13800138000", "time": "2026-11-23T02:10:00Z"}',
    ],
)
def test_json_hides_nothing_from_the_masks(line, shape):
    cutting = Cutting(START, START + timedelta(hours=1), UTC, Redactor())
    found = cut(f"{line}\n".encode(), shape, "/var/log/a.log", 0, cutting, START)
    assert len(found.lines) == 1
    assert not any(secret in found.lines[0] for secret in (b"13800138000", b"hunter2", b"4242 4242 4242"))
    assert sum(cutting.redactor.counts.values()) == 1
    again = Redactor()
    assert again.redact_json_lines(pa.array([found.lines[0].decode()])).to_pylist() == [found.lines[0].decode()]


def test_a_bundle_is_the_same_bytes_for_the_same_logs_and_says_what_was_left(tmp_path):
    log = tmp_path / "a.log"
    log.write_text(
        "no time yet\n"
        "2026-11-23 10:00:00 INFO x - order SO1 card 4242 4242 4242 4242\n"
        "2026-11-23 12:00:00 INFO x - later\n",
        encoding="utf-8",
    )
    asked = manifest(f"{tmp_path}/*.log", f"{tmp_path}/none")
    consent = consent_of(asked, "given", "Li Si", START, "en")
    chosen, left = choose(asked.paths, START, 10)
    receipts = [
        gather(asked, chosen, left, consent, tmp_path / f"{number}.zip", offset=timedelta(hours=8))
        for number in range(2)
    ]
    assert (tmp_path / "0.zip").read_bytes() == (tmp_path / "1.zip").read_bytes()
    receipt = receipts[0]
    assert is_sealed(receipt, asked.key)
    assert not is_sealed(msgspec.structs.replace(receipt, ticket="T2"), asked.key)
    (taken,) = receipt.taken
    assert (taken.kept, taken.outside, taken.undated) == (1, 1, 1)
    assert [one.why.zh for one in receipt.left] == ["此处没有该名称的文件"]
    assert receipt.masked == {"card": 1}
    with pytest.raises(UsageError, match="exists already"):
        gather(asked, chosen, left, consent, tmp_path / "0.zip")


def test_the_bound_of_the_manifest_is_kept_and_told(tmp_path):
    log = tmp_path / "a.log"
    log.write_text("".join(f"2026-11-23 10:00:00 INFO x - {n}\n" for n in range(1000)), encoding="utf-8")
    (tmp_path / "b.log").write_text("2026-11-23 10:00:00 INFO x - b\n", encoding="utf-8")
    asked = manifest(f"{tmp_path}/*.log", max_bytes=5000)
    chosen, left = choose(asked.paths, START, 10)
    consent = consent_of(asked, "given", "Li Si", START, "en")
    receipt = gather(asked, chosen, left, consent, tmp_path / "x.zip", offset=timedelta(hours=8))
    assert sum(file.bytes for name, file in receipt.files.items() if name.startswith("logs/")) <= 5000
    assert receipt.taken[0].cut
    assert 0 < receipt.taken[0].kept < 1000


# ---- the desk's side


@pytest.fixture
def kept(database, tmp_path):  # noqa: F811
    """A receiver on an empty database, and the deliveries that it queued."""
    engine = opened(database)
    prepare(engine, database)
    jobs: list[str] = []
    options = RemoteOptions(folder=str(tmp_path / "uploads"), keep=100.0)
    receiver = Receiver(
        Collections(engine), Ledger(engine, lambda _, delivery, *__: jobs.append(delivery)), options, ServiceOptions(secret=SECRET)
    )  # fmt: skip
    receiver.start()
    yield receiver, jobs
    receiver.stop()
    engine.dispose()


def bundle_of(asked: Manifest, place: Path) -> Path:
    """A bundle of no file, with the consent of Li Si."""
    out = place / f"{asked.id}.zip"
    gather(asked, [], [], consent_of(asked, "given", "Li Si", START, "en"), out)
    return out


def test_what_customers_decide_and_send_is_written_down_once_and_in_order(kept, tmp_path):
    receiver, jobs = kept
    rows, asked = receiver.collections, manifest()
    rows.issue(asked, sign(asked, SECRET), 4e9)
    given_ = consent_of(asked, "given", "李\x00四", START, "zh")
    assert not rows.receive(asked.id)
    assert rows.decide(asked.id, given_)
    assert rows.get(asked.id).who == "李\ufffd四"
    assert rows.decide(asked.id, consent_of(asked, "refused", "Li Si", START, "zh"))
    assert not rows.decide(asked.id, given_)
    assert rows.get(asked.id).state == "refused"
    assert not rows.announce(asked.id, "d", 1)

    other = manifest(number=2)
    rows.issue(other, sign(other, SECRET), 4e9)
    data = bundle_of(other, tmp_path)
    with zipfile.ZipFile(data) as archive:
        consent = msgspec.json.decode(archive.read(RECEIPT), type=Receipt).consent
    rows.decide(other.id, consent)
    size, digest = _digest(data)
    assert rows.announce(other.id, digest, size)
    (tmp_path / "uploads" / "incoming" / f"{other.id}.part").write_bytes(data.read_bytes())
    receiver.finish(other.id).result()
    assert rows.get(other.id).state == "stored"
    assert len(jobs) == 1
    # Begun once more, as after a crash before the last step, it queues nothing twice.
    assert rows._change(other.id, ("stored",), to="received")
    receiver.finish(other.id).result()
    assert rows.get(other.id).state == "stored"
    assert len(jobs) == 1
    assert not rows.withdraw(other.id)
    assert len(uploaded_sources(receiver.options, "desk", "T1")) == 1
    assert uploaded_sources(receiver.options, "desk", "T2") == []
    assert uploaded_sources(receiver.options, "other", "T1") == []


def test_two_processes_never_look_through_one_bundle_at_once(kept, tmp_path, caplog):
    receiver, jobs = kept
    rows, asked = receiver.collections, manifest()
    rows.issue(asked, sign(asked, SECRET), 4e9)
    data = bundle_of(asked, tmp_path)
    with zipfile.ZipFile(data) as archive:
        rows.decide(asked.id, msgspec.json.decode(archive.read(RECEIPT), type=Receipt).consent)
    size, digest = _digest(data)
    rows.announce(asked.id, digest, size)
    part = tmp_path / "uploads" / "incoming" / f"{asked.id}.part"
    part.write_bytes(data.read_bytes())
    with part.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        receiver.finish(asked.id).result()
        assert (rows.get(asked.id).state, jobs, caplog.text) == ("received", [], "")
    receiver.finish(asked.id).result()
    assert rows.get(asked.id).state == "stored"


def test_a_bundle_in_the_folder_of_another_ticket_is_not_read(kept, tmp_path, caplog):
    receiver, _ = kept
    data = bundle_of(manifest(), tmp_path)
    wrong = folder_of(receiver.options, "desk", "T2")
    wrong.mkdir(parents=True)
    (wrong / data.name).write_bytes(data.read_bytes())
    assert uploaded_sources(receiver.options, "desk", "T2") == []
    assert "is not an upload of desk ticket T2" in caplog.text


def test_uploads_are_deleted_when_their_time_is_over(kept, tmp_path):
    receiver, _ = kept
    rows, asked = receiver.collections, manifest()
    rows.issue(asked, sign(asked, SECRET), 1000.0)
    data = bundle_of(asked, tmp_path)
    home = folder_of(receiver.options, "desk", "T1")
    home.mkdir(parents=True)
    (home / data.name).write_bytes(data.read_bytes())
    rows.clock = lambda: 2000.0
    with zipfile.ZipFile(data) as archive:
        rows.decide(asked.id, msgspec.json.decode(archive.read(RECEIPT), type=Receipt).consent)
    rows.receive(asked.id)
    rows.store(asked.id, {}, {})
    late = manifest(number=3)
    rows.issue(late, sign(late, SECRET), 1500.0)
    part = tmp_path / "uploads" / "incoming" / f"{late.id}.part"
    part.write_bytes(b"half")
    assert receiver.prune(2050.0) == 0
    assert (home / data.name).exists()
    assert not part.exists()
    assert receiver.prune(2101.0, remembered=5000.0) == 1
    assert not home.exists()
    # Who agreed to what, and when, is known for longer than there is data.
    forgotten = 1000.0 + receiver.options.keep + 5000.0
    assert receiver.prune(forgotten - 1.0, remembered=5000.0) == 0
    assert (rows.get(asked.id).state, rows.get(asked.id).who) == ("pruned", "Li Si")
    receiver.prune(forgotten + 1.0, remembered=5000.0)
    assert rows.get(asked.id) is None


@pytest.mark.parametrize("install", ["pipx install https://desk.example/p.whl", None])
def test_a_customer_reads_what_the_command_needs_and_how_to_get_it(install):
    told = letter(manifest(), "https://desk.example/collect?key=k", "ed25519:k", install)
    for half, ask in ((told.en, "ask us"), (told.zh, "向我们询问")):
        assert "Python 3.11" in half
        assert (f"\n\n  {install}\n" if install else ask) in half


def test_an_install_command_is_one_line():
    with pytest.raises(ValueError, match="no command of one line"):
        RemoteOptions(install="pipx install x\nrm y")


def test_a_link_is_known_by_its_signature_alone(kept):
    receiver, _ = kept
    asked = manifest()
    receiver.collections.issue(asked, sign(asked, SECRET), 4e9)
    for key in ("", "x", "WyJjMDAwMDAwMDAwMDAwMDAwMSIsNGU5XQ.x.y"):
        with pytest.raises(Closed) as closed:
            receiver.place(asked.id, key)
        assert closed.value.status == 401


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["T1", "--collect", "m.json"], "takes its ticket from the manifest"),
        (["--collect", "m.json", "--around", "2026-11-23"], "takes its time from the manifest"),
        (["--collect", "none.json"], "cannot be read"),
        (["--collect", "http://desk.example.com/collect?key=x"], "only taken by https"),
        (["--collect", "m.json", "--refuse", "--consent", "Li Si"], "--refuse excludes"),
        (["--collect", "m.json", "--send", "x.zip", "--no-upload"], "exclude each other"),
        (["T1", "--out", "x", "--consent", "Li Si"], "--consent belongs to --collect"),
        (["--out", "x"], "name the TICKET"),
        (["T1"], "--out PATH is needed"),
    ],
)
def test_options_that_mean_nothing_together_are_refused(options, said):
    done = CliRunner().invoke(commands, ["bundle", *options])
    assert done.exit_code == 2
    assert said in done.stderr


# ---- what reads it, and what is trusted


@pytest.mark.usefixtures("home")
def test_what_was_collected_is_a_bundle_like_any_other(tmp_path):
    log = tmp_path / "a.log"
    log.write_text("2026-11-23 10:00:00 ERROR pay - order SO20261123001 SYSTEM_ERROR\n", encoding="utf-8")
    asked = manifest(str(log))
    chosen, left = choose(asked.paths, START, 10)
    out = tmp_path / "x.zip"
    gather(asked, chosen, left, consent_of(asked, "given", "Li Si", START, "en"), out, offset=timedelta(hours=8))
    taken = CliRunner().invoke(commands, ["take", "T1", "--bundle", str(out), "--no-store", "-o", "json"])
    assert taken.exit_code == 0, taken.stderr
    (row,) = [one for one in json.loads(taken.stdout)["coverage"] if one["what"] == "logs"]
    assert (row["used"], row["unparsed"]) == (1, 0)
    assert row["window"]["start"] == "2026-11-23T02:00:00.000000Z"


def test_a_desk_whose_certificate_does_not_hold_is_sent_nothing(tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "self-signed.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    asked: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
                    asked.append(secure.recv(4096))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        place = f"https://127.0.0.1:{listener.getsockname()[1]}/uploads/c{1:016x}"
        with pytest.raises(NotUploaded, match="certificate is not trusted"):
            Desk(manifest(upload=place), "en", wait=lambda _: None).key()
    assert not [data for data in asked if data]
