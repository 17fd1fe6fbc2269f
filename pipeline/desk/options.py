"""The table `[desk]` of the settings: where knowledge lies.

[defaults.desk]
knowledge = "knowledge"               # a folder of entries, beside the configuration file
[defaults.desk.versions]
reports = "3.4"                       # the version that runs, by module: entries for others are flagged
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec


class DeskOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The desk. `knowledge` is a folder of entries; without it a snapshot tells of none.

    `advice` entries at most stand in a snapshot. `versions` are the modules' versions of today. `meaning` is the optional
    model of meaning: used by `desk ask` where it is installed (`auto`), needed (`on`) or left alone (`off`).
    """

    knowledge: str | None = None
    advice: Annotated[int, msgspec.Meta(ge=1, le=20)] = 3
    versions: dict[str, str] = {}
    meaning: Literal["auto", "on", "off"] = "auto"
