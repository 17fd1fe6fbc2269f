"""Answers of customers in the database: whatever is sent how often, what is held is what was said last, and each thing once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select

from pipeline.desk.answers import Answers
from pipeline.desk.intake_tables import pictures, replies
from pipeline.desk.pictures import read_picture
from pipeline.desk.replies import MOST_PICTURES, Replies, TooMany
from pipeline.service.ledger import Ledger
from pipeline.service.tables import deliveries
from tests.intake_samples import png
from tests.test_desk_room import engine

__all__ = ["engine"]

answers = st.dictionaries(
    st.sampled_from(["order_number", "network", "screenshot"]), st.sampled_from(["a", "b"]), min_size=1
)


def count(engine: Engine, table: Any) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(select(func.count()).select_from(table)) or 0)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(sent=st.lists(answers, min_size=1, max_size=8), twice=st.integers(1, 3))
def test_sent_again_is_once_and_the_last_word_holds(engine, tmp_path_factory, sent, twice):
    """Each answer is sent `twice` times over; a row and a job come of it only where it changes what is held."""
    kept, ledger = Replies(engine, tmp_path_factory.mktemp("p")), Ledger(engine, lambda *_: None)
    ticket = f"T-{count(engine, deliveries)}-{count(engine, replies)}"
    held: dict[str, Any] = {}
    changes = 0
    rows, jobs = count(engine, replies), count(engine, deliveries)
    for one in sent:
        changed = held | one != held
        changes += changed
        held |= one
        for n in range(twice):
            assert kept.put(ledger, "desk", ticket, "ps-1", Answers(one)) == (changed and n == 0)
    found = kept.held("desk", ticket)
    assert found.answers == held
    assert count(engine, replies) - rows == count(engine, deliveries) - jobs == changes
    assert not found.noted
    kept.noted("desk", ticket, found.last)
    assert kept.held("desk", ticket).noted
    # Nobody else's.
    assert kept.held("other", ticket).answers == {}
    assert kept.held("desk", f"{ticket}0").answers == {}


def test_two_tickets_never_share_a_picture(engine, tmp_path):
    kept, ledger = Replies(engine, tmp_path), Ledger(engine, lambda *_: None)
    picture = read_picture(png())
    for ticket in ("T-1", "T-2"):
        assert kept.put(ledger, "desk", ticket, "ps-1", Answers({"screenshot": "received"}, picture))
    files = list(Path(tmp_path).rglob("*.png"))
    assert len({path.parent for path in files}) == len(files) == 2
    found = kept.picture("desk", "T-1", picture.sha256)
    assert found is not None
    assert found[1] == picture.data
    assert kept.picture("desk", "T-3", picture.sha256) is None
    files[0].write_bytes(b"other")
    files[1].write_bytes(b"other")
    assert kept.picture("desk", "T-1", picture.sha256) is None


def test_a_picture_that_is_one_too_many_leaves_nothing_behind(engine, tmp_path):
    kept, ledger = Replies(engine, tmp_path), Ledger(engine, lambda *_: None)
    for n in range(MOST_PICTURES):
        kept.put(ledger, "desk", "T-1", "ps-1", Answers({"screenshot": "received"}, read_picture(png((n + 1, 1)))))
    with pytest.raises(TooMany):
        kept.put(ledger, "desk", "T-1", "ps-1", Answers({"screenshot": "received"}, read_picture(png((99, 1)))))
    assert count(engine, pictures) == len(list(Path(tmp_path).rglob("*.png"))) == MOST_PICTURES
    # One that is there already may be sent again.
    assert kept.put(ledger, "desk", "T-1", "ps-1", Answers({"screenshot": "received"}, read_picture(png((1, 1)))))
