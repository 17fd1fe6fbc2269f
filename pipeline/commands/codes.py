"""Exit codes of commands that ended without an error; those of errors are in `pipeline.errors`."""

from __future__ import annotations

PARTIAL, DRIFT, LOCATED, UNDETERMINED, MISSED, INTERRUPTED, READER_GONE = 8, 9, 10, 11, 12, 130, 141
