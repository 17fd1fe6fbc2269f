"""Similar tickets: what was closed before, why it is alike, and nothing that came later."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv

from pipeline.desk.history import read_history
from pipeline.desk.index import EmbeddedIndex, Prepared, read_index, write_index
from pipeline.desk.meaning import encode
from pipeline.desk.postings import Postings, share_of
from pipeline.desk.query import query_for
from pipeline.desk.similar import Weights, rank, similar
from pipeline.desk.vectors import Vectors
from pipeline.desk.words import split_words
from pipeline.errors import UsageError
from snapshots.model import Text
from tests.desk_samples import START, indexed, many, prepared, table, ticket, vectors, write

LATE = START + timedelta(days=365)
WORDS = ["pay", "fail", "refund", "sign", "gate", "签名", "退款"]


def first(prepared: Prepared, count: int) -> EmbeddedIndex:
    """An index of the first closed tickets alone."""
    rows = prepared.rows.slice(0, count)
    cut = None if prepared.vectors is None else prepared.vectors[:count]
    return EmbeddedIndex(Prepared(rows, cut, dataclasses_replace(prepared.facts, closed=count, tickets=count)))


def dataclasses_replace(facts, **over):
    from msgspec.structs import replace

    return replace(facts, **over)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6), min_size=1, max_size=25),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=5),
    st.integers(0, 26),
    st.booleans(),
)
def test_recall_at_a_moment_is_that_of_an_index_which_holds_only_what_was_closed_by_then(
    tmp_path_factory, texts, asked, moment, with_meaning
):
    """The law: whatever was closed later changes neither the tickets found, nor their order, nor a digit of their scores."""
    rows = [ticket(i, title=" ".join(words)) for i, words in enumerate(texts)]
    said = {f"C{i:03}": [f"code:{word}" for word in words[:2]] for i, words in enumerate(texts)}
    made = prepared(tmp_path_factory.mktemp("law"), rows, said)
    if with_meaning:
        made = dataclasses.replace(made, vectors=vectors(len(rows)))
    at = START + timedelta(hours=moment)
    query = query_for("new", " ".join(asked), at, [f"code:{asked[0]}"], with_meaning=False)
    if with_meaning:
        query = dataclasses.replace(query, vector=vectors(1, seed=1)[0].astype(np.float32))
    closed_by_then = sum(START + timedelta(hours=i, minutes=30) < at for i in range(len(rows)))
    whole, _ = similar(query, EmbeddedIndex(made), 50)
    then, _ = similar(query, first(made, closed_by_then), 50)
    assert whole == then
    assert {one.id for one in whole} <= {f"C{i:03}" for i in range(closed_by_then)}


def test_a_ticket_does_not_find_itself(tmp_path):
    index = indexed(tmp_path, many())
    found, _ = similar(query_for("C001", "支付失败，提示签名错误", LATE, with_meaning=False), index, 50)
    assert found
    assert "C001" not in {one.id for one in found}


@pytest.mark.parametrize("text", ["签名错误，支付不了", "my payment failed, it says invalid signature"])
def test_each_similar_ticket_says_why_and_how_it_was_solved(tmp_path, text):
    found, gathered = similar(query_for("new", text, LATE, with_meaning=False), indexed(tmp_path, many()), 5)
    assert [one.solution for one in found] == ["solution of sign"] * 5
    assert all(one.reasons and one.reasons[0].en.startswith("shared words: ") for one in found)
    assert gathered.tickets == 90


def test_what_the_system_said_outweighs_what_the_customer_wrote(tmp_path):
    """Two tickets with equal words: the one with the query's code comes first, and the code is told."""
    rows = [ticket(0), ticket(2), ticket(4)]
    said = {"C000": ["code:alipay A"], "C002": ["code:alipay B"], "C004": ["code:alipay C"]}
    query = query_for("new", rows[0]["title"], LATE, ["code:alipay B"], with_meaning=False)
    found, _ = similar(query, indexed(tmp_path, rows, said), 3)
    assert found[0].id == "C002"
    assert found[0].reasons[0].en == "the system said the same: code alipay B"
    assert found[0].reasons[0].zh == "系统记录一致：返回码 alipay B"


def test_reasons_are_told_in_words_and_cite_the_findings_that_are_alike(tmp_path):
    """No kind of finding by our name for it, no word stem, no word of every second sentence; faults by their names."""
    rows = [ticket(0, title="I was charged twice for it, the payments are gone"), ticket(2, title="refund")]
    marks = [
        "finding:span.slow",
        "subclass:order_state/duplicate_charge",
        "class:order_state",
        "line:for",
        "code:7",
        "code:alipay 7",
    ]
    asked = query_for("new", "They charged me twice for the payments", LATE, marks, with_meaning=False)
    query = dataclasses.replace(
        asked, cited={"finding:span.slow": ("F3",), "code:7": ("F1",), "code:alipay 7": ("F1",)}
    )
    found, _ = similar(query, indexed(tmp_path, rows, {"C000": marks}), 1)
    assert [one.en for one in found[0].reasons] == [
        "the system said the same: code alipay 7, fault Two successful charges for one order",
        "shared words: charged, payments, twice",
    ]
    assert found[0].findings == ["F1", "F3"]


def test_only_findings_of_a_kind_in_common_are_told_by_their_ids(tmp_path):
    asked = query_for("new", "x", LATE, ["finding:span.slow"], with_meaning=False)
    query = dataclasses.replace(asked, cited={"finding:span.slow": ("F3", "F5")})
    found, _ = similar(query, indexed(tmp_path, [ticket(0), ticket(2)], {"C000": ["finding:span.slow"]}), 1)
    assert found[0].reasons[0] == Text(en="findings of the same kind: F3, F5", zh="有同类发现：F3、F5")


def test_a_closed_ticket_without_a_snapshot_is_found_by_its_words(tmp_path):
    """A history from before there were snapshots is asked by words; a ticket of which the system said the same comes first."""
    rows = [ticket(0), ticket(2), ticket(4)]
    query = query_for("new", rows[0]["title"], LATE, ["code:alipay B", "service:pay"], with_meaning=False)
    bare, _ = similar(query, indexed(tmp_path, rows), 3)
    assert len(bare) == 3
    assert bare[0].reasons[0].en.startswith("shared words: ")
    mixed, _ = similar(query, indexed(tmp_path, rows, {"C002": ["code:alipay B"]}), 3)
    assert mixed[0].id == "C002"
    # One that shares a small word of many is like it in nothing.
    far = query_for(
        "new",
        "签名 " + "库存 优惠 地址 发票 物流 会员 积分 客服 评价 " * 2,
        LATE,
        ["code:alipay B"],
        with_meaning=False,
    )
    assert similar(far, indexed(tmp_path, rows), 3)[0] == []


def test_personal_data_of_other_customers_never_reaches_the_index(tmp_path):
    rows = [ticket(0, title="签名错误 13812345678", solution="called 13812345678", cause="mail li@example.com")]
    made = prepared(tmp_path, rows)
    write_index(tmp_path / "index", made, None)
    kept = b"".join(path.read_bytes() for path in (tmp_path / "index").iterdir())
    assert b"13812345678" not in kept
    assert b"li@example.com" not in kept
    assert made.facts.masked == 3


def test_a_written_index_answers_as_the_one_in_memory(tmp_path):
    made = dataclasses.replace(prepared(tmp_path, many()), vectors=vectors(90))
    made = dataclasses.replace(made, facts=dataclasses_replace(made.facts, meaning=True))
    write_index(tmp_path / "index", made, None)
    query = query_for("new", "the refund", LATE, with_meaning=False)
    query = dataclasses.replace(query, vector=vectors(1, seed=3)[0].astype(np.float32))
    assert similar(query, read_index(tmp_path / "index"), 9) == similar(query, EmbeddedIndex(made), 9)
    # Written again, it takes the place of the first.
    write_index(tmp_path / "index", prepared(tmp_path, many(3)), None)
    assert read_index(tmp_path / "index").facts.closed == 3
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_folder_with_something_else_is_not_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="holds something else"):
        write_index(tmp_path / "mine", prepared(tmp_path, many(3)), None)
    assert (tmp_path / "mine" / "letter.txt").exists()


def test_the_nearest_by_bits_hold_the_nearest_by_cosine():
    """Rows near to the query among 5,000 that are not."""
    rows = vectors(5000).astype(np.float32)
    query = rows[0]
    rows[100:110] = query + 0.05 * vectors(10, seed=2)
    found = Vectors(rows.astype(np.float16)).nearest(query, 5000, 50)
    assert set(range(100, 110)) <= set(found.tolist())


@given(
    st.lists(st.lists(st.sampled_from(WORDS), max_size=8), min_size=1, max_size=20),
    st.lists(st.sampled_from([*WORDS, "never"]), min_size=1, max_size=6),
)
def test_a_share_is_of_one_and_equal_wherever_it_is_reckoned(held, asked):
    """The embedded index and the one for tickets that are kept elsewhere agree."""
    postings = Postings(pa.array(held, pa.list_(pa.string())))
    known = postings.known(asked, len(held))
    shares = postings.shares(known)
    assert ((shares >= 0) & (shares <= 1)).all()
    assert shares.tolist() == pytest.approx([share_of(words, known) for words in held], abs=1e-5)


def test_meaning_knows_one_problem_in_two_languages():
    """The model that its package carries: no download, and the same sentence in Chinese is nearer than another."""
    pay, same, other = encode(["my payment failed", "我的付款失败了", "how do I order a new card"])
    assert pay @ same > pay @ other + 0.2
    assert not encode(["123"]).any()


def test_equal_likeness_is_ordered_newest_first(tmp_path):
    rows = [ticket(i, title="same words here") for i in range(6)]
    query = query_for("new", "same words here", LATE, with_meaning=False)
    index = indexed(tmp_path, rows)
    assert [one.like.row["id"] for one in rank(query, index.gather(query), {}, Weights())] == [
        f"C{i:03}" for i in reversed(range(6))
    ]


# ---- the history's file


def test_parquet_csv_and_json_lines_are_read_alike(tmp_path):
    rows = [*many(7), ticket(9, closed_at=None)]
    read = table(tmp_path, rows)
    pq.write_table(read, tmp_path / "closed.parquet")
    flat = read.set_column(read.schema.get_field_index("reopened"), "reopened", read["reopened"].cast(pa.string()))
    csv.write_csv(flat, tmp_path / "closed.csv")
    assert read_history(tmp_path / "closed.parquet").equals(read)
    assert read_history(tmp_path / "closed.csv").equals(read)
    assert read["id"].to_pylist()[-1] == "C009"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_a_spreadsheets_csv_is_read_with_its_days_and_its_encoding(tmp_path, encoding):
    path = tmp_path / "closed.csv"
    lines = [
        "id,created_at,closed_at,title",
        "A,2026-10-01,2026/10/2 9:30,支付失败",
        'B,2026-10-01T08:00:00+08:00,,"two\nlines"',
        "C,2026-10-01 10:00,2026-10-03 10:00:00.5Z,x",
    ]
    path.write_bytes("\n".join(lines).encode(encoding))
    rows = {one["id"]: one for one in read_history(path).to_pylist()}
    assert rows["A"]["title"] == "支付失败"
    assert rows["A"]["created_at"] == datetime(2026, 10, 1, tzinfo=UTC)
    assert rows["A"]["closed_at"] == datetime(2026, 10, 2, 9, 30, tzinfo=UTC)
    assert rows["B"]["created_at"] == datetime(2026, 10, 1, tzinfo=UTC)
    assert rows["C"]["closed_at"] == datetime(2026, 10, 3, 10, 0, 0, 500_000, tzinfo=UTC)


@pytest.mark.parametrize("wrong", ["2026-13-45", "yesterday", "01.10.2026"])
def test_a_time_that_is_none_is_told_as_it_stands_with_what_to_write(tmp_path, wrong):
    path = tmp_path / "closed.csv"
    path.write_text(f"id,created_at,title\nA,{wrong},x\n", encoding="utf-8")
    with pytest.raises(UsageError, match=f"created_at: '{wrong}' is no time; write 2026-11-01"):
        read_history(path)


def test_other_names_of_columns_are_mapped(tmp_path):
    rows = [{"ticket_no": one["id"], "title": one["title"], "created_at": one["created_at"]} for one in many(2)]
    path = write(tmp_path / "closed.jsonl", rows)
    assert read_history(path, {"id": "ticket_no"})["id"].to_pylist() == ["C000", "C001"]
    with pytest.raises(UsageError, match="no column 'id'"):
        read_history(path)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        pytest.param([ticket(1), ticket(1)], "more than once", id="twice"),
        pytest.param([ticket(1, closed_at=START.isoformat())], "closed before they were created", id="early"),
        pytest.param([ticket(1, created_at="soon")], "created_at", id="no-time"),
        pytest.param([ticket(1, created_at=None), ticket(2)], "have no created_at", id="missing"),
    ],
)
def test_a_history_that_cannot_be_right_is_refused(tmp_path, rows, told):
    with pytest.raises(UsageError, match=told):
        table(tmp_path, rows)


def test_words_are_those_of_the_language():
    assert split_words("订单 SO2026 支付失败, payments failing") == ["订单", "so", "支付", "失败", "payment", "fail"]
