"""Remote collection, end to end: a desk as a real service process, and a customer who runs the program on his machine."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import pty
import re
import resource
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from pipeline.desk.uploaded import uploaded_sources
from pipeline.remote.gather import RECEIPT
from pipeline.remote.manifest import sign
from pipeline.remote.receipt import Receipt, sealed
from pipeline.remote.sending import _digest
from pipeline.settings import load_settings
from snapshots.store import Store
from snapshots.verify import all_evidence
from tests.remote_samples import (
    ROOT,
    SECRET,
    SECRETS,
    TOKEN,
    Remote,
    Wire,
    agreed,
    collected,
    large_bundle,
    manifest_of,
    memory,
    put,
    remote,
)
from tests.services import free_port
from tests.test_service import database  # noqa: F401 - a fixture
from tests.test_service_crash import answering

# Real processes, one after the other, on a machine that may be busy.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Iterator[Remote]:
    """One desk for the tests that leave it as it was."""
    folder: Path = tmp_path_factory.mktemp("remote")
    with remote(folder, f"sqlite:///{folder}/service.sqlite") as found:
        yield found


# ---- the whole way


def test_logs_are_collected_with_consent_and_the_ticket_is_diagnosed_again_with_them(database, tmp_path):  # noqa: F811
    port = free_port()
    wire = Wire(port)
    with remote(tmp_path, database, port=port, through=wire.port) as shop:
        told = shop.ask_by_command("T1", "--note")
        (letter,) = shop.board.notes["T1"]
        assert letter["private"]
        assert told["link"] in letter["body"]
        done = shop.collect(told)
        assert done.returncode == 0, done.stderr
        shop.settled()
        row = shop.row(told["id"])
        assert (row.state, row.who, row.language) == ("stored", "Zhang San", "zh")
        masked = {"card": 1, "email": 2, "encoded": 1, "id_number": 1, "phone": 1, "secret": 1}
        assert json.loads(row.masked) == masked
        assert json.loads(row.masked_again) == {}

        # Nothing of it was ever on the wire, packed or unpacked.
        sent = bytes(wire.sent)
        start = sent.index(b"PK\x03\x04")
        with zipfile.ZipFile(io.BytesIO(sent[start:])) as archive:
            unpacked = b"".join(archive.read(name) for name in archive.namelist())
        assert b"[card:" in unpacked
        assert not [secret for secret in SECRETS if secret in sent or secret in unpacked]

        # The snapshot cites what came, and its ledger says where it came from; another ticket has nothing of it.
        assert len(shop.board.notes["T1"]) == 2
        snapshot = Store(str(tmp_path / "store")).newest("T1")
        assert snapshot is not None
        (ledger,) = [one for one in snapshot.coverage if one.kind == "customer"]
        assert (ledger.source, ledger.used) == (f"customer-{told['id']}", 3)
        assert "with consent of" in ledger.notes[0]
        settings = load_settings(shop.config, env={})
        assert settings.desk is not None
        assert settings.desk.remote is not None
        assert uploaded_sources(settings.desk.remote, "desk", "T2") == []
        again = shop.run("take", "desk:T1", "--config", shop.config, "--no-store", "-o", "json")
        assert f"customer-{told['id']}" in again.stdout
        other = shop.run("take", "desk:T2", "--config", shop.config, "--no-store", "-o", "json")
        assert other.returncode == 2
        assert "no source is configured" in other.stderr
        # What is cited of it is found again; only what is not as it was is named.
        assert [one for one in all_evidence(snapshot) if one.source == f"customer-{told['id']}"]
        checked = shop.run("verify", snapshot.snapshot_id, "--config", shop.config)
        assert f"{snapshot.snapshot_id}: " in checked.stdout
        assert f"customer-{told['id']}" not in checked.stdout
        # Beside a bundle, too, as the service had them.
        checked = shop.run("verify", snapshot.snapshot_id, "--config", shop.config, "--bundle", tmp_path / "bundle")
        assert checked.returncode == 0, checked.stdout
    wire.close()


def test_a_link_gives_a_page_and_the_manifest(shop):
    told = shop.ask("T1")
    page = httpx.get(told["link"], headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "<script" not in page.text
    assert 'lang="zh-CN"' in page.text
    assert 'lang="en"' in page.text
    assert told["desk_key"] in page.text
    assert page.text.count("Python 3.11") == 2
    fetched = httpx.get(told["link"], headers={"Accept": "application/json"})
    assert fetched.content == Path(told["manifest"]).read_bytes()
    by_link = shop.run("bundle", "--collect", told["link"], "--consent", "Li Si", at="Asia/Shanghai")
    assert by_link.returncode == 0, by_link.stderr
    assert shop.row(told["id"]).state == "stored"


def test_a_program_asks_over_http_what_a_person_asks_by_command(shop):
    body = {"system": "desk", "ticket": "T2", "paths": [f"{shop.logs}/*.log"]}
    times = {"start": "2026-11-23T10:00:00+08:00", "end": "2026-11-23T11:00:00+08:00"}
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert httpx.post(f"{shop.url}/collections", json=body).status_code == 401
    for change, status in (
        ({"paths": ["/etc/passwd"]}, 400),
        ({"ticket": "T99"}, 404),
        ({"system": "other"}, 404),
        ({"screen": "https://evil.example.com/"}, 400),
        ({"start": "yesterday", "end": "today"}, 400),
        ({"unknown": 1}, 400),
    ):
        answer = httpx.post(f"{shop.url}/collections", json=body | change, headers=bearer)
        assert answer.status_code == status, answer.text
    told = httpx.post(f"{shop.url}/collections", json=body | times, headers=bearer).json()
    file = shop.folder / "by-http.json"
    file.write_bytes(msgspec.json.encode(told["manifest"]))
    assert shop.collect({**told, "manifest": str(file)}).returncode == 0
    asked = {"params": {"system": "desk", "ticket": "T2"}, "headers": bearer}
    rows = httpx.get(f"{shop.url}/collections", **asked).json()
    assert [row["state"] for row in rows if row["id"] == told["id"]] == ["stored"]
    assert "manifest" not in rows[0]


# ---- consent


def test_refused_consent_reads_nothing_is_recorded_and_closes_the_link(shop):
    told = shop.ask("T1")
    log = shop.logs / "pay.log"
    # Read once, it has another time of access, also where the file system only notes the first one.
    os.utime(log, (1, time.time()))
    done = shop.run("bundle", "--collect", told["manifest"], "--refuse", "--out", shop.folder / "refused.zip")
    assert done.returncode == 0, done.stderr
    assert not (shop.folder / "refused.zip").exists()
    record = json.loads((shop.folder / "refused.consent.json").read_bytes())
    row = shop.row(told["id"])
    assert record["decision"] == "refused"
    assert (row.state, row.who, row.text_sha256) == ("refused", record["who"], record["text_sha256"])
    assert log.stat().st_atime == 1
    later = shop.collect(told)
    assert later.returncode == 4
    assert "已拒绝同意" in later.stderr
    assert shop.row(told["id"]).state == "refused"


@pytest.mark.parametrize(("typed", "state"), [(b"Wang Wu\nn\n", "refused"), (b"Wang Wu\ny\n", "stored")])
def test_a_person_is_shown_what_would_be_read_and_asked(shop, typed, state):
    told = shop.ask("T2")
    main, side = pty.openpty()
    place = shop.folder / f"person-{state}"
    place.mkdir()
    command = [
        sys.executable,
        "-c",
        "from cli import main; main()",
        "bundle",
        "--collect",
        told["manifest"],
        "-l",
        "en",
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TZ": "Asia/Shanghai"}
    with subprocess.Popen(command, cwd=place, env=env, stdin=side, stdout=side, stderr=side) as process:
        os.close(side)
        seen = b""
        os.write(main, typed)
        try:
            while piece := os.read(main, 4096):
                seen += piece
        except OSError:
            pass  # the terminal is gone with its last user
        assert process.wait(60) == 0, seen
    os.close(main)
    text = seen.decode()
    assert text.index("pay.log") < text.index("You may refuse") < text.index("Do you agree")
    row = shop.row(told["id"])
    assert (row.state, row.who, row.language) == (state, "Wang Wu", "en")


def test_nobody_is_taken_to_agree_where_nobody_can_be_asked(shop):
    told = shop.ask("T1")
    done = shop.run("bundle", "--collect", told["manifest"])
    assert done.returncode == 2
    assert "--consent NAME" in done.stderr
    assert shop.row(told["id"]).state == "asked"


def test_where_nothing_of_that_time_is_found_nothing_is_sent_and_the_link_stays_good(shop):
    """The machine's clock is not the one that its logs are written by."""
    told, out = shop.ask("T2"), shop.folder / "none.zip"
    given = ["bundle", "--collect", told["manifest"], "--desk-key", told["desk_key"], "--consent", "Wang", "--out", out]
    for language, said in (("zh", "链接仍然有效"), ("en", "The link stays good")):
        done = shop.run(*given, "--language", language, at="UTC")
        assert done.returncode == 8, done.stderr
        assert said in done.stderr
        assert "TZ=Asia/Shanghai" in done.stderr
        assert not out.exists()
        assert shop.row(told["id"]).state == "agreed"
    done = shop.run(*given, at="Asia/Shanghai")
    assert done.returncode == 0, done.stderr
    assert shop.row(told["id"]).state == "stored"
    # What is there already is not to be sent later.
    again = shop.run(*given[:-1], shop.folder / "again.zip", "--language", "en", at="Asia/Shanghai")
    assert again.returncode == 4
    assert "another bundle" in again.stderr
    assert "later" not in again.stderr


def test_nothing_is_taken_before_consent(shop):
    told = shop.ask("T1")
    bundle = collected(shop, told)
    answer = put(shop, told, bundle, {"Authorization": f"Bearer {manifest_of(told).key}"})
    assert (answer.status_code, answer.json()["en"]) == (409, "consent comes first")


# ---- links


def test_an_expired_link_is_refused_on_both_sides(shop):
    begun = time.time()
    told = shop.ask("T1", holds=4)
    bundle = collected(shop, told)
    headers = agreed(shop, told, bundle)
    time.sleep(max(0.0, 4.2 - (time.time() - begun)))
    answer = put(shop, told, bundle, headers)
    assert (answer.status_code, answer.json()["zh"]) == (410, "此链接已过期，请重新索取")
    late = shop.collect(told)
    assert late.returncode == 4
    assert "was good until" in late.stderr
    assert httpx.get(told["link"], headers={"Accept": "text/html"}).status_code == 410


def test_a_link_of_another_request_and_a_withdrawn_one_open_nothing(shop):
    one, two = shop.ask("T1"), shop.ask("T2")
    headers = {"Authorization": f"Bearer {manifest_of(one).key}"}
    assert httpx.get(f"{shop.url}/uploads/{two['id']}", headers=headers).status_code == 401
    assert httpx.get(f"{shop.url}/uploads/{one['id']}").status_code == 401
    done = shop.run("desk", "collections", "--withdraw", one["id"], "--config", shop.config)
    assert done.returncode == 0, done.stderr
    assert httpx.get(f"{shop.url}/uploads/{one['id']}", headers=headers).status_code == 410
    assert shop.collect(one).returncode == 4
    listed = json.loads(shop.run("desk", "collections", "desk:T1", "-o", "json", "--config", shop.config).stdout)
    assert {row["state"] for row in listed if row["id"] == one["id"]} == {"withdrawn"}


# ---- tampering


def test_a_manifest_that_was_changed_is_not_followed(shop):
    told = shop.ask("T1")
    path = Path(told["manifest"])
    whole = json.loads(path.read_bytes())
    whole["manifest"]["paths"] = ["/etc/*"]
    path.write_text(json.dumps(whole), encoding="utf-8")
    done = shop.collect(told)
    assert done.returncode == 4
    assert "was changed after the desk signed it" in done.stderr
    # Signed anew by somebody else: known by the key that the customer was told, and without it by asking the desk.
    forged = msgspec.structs.replace(manifest_of(told), consent=manifest_of(told).consent)
    path.write_bytes(sign(forged, "a secret of somebody else"))
    assert "is signed by" in shop.collect(told).stderr
    unpinned = shop.run("bundle", "--collect", path, "--consent", "Zhang San")
    assert unpinned.returncode == 4
    assert "the desk signs with" in unpinned.stderr
    assert shop.row(told["id"]).state == "asked"


def test_logs_are_never_sent_in_the_clear(shop):
    told = shop.ask("T1")
    clear = msgspec.structs.replace(manifest_of(told), upload="http://desk.example.com/uploads/x")
    Path(told["manifest"]).write_bytes(sign(clear, SECRET))
    done = shop.collect(told)
    assert done.returncode == 2
    assert "only sent by https" in done.stderr


def rewritten(bundle: Path, change: Callable[[dict[str, bytes]], None], **infos: Any) -> None:
    """The bundle with its files changed."""
    with zipfile.ZipFile(bundle) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            for key, value in infos.get(name, {}).items():
                setattr(info, key, value)
            archive.writestr(info, data)


LOG = "logs/0001-pay.log.ndjson"


def _more(files: dict[str, bytes]) -> None:
    files["logs/0002-more.ndjson"] = b"{}\n"


def _outside(files: dict[str, bytes]) -> None:
    files["../../escaped.ndjson"] = b"{}\n"


def _other_bytes(files: dict[str, bytes]) -> None:
    files[LOG] += b'{"message":"added later"}\n'


def _other_list(files: dict[str, bytes]) -> None:
    _other_bytes(files)
    listed = json.loads(files[RECEIPT])
    listed["files"][LOG] = {"bytes": len(files[LOG]), "sha256": hashlib.sha256(files[LOG]).hexdigest()}
    files[RECEIPT] = json.dumps(listed).encode()


def _bomb(files: dict[str, bytes]) -> None:
    files[LOG] = bytes(40 << 20)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_more, "what it holds is not what its list names"),
        (_outside, "is no part of a bundle"),
        (_other_bytes, "is not the file that its list names"),
        (_other_list, "was changed after it was sealed"),
        (_bomb, "unpacks to more than"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_bundle_that_is_not_what_its_list_says_is_rejected_and_a_right_one_taken_after(tiny, change, said):
    told = tiny.ask("T1")
    bundle = collected(tiny, told)
    headers = agreed(tiny, told, bundle)
    right = bundle.read_bytes()
    rewritten(bundle, change)
    answer = put(tiny, told, bundle, headers)
    assert answer.status_code == 422, answer.text
    assert said in answer.json()["error"]
    assert tiny.row(told["id"]).state == "rejected"
    assert not list((tiny.folder / "uploads" / "incoming").glob(f"{told['id']}*"))
    bundle.write_bytes(right)
    assert put(tiny, told, bundle, headers).json()["state"] == "stored"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Iterator[Remote]:
    """A desk that takes little."""
    folder: Path = tmp_path_factory.mktemp("tiny")
    with remote(folder, f"sqlite:///{folder}/service.sqlite", options="max_bytes = 1048576") as found:
        yield found


def test_links_devices_and_what_is_no_zip_are_rejected(tiny):
    told = tiny.ask("T2")
    bundle = collected(tiny, told)
    headers = agreed(tiny, told, bundle)
    rewritten(bundle, lambda _: None, **{LOG: {"create_system": 3, "external_attr": 0o120777 << 16}})
    assert "is no ordinary file" in put(tiny, told, bundle, headers).json()["error"]
    bundle.write_bytes(b"\x1f\x8b" + bytes(1000))
    assert "no whole zip" in put(tiny, told, bundle, headers).json()["error"]


def test_a_bundle_of_one_ticket_is_never_taken_for_another(tiny):
    one, two = tiny.ask("T1"), tiny.ask("T2")
    bundle = collected(tiny, one)
    other = collected(tiny, two)
    headers = agreed(tiny, two, other)
    assert "was changed after it was sealed" in put(tiny, two, bundle, headers).json()["error"]

    def claims(files: dict[str, bytes]) -> None:
        """Whoever holds the second link seals the first ticket's bundle with it."""
        receipt = msgspec.json.decode(files[RECEIPT], type=Receipt)
        files[RECEIPT] = msgspec.json.encode(sealed(receipt, manifest_of(two).key))

    rewritten(bundle, claims)
    assert "answers another request" in put(tiny, two, bundle, headers).json()["error"]


@pytest.mark.parametrize(
    "other",
    [{"who": "Somebody Else"}, {"decision": "refused"}, {"text_sha256": "0" * 64}, {"at": "2026-11-23T00:00:00Z"}],
)
def test_a_bundle_rests_on_the_consent_that_was_recorded_and_on_no_other(tiny, other):
    """Whoever holds the link can seal what he likes, but not have agreed to it."""
    told = tiny.ask("T2")
    bundle = collected(tiny, told)
    headers = agreed(tiny, told, bundle)
    right = bundle.read_bytes()

    def claims(files: dict[str, bytes]) -> None:
        receipt = msgspec.json.decode(files[RECEIPT], type=Receipt)
        consent = msgspec.structs.replace(receipt.consent, **other)
        changed = msgspec.structs.replace(receipt, consent=consent)
        files[RECEIPT] = msgspec.json.encode(sealed(changed, manifest_of(told).key))

    rewritten(bundle, claims)
    answer = put(tiny, told, bundle, headers)
    assert answer.status_code == 422
    assert "the consent in it is not the one that was recorded" in answer.json()["error"]
    bundle.write_bytes(right)
    assert put(tiny, told, bundle, headers).json()["state"] == "stored"


def test_what_a_changed_collector_left_in_is_masked_at_the_desk(tiny):
    told = tiny.ask("T3")
    bundle = collected(tiny, told)
    headers = agreed(tiny, told, bundle)

    def unmasked(files: dict[str, bytes]) -> None:
        files[LOG] += (
            '{"@timestamp":"2026-11-23T02:05:00Z","message":"手机 13800138000 card 4242 4242 4242 4242"}\n'.encode()
        )
        receipt = msgspec.json.decode(files[RECEIPT], type=Receipt)
        row = msgspec.structs.replace(
            receipt.files[LOG], bytes=len(files[LOG]), sha256=hashlib.sha256(files[LOG]).hexdigest()
        )
        (taken,) = receipt.taken
        told_path = msgspec.structs.replace(taken, path="/var/log/13800138000.log")
        receipt = msgspec.structs.replace(receipt, files={**receipt.files, LOG: row}, taken=(told_path,))
        files[RECEIPT] = msgspec.json.encode(sealed(receipt, manifest_of(told).key))

    rewritten(bundle, unmasked)
    answer = put(tiny, told, bundle, headers).json()
    assert (answer["state"], answer["masked"]) == ("stored", {"card": 1, "phone": 2})
    (kept,) = (tiny.folder / "uploads" / "kept").rglob(f"{told['id']}.zip")
    with zipfile.ZipFile(kept) as archive:
        assert not [secret for secret in SECRETS if secret in archive.read(LOG)]
        receipt = msgspec.json.decode(archive.read(RECEIPT), type=Receipt)
        assert receipt.masked_again == {"card": 1, "phone": 2}
        assert receipt.taken[0].path == "/var/log/[phone:…8000].log"
    assert json.loads(tiny.row(told["id"]).masked_again) == {"card": 1, "phone": 2}


# ---- bytes that come late, twice, too many, or find no room


def noisy(path: Path, megabytes: int) -> None:
    """A log that cannot be packed well, all of it within the time that is asked for."""
    stamp = "2026-11-23 10:02:00.000 INFO  pay-gateway - "
    with path.open("w", encoding="utf-8") as file:
        for _ in range(megabytes * 20):
            file.write("".join(f"{stamp}{os.urandom(500).hex()}\n" for _ in range(50)))


def test_an_upload_that_is_cut_goes_on_where_it_broke_off(tmp_path):
    port = free_port()
    wire = Wire(port)
    with remote(tmp_path, f"sqlite:///{tmp_path}/service.sqlite", port=port, through=wire.port) as shop:
        noisy(shop.logs / "noise.log", 8)
        told = shop.ask("T1")
        bundle = collected(shop, told)
        size = bundle.stat().st_size
        assert size > 4 << 20
        wire.sent.clear()
        wire.cut_after = size // 2
        done = shop.run("bundle", "--collect", told["manifest"], "--send", bundle)
        assert done.returncode == 0, done.stderr
        assert wire.cuts == 1
        offsets = [int(one) for one in re.findall(rb"(?i)upload-offset: (\d+)", bytes(wire.sent))]
        assert offsets[0] == 0
        assert size // 4 < offsets[1] < size
        assert shop.row(told["id"]).state == "stored"
        # Sent once more it is the same, and no byte of it goes over the wire.
        wire.sent.clear()
        again = shop.run("bundle", "--collect", told["manifest"], "--send", bundle)
        assert again.returncode == 0, again.stderr
        assert len(wire.sent) < 10_000
        shop.settled()
    wire.close()


def test_a_desk_that_is_killed_in_the_middle_goes_on_and_loses_nothing(tmp_path):
    with remote(tmp_path, f"sqlite:///{tmp_path}/service.sqlite") as shop:
        noisy(shop.logs / "noise.log", 6)
        told = shop.ask("T1")
        bundle = collected(shop, told)
        headers = {**agreed(shop, told, bundle), "Repr-Digest": _digest(bundle)[1]}
        data = bundle.read_bytes()

        def half() -> Iterator[bytes]:
            yield data[: len(data) // 2]
            time.sleep(1)
            shop.service.kill(everything=True)
            yield data[len(data) // 2 :]

        with pytest.raises(httpx.HTTPError):
            httpx.patch(
                f"{shop.url}/uploads/{told['id']}",
                content=half(),
                headers={
                    **headers, "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0",
                    "Upload-Length": str(len(data)), "Content-Length": str(len(data)),
                },
            )  # fmt: skip
        shop.service.start()
        answering(shop.url)
        done = shop.run("bundle", "--collect", told["manifest"], "--send", bundle)
        assert done.returncode == 0, done.stderr
        assert shop.row(told["id"]).state == "stored"
        assert len(list((tmp_path / "uploads" / "kept").rglob("*.zip"))) == 1


def test_two_at_once_are_one_and_two_customers_do_not_wait_for_each_other(shop):
    noisy(shop.logs / "noise.log", 4)
    try:
        told, other = shop.ask("T1"), shop.ask("T2")
        bundle, second = collected(shop, told), collected(shop, other)
    finally:
        (shop.logs / "noise.log").unlink()
    jobs = [(told, bundle), (told, bundle), (other, second)]
    done: list[subprocess.CompletedProcess[str]] = []

    def send(job: tuple[dict[str, Any], Path]) -> None:
        done.append(shop.run("bundle", "--collect", job[0]["manifest"], "--send", job[1]))

    threads = [threading.Thread(target=send, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
        time.sleep(0.01)
    for thread in threads:
        thread.join()
    assert [one.returncode for one in done] == [0, 0, 0], [one.stderr for one in done]
    assert {shop.row(one["id"]).state for one in (told, other)} == {"stored"}
    assert len(list((shop.folder / "uploads" / "kept").rglob(f"{told['id']}.zip"))) == 1


def test_a_second_bundle_by_the_same_link_is_refused(shop):
    told = shop.ask("T3")
    first, second = collected(shop, told), shop.folder / "second.zip"
    headers = agreed(shop, told, first)
    assert put(shop, told, first, headers).json()["state"] == "stored"
    assert put(shop, told, first, headers).json()["state"] == "stored"
    second.write_bytes(first.read_bytes() + b"x")
    assert put(shop, told, second, headers).status_code == 409


def test_a_full_disk_is_told_and_nothing_of_it_stays(tmp_path):
    limit = 3 << 20
    with remote(
        tmp_path,
        f"sqlite:///{tmp_path}/service.sqlite",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    ) as shop:
        noisy(shop.logs / "noise.log", 8)
        told = shop.ask("T1")
        done = shop.collect(told, "--out", tmp_path / "kept.zip")
        assert done.returncode == 8
        assert "磁盘空间不足" in done.stderr
        assert "--send" in done.stderr
        assert (tmp_path / "kept.zip").exists()
        assert not list((tmp_path / "uploads" / "incoming").iterdir())
        assert "no room for an upload" in shop.log.read_text(encoding="utf-8")
        # Once there is room, it is sent as it is.
        (shop.logs / "noise.log").unlink()
        assert shop.collect(told).returncode == 0


def test_a_large_upload_takes_little_memory_and_a_larger_one_is_refused_before_it_is_read(tmp_path):
    """benchmarks/upload.py does the same with two gigabytes."""
    most = 130 << 20
    with remote(tmp_path, f"sqlite:///{tmp_path}/service.sqlite", options=f"max_bytes = {most}") as shop:
        assert shop.service.process is not None
        pid = shop.service.process.pid
        warm = shop.ask("T2")
        small = collected(shop, warm)
        assert put(shop, warm, small, agreed(shop, warm, small)).status_code == 200
        told = shop.ask("T1")
        large = tmp_path / "large.zip"
        manifest = manifest_of(told)
        consent = large_bundle(large, manifest, 120 << 20)
        headers = {"Authorization": f"Bearer {manifest.key}"}
        httpx.post(f"{manifest.upload}/consent", content=msgspec.json.encode(consent), headers=headers)
        before = memory(pid)
        done = shop.run("bundle", "--collect", told["manifest"], "--send", large)
        assert done.returncode == 0, done.stderr
        assert memory(pid) - before < 60 << 20
        third = shop.ask("T3")
        headers = agreed(shop, third, collected(shop, third))
        connection = http.client.HTTPConnection("127.0.0.1", int(shop.url.rpartition(":")[2]), timeout=30)
        connection.putrequest("PUT", f"/uploads/{third['id']}")
        for name, value in {**headers, "Repr-Digest": _digest(large)[1], "Content-Length": str(most * 2)}.items():
            connection.putheader(name, value)
        connection.endheaders()
        # Not one byte of it was sent.
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("Connection")) == (413, "close")
        connection.close()


# ---- what stays, and what a customer's machine loads


def test_the_customers_side_loads_nothing_of_the_service(shop):
    told = shop.ask("T1")
    code = (
        "import sys\nfrom cli import commands\n"
        f"commands(['bundle', '--collect', {told['manifest']!r}, '--consent', 'Li Si'], standalone_mode=False)\n"
        "heavy = ['fastapi', 'starlette', 'sqlalchemy', 'dbos', 'apache_beam', 'elasticsearch', 'uvicorn', 'scipy', 'numba',"
        " 'drain3', 'itsdangerous', 'jinja2', 'pipeline.settings', 'pipeline.service.app', 'pipeline.run']\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    place = shop.folder / "light"
    place.mkdir()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TZ": "Asia/Shanghai"}
    done = subprocess.run([sys.executable, "-c", code], cwd=place, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"
