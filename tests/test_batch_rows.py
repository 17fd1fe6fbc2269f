"""The dataset of batch: an explicit schema with a version, and nothing of a document that is not in its row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.batching.rows import LAYOUT, ROW_SCHEMA, rows_of, snapshot_of
from snapshots.model import ProblemSnapshot, canonical_bytes
from tests.flow_samples import NAMES, taken
from tests.snapshots_samples import dns_failure, duplicate_charge, log_hole, wechat_signature

GOLDEN = Path(__file__).parent / "golden" / "batch_schema.txt"


def test_the_schema_is_the_one_that_readers_know():
    """After a wanted change: the text of `ROW_SCHEMA` into the golden file, and a new `LAYOUT` where this one was released."""
    assert f"layout {LAYOUT}\n{ROW_SCHEMA.to_string(show_schema_metadata=False)}\n" == GOLDEN.read_text("utf-8")


def test_every_field_of_the_document_is_a_column():
    assert set(ProblemSnapshot.__struct_fields__) < set(ROW_SCHEMA.names)


@pytest.mark.parametrize("made", [dns_failure, wechat_signature, duplicate_charge, log_hole, *NAMES])
def test_a_document_comes_back_from_its_row(made: Callable[[], ProblemSnapshot] | str):
    snapshot = taken(made) if isinstance(made, str) else made()
    table = pa.Table.from_pylist(list(rows_of([snapshot])), schema=ROW_SCHEMA)
    (row,) = table.to_pylist()
    assert canonical_bytes(snapshot_of(row)) == canonical_bytes(snapshot)
