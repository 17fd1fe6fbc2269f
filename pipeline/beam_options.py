"""Options of Apache Beam as people give them. Importing this imports Beam."""

from __future__ import annotations

from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.errors import UsageError

LOCAL = "FnApiRunner"


def beam_options(given: Sequence[str], own: Sequence[str] = (), *, runner: str) -> PipelineOptions:
    """`own` options and the `given` ones for `runner`. Raises `UsageError` for those that Beam does not take.

    One that Beam does not know is refused for the runner in this process: a job server may know more of them than this side does.
    """
    try:
        options = PipelineOptions([*own, *given])
        every = set(options.get_all_options(retain_unknown_options=True))
        known = set(options.get_all_options())
    except SystemExit as error:
        raise UsageError(f"Beam does not take the options {' '.join(given)}") from error
    if runner == LOCAL and every - known:
        raise UsageError(f"Beam does not know the options {', '.join(sorted(every - known))}")
    return options
