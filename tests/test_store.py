"""The store keeps whole documents only, once each, whatever happens to the process that writes them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapshots.model import ProblemSnapshot, canonical_bytes, with_id
from snapshots.store import (
    AmbiguousPrefix,
    DamagedSnapshot,
    SnapshotNotFound,
    Store,
    StoreUnusable,
    folder_ticket,
    ticket_folder,
)
from tests.snapshots_samples import SAMPLES, run_record

ROOT = Path(__file__).parent.parent


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    """A store in a folder, and one in fsspec's memory file system, which stands for any object store."""
    if request.param == "local":
        yield Store(tmp_path / "store")
        return
    made = Store(f"memory://{tmp_path.name}/store")
    yield made
    # The memory file system is one for the whole process.
    if made._files._fs.exists(f"/{tmp_path.name}"):
        made._files._fs.rm(f"/{tmp_path.name}", recursive=True)


def of_ticket(ticket_id: str, created_at: str = "2026-11-02T11:51:52Z", **changes: Any) -> ProblemSnapshot:
    """A sample under another ticket id."""
    s = SAMPLES["dns_failure"]
    ticket = msgspec.structs.replace(s.ticket, id=ticket_id, created_at=created_at)
    return with_id(msgspec.structs.replace(s, ticket=ticket, **changes))


def tree(root: Path) -> dict[str, bytes]:
    """Every file below `root` with its bytes."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_what_was_put_comes_back_by_id_by_ticket_and_by_prefix(store):
    for s in SAMPLES.values():
        assert store.put(s, run_record(s)).created
    for s in SAMPLES.values():
        assert store.get(s.snapshot_id) == s
        assert store.get(s.ticket.id) == s
        assert store.get(s.snapshot_id[:10]) == s
        assert store.get(s.snapshot_id[3:12]) == s
        assert store.get_run(s.snapshot_id) == run_record(s)


def test_the_same_snapshot_twice_is_one_entry_and_the_same_bytes(tmp_path):
    store = Store(tmp_path)
    s = SAMPLES["dns_failure"]
    first = store.put(s, run_record(s, 1.0))
    before = tree(tmp_path)
    second = store.put(s, run_record(s, 9.0))
    assert (first.created, second.created) == (True, False)
    assert first.path == second.path
    after = tree(tmp_path)
    assert {name for name in before if before[name] != after[name]} == {name for name in before if ".run." in name}
    assert store.get_run(s.snapshot_id) == run_record(s, 9.0)
    assert len(store.list()) == 1
    assert Path(first.path).read_bytes() == canonical_bytes(s)


def test_a_tickets_snapshot_is_the_one_taken_last(tmp_path):
    """Also where the same content was taken before."""
    store = Store(tmp_path)
    s = SAMPLES["dns_failure"]
    other = with_id(msgspec.structs.replace(s, checks=[]))
    for minute, one in enumerate([s, other, s]):
        run = msgspec.structs.replace(run_record(one, 1.0), started_at=f"2026-11-24T00:0{minute}:00Z")
        store.put(one, run)
    assert store.get(s.ticket.id) == s


def test_entries_are_listed_newest_ticket_first_and_by_ticket(store):
    for s in SAMPLES.values():
        store.put(s)
    assert [entry.ticket_id for entry in store.list()] == ["TK-33097", "TK-46022", "TK-24182", "TK-83164"]
    assert [entry.ticket_id for entry in store.list(limit=2)] == ["TK-33097", "TK-46022"]
    (entry,) = store.list(ticket="TK-83164")
    assert (entry.abstained, entry.fault_class, entry.channel, entry.taken_at) == (True, None, "paypal", None)
    assert len(store.list(ticket="TK-0")) == 0


def test_a_ticket_taken_again_with_other_content_gives_the_latest_take(store):
    old, new = of_ticket("T"), of_ticket("T", orders=[])
    store.put(old, run_record(old))
    store.put(new, msgspec.structs.replace(run_record(new), started_at="2026-11-04T00:00:00Z"))
    assert store.get("T") == new
    assert [entry.snapshot_id for entry in store.list(ticket="T")] == [new.snapshot_id, old.snapshot_id]


def test_what_is_not_there_is_said_and_an_ambiguous_prefix_names_its_candidates(store):
    with pytest.raises(SnapshotNotFound, match="no snapshot or ticket 'TK-1'"):
        store.get("TK-1")
    assert len(store.list()) == 0
    for s in SAMPLES.values():
        store.put(s)
    with pytest.raises(AmbiguousPrefix, match="fits 4 snapshots: ps-"):
        store.get("ps-")
    for key in ("", "\udcff", "../snapshots", "*"):
        with pytest.raises(SnapshotNotFound):
            store.get(key)


def test_a_list_reads_a_few_documents_at_a_time_and_a_limit_keeps_the_newest(store, monkeypatch):
    monkeypatch.setattr("snapshots.store._BATCH", 4)
    monkeypatch.setattr("snapshots.store._SPARE", 2)
    # In no order of time, so that the newest are in several batches.
    days = [1 + number * 7 % 20 for number in range(20)]
    for number, day in enumerate(days):
        store.put(of_ticket(f"TK-{number}", f"2026-11-{day:02}T00:00:00Z"))
    at_once = []
    read_many = store._files.read_many

    def counting(names):
        at_once.append(len(names))
        return read_many(names)

    monkeypatch.setattr(store._files, "read_many", counting)
    everything = [entry.snapshot_id for entry in store.list()]
    assert [entry.created_at[8:10] for entry in store.list()] == [f"{day:02}" for day in range(20, 0, -1)]
    for limit in (1, 3, 19, 50):
        assert [entry.snapshot_id for entry in store.list(limit=limit)] == everything[:limit]
    # Each document with its run record.
    assert max(at_once) == 8


def test_a_document_under_a_wrong_id_is_refused(store):
    with pytest.raises(ValueError, match="with_id"):
        store.put(msgspec.structs.replace(SAMPLES["dns_failure"], snapshot_id="ps-00000000000000000000"))
    assert len(store.list()) == 0


@pytest.mark.parametrize(
    "ticket_id",
    [
        "a/b",
        "..",
        ".",
        "../../etc/passwd",
        "工单/一",
        "x" * 900,
        "单" * 300,
        "a b\n",
        "C:\\x",
        "~root",
        "%2F",
        "-rf",
        ".x.",
        "",
        "a\x00b",
    ],
)
def test_any_ticket_id_is_a_safe_folder_and_is_found_again(ticket_id, tmp_path, store):
    s = of_ticket(ticket_id)
    stored = store.put(s)
    assert store.get(s.snapshot_id) == s
    if ticket_id:
        assert store.get(ticket_id) == s
    assert len(store.list(ticket=ticket_id)) == 1
    if store._files.local:
        inside = Path(stored.path).relative_to(tmp_path / "store")
        assert len(inside.parts) == 3
        assert all(len(part.encode()) <= 255 for part in inside.parts)
        assert {path.name for path in tmp_path.iterdir()} == {"store"}


@given(st.text(max_size=60))
def test_a_folder_name_is_safe_and_reversible_unless_it_is_a_hash(ticket_id):
    folder = ticket_folder(ticket_id)
    assert folder.isascii()
    assert folder not in {"", ".", ".."}
    assert not set(folder) & set('/\\:*?"<>| \n\0')
    assert not folder.startswith(".")
    assert not folder.endswith(".")
    assert len(folder) <= 120
    assert folder_ticket(folder) in {ticket_id, None}
    assert (folder_ticket(folder) is None) == ("~" in folder)


@given(st.lists(st.text(alphabet="ab./%~2EF", max_size=8), unique=True, max_size=8))
def test_different_tickets_have_different_folders(ids):
    assert len({ticket_folder(name) for name in ids}) == len(ids)


def test_a_damaged_file_is_counted_and_the_rest_is_listed(store):
    for s in SAMPLES.values():
        store.put(s)
    victim = SAMPLES["dns_failure"]
    name = f"snapshots/TK-33097/{victim.snapshot_id}.json"
    for wrong in (canonical_bytes(victim)[:5000], b"", b"\xff\xfe\x00", b"[1]", canonical_bytes(SAMPLES["log_hole"])):
        store._files.replace(name, wrong)
        listing = store.list()
        assert len(listing) == 3
        (damaged,) = listing.damaged
        assert damaged.path.endswith(name)
        assert damaged.reason
    store._files.replace(name, b"{")
    for key in (victim.snapshot_id, "TK-33097"):
        with pytest.raises(DamagedSnapshot, match="take the snapshot again"):
            store.get(key)
    assert not store.put(victim).created
    assert store.get("TK-33097") == victim
    assert store.list().damaged == ()


def test_a_re_put_completes_what_an_interrupted_put_left_out(tmp_path):
    """Whichever of the files is missing or cut short, putting again makes the store whole."""
    store = Store(tmp_path)
    s = SAMPLES["wechat_signature"]
    store.put(s, run_record(s))
    whole = tree(tmp_path)
    assert len(whole) == 5
    for name, data in whole.items():
        for left in (None, data[: len(data) // 2]):
            (tmp_path / name).unlink()
            if left is not None:
                (tmp_path / name).write_bytes(left)
            store.put(s, run_record(s))
            assert tree(tmp_path) == whole


def test_the_dataset_opens_in_pandas_and_duckdb_as_one_table(tmp_path):
    store = Store(tmp_path)
    for s in SAMPLES.values():
        store.put(s)
        store.put(s)
    (tmp_path / "dataset/snapshots/.half.parquet.tmp").write_bytes(b"PAR1")
    frame = pd.read_parquet(tmp_path / "dataset" / "snapshots")
    assert sorted(frame["ticket_id"]) == sorted(s.ticket.id for s in SAMPLES.values())
    assert str(frame["created_at"].dt.tz) == "UTC"
    row = frame.set_index("ticket_id").loc["TK-33097"]
    assert (row["fault_class"], row["fault_subclass"], row["channel"], row["lines"]) == (
        "interface_fault",
        "dns_failed",
        "stripe",
        5701,
    )
    assert frame["abstained"].sum() == 1
    findings = pd.read_parquet(tmp_path / "dataset" / "findings")
    assert len(findings) == sum(len(s.findings) for s in SAMPLES.values())
    counted = duckdb.sql(f"select count(*), max(confidence) from '{tmp_path}/dataset/snapshots/*.parquet'").fetchall()
    assert counted == [(4, 0.97)]


def test_a_document_without_findings_fits_into_the_dataset(tmp_path):
    store = Store(tmp_path)
    bare = of_ticket("bare", findings=[], severity=None)
    store.put(bare)
    store.put(SAMPLES["dns_failure"])
    assert len(pd.read_parquet(tmp_path / "dataset" / "findings")) == 5
    assert len(pd.read_parquet(tmp_path / "dataset" / "snapshots")) == 2


def test_the_dataset_can_be_made_again_from_the_documents(tmp_path):
    store = Store(tmp_path)
    for s in SAMPLES.values():
        store.put(s)
    before = tree(tmp_path)
    for path in (tmp_path / "dataset").rglob("*.parquet"):
        path.unlink()
    assert store.rebuild() == 4
    assert tree(tmp_path) == before


WRITER = f"""
import sys
import msgspec
sys.path.insert(0, {str(ROOT)!r})
from snapshots.store import Store
from snapshots.model import with_id
from tests.snapshots_samples import SAMPLES, run_record
store, base = Store(sys.argv[1]), SAMPLES["dns_failure"]
print("ready", flush=True)
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    ticket = msgspec.structs.replace(base.ticket, id=f"K{{number}}")
    snapshot = with_id(msgspec.structs.replace(base, ticket=ticket))
    print(store.put(snapshot, run_record(snapshot)).created, flush=True)
"""


def writer(store: Path, first: int, last: int) -> subprocess.Popen[bytes]:
    """A process that puts one snapshot after another."""
    command = [sys.executable, "-c", WRITER, str(store), str(first), str(last)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is a POSIX matter")
def test_a_process_killed_at_any_moment_leaves_a_store_that_reads_and_heals(tmp_path):
    """kill -9 at different points of a put: no half file is ever seen, and a re-put makes everything whole."""
    for attempt in range(6):
        process = writer(tmp_path, attempt * 1000, attempt * 1000 + 1000)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.02 + 0.037 * attempt)
        process.kill()
        process.wait()
        process.stdout.close()
        store = Store(tmp_path)
        listing = store.list()
        assert listing.damaged == ()
        for folder in ("snapshots", "findings"):
            if any((tmp_path / "dataset" / folder).glob("*.parquet")):
                assert len(pd.read_parquet(tmp_path / "dataset" / folder)) > 0
    assert len(listing) > 0
    for entry in listing:
        snapshot = store.get(entry.snapshot_id)
        assert not store.put(snapshot, run_record(snapshot)).created
    assert len(pd.read_parquet(tmp_path / "dataset" / "snapshots")) == len(listing)
    assert all(entry.taken_at for entry in store.list())


def test_two_processes_that_put_the_same_snapshots_make_each_once(tmp_path):
    processes = [writer(tmp_path, 0, 25) for _ in range(2)]
    answers = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sum(answer == b"True" for out in answers for answer in out) == 25
    assert len(Store(tmp_path).list()) == 25
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")]


def test_threads_that_put_and_list_at_once_never_see_a_half_file(tmp_path):
    store = Store(tmp_path)
    made = [of_ticket(f"T{number}") for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        puts = [pool.submit(store.put, s) for s in made * 2]
        listings = [pool.submit(store.list) for _ in range(20)]
    assert sum(put.result().created for put in puts) == 20
    assert all(listing.result().damaged == () for listing in listings)
    assert len(store.list()) == 20


def test_a_file_that_a_killed_process_left_is_swept_after_an_hour(tmp_path):
    store = Store(tmp_path)
    store.put(SAMPLES["dns_failure"])
    folder = tmp_path / "snapshots/TK-33097"
    old, young = folder / ".a.json.1.tmp", folder / ".b.json.2.tmp"
    for path in (old, young):
        path.write_bytes(b"{")
    os.utime(old, (time.time() - 7200,) * 2)
    assert len(store.list()) == 1
    assert store.list().damaged == ()
    # One store looks through a folder once: doing so for each file would take ever longer.
    store.put(of_ticket("TK-33097", orders=[]))
    assert old.exists()
    Store(tmp_path).put(of_ticket("TK-33097", templates=[]))
    assert not old.exists()
    assert young.exists()


def test_a_place_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreUnusable, match=r"cannot write the store .*file"):
        Store(tmp_path / "file").put(SAMPLES["dns_failure"])
    with pytest.raises(StoreUnusable, match="cannot open the store nowhere://x"):
        Store("nowhere://x")


def test_a_secret_in_the_url_is_never_shown(tmp_path):
    store = Store("memory://user:hunter2@bucket/snapshots?token=abc")
    assert "hunter2" not in repr(store)
    assert "abc" not in repr(store)
    assert Store(f"file://{tmp_path}/a%20b").path.__self__._files.place == f"{tmp_path}/a b"


def test_opening_a_local_store_needs_neither_fsspec_nor_arrow(tmp_path):
    """`list` and `show` start fast."""
    code = (
        "import sys; sys.path.insert(0, '.'); from snapshots.store import Store; Store(sys.argv[1]).list();"
        "assert not {'fsspec', 'pyarrow', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=True, timeout=30)
