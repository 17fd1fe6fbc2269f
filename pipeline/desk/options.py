"""The table `[desk]` of the settings: what the service desk adds to a snapshot."""

from __future__ import annotations

import msgspec

from pipeline.desk.grading_options import GradingOptions


class DeskOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the desk adds. `grading` is the severity, its deadlines, the emergency room and the customer's sentence."""

    grading: GradingOptions = GradingOptions()
