"""What was mined can be kept: read back as it was, refused when damaged, and never seen half written."""

from __future__ import annotations

import contextlib
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsers import template_state
from parsers.templates import TemplateStateError, load, match, merge, mine, save
from tests.mining_samples import LINES

LOGS = ["order 1 paid", "order 2 paid", "用户 张三 登录", "link eth0 is up", None] * 3


@given(LINES)
@settings(max_examples=60, deadline=None)
def test_what_is_read_back_is_what_was_saved(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("state") / "templates.parquet"
    mined = mine(pa.array(lines, pa.string()))
    save(mined, path)
    loaded = load(path)
    assert loaded.templates == mined.templates
    assert len(loaded.template_ids) == 0
    assert match(loaded, pa.array(lines, pa.string())).to_pylist() == mined.template_ids.to_pylist()


@given(LINES, LINES)
@settings(max_examples=40, deadline=None)
def test_learning_in_parts_and_merging_what_was_saved_equals_learning_all(tmp_path_factory, january, february):
    folder = tmp_path_factory.mktemp("state")
    for name, lines in (("january", january), ("february", february)):
        save(mine(pa.array(lines, pa.string())), folder / name)
    together = merge(load(folder / "january"), load(folder / "february"))
    assert together.templates == mine(pa.array(january + february, pa.string())).templates


def test_equal_lines_are_saved_as_equal_bytes_in_any_order(tmp_path):
    save(mine(pa.array(LOGS, pa.string())), tmp_path / "one")
    save(mine(pa.array(LOGS[::-1], pa.string())), tmp_path / "other")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_file_is_a_clear_error_or_the_same_templates(tmp_path_factory, data):
    """A flipped bit may hit a byte that nobody reads; then what is read is right."""
    mined = mine(pa.array(LOGS, pa.string()))
    path = tmp_path_factory.mktemp("state") / "templates.parquet"
    save(mined, path)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    path.write_bytes(content)
    loaded = None
    with contextlib.suppress(TemplateStateError):
        loaded = load(path)
    assert loaded is None or loaded.templates == mined.templates


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (pa.table({"folded": ["a"], "count": [1]}), "not a file of templates"),
        (
            pa.table({"folded": ["a"], "count": [1], "shape": ["a"]}).replace_schema_metadata(
                {"problem-snapshot.templates": "0", "problem-snapshot.approximate": "0"}
            ),
            "version '0'.*mine the logs again",
        ),
        (
            pa.table({"folded": ["a", None], "count": [1, 2], "shape": ["a", "b"]}).replace_schema_metadata(
                {"problem-snapshot.templates": template_state.VERSION, "problem-snapshot.approximate": "0"}
            ),
            "a value is missing",
        ),
    ],
    ids=["other columns", "other version", "nulls"],
)
def test_another_file_is_refused_with_what_to_do(tmp_path, table, says):
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(TemplateStateError, match=rf"t\.parquet: .*{says}"):
        load(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("folded", "count", "says"),
    [
        (["x " * 60_000], [1], "a line in it is none"),
        (["a  b"], [1], "a line in it is none"),
        (["order 7"], [1], "a line in it is none"),
        (["a", "a"], [1, 1], "a line in it is none"),
        (["a"], [-1], "a count is negative"),
    ],
    ids=["too long", "two blanks", "not folded", "twice", "negative"],
)
def test_a_made_up_state_never_reaches_the_loops_that_trust_it(tmp_path, folded, count, says):
    table = pa.table({"folded": folded, "count": count, "shape": folded}).replace_schema_metadata(
        {"problem-snapshot.templates": template_state.VERSION, "problem-snapshot.approximate": "0"}
    )
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(TemplateStateError, match=says):
        load(tmp_path / "t.parquet")


def test_a_pickle_is_refused_and_not_executed(tmp_path):
    import pickle

    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("executed").touch, ())

    (tmp_path / "t").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(TemplateStateError, match="damaged"):
        load(tmp_path / "t")
    assert not (tmp_path / "executed").exists()


def test_a_file_that_is_not_there_is_an_error_that_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load(tmp_path / "nowhere")


def test_readers_see_the_old_file_or_the_new_one_while_it_is_written(tmp_path):
    states = [mine(pa.array([f"word{'abc'[i]} {n} done" for n in range(5)] * 200, pa.string())) for i in range(3)]
    path = tmp_path / "templates.parquet"
    save(states[0], path)
    seen, stop = set(), threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(load(path).templates)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for turn in range(60):
        save(states[turn % 3], path)
    stop.set()
    for reader in readers:
        reader.join()
    assert seen <= {state.templates for state in states}
    assert len(seen) > 1
    assert [file.name for file in tmp_path.iterdir()] == ["templates.parquet"]


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "templates.parquet"
    save(mine(pa.array(LOGS, pa.string())), path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save(mine(pa.array(["other"])), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["templates.parquet"]
