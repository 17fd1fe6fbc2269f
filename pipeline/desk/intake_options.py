"""The tables `[desk.questions]`, `[desk.portrait]` and `[desk.self_service]`; each is asked for by being there.

[defaults.desk.questions]
hold = "168h"                      # so long a link is good
folder = "/var/lib/problem-snapshot/pictures"
[defaults.desk.portrait]
[defaults.desk.self_service]
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

Many = Annotated[int, msgspec.Meta(ge=1, le=50)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=366 * 86400)]


class QuestionOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked of customers. `file` replaces the shipped questions, `most` are asked of one ticket at most.

    A link to the questions is good for `hold` seconds. Pictures that are sent lie in `folder`, `max_picture` bytes each at most.
    """

    file: str | None = None
    most: Many = 4
    hold: Seconds = 7 * 86400.0
    folder: str | None = None
    max_picture: Annotated[int, msgspec.Meta(ge=10_000, le=32 << 20)] = 8 << 20

    @property
    def pictures(self) -> Path:
        """Where pictures lie: the folder of the settings, else one in the user's data folder."""
        if self.folder:
            return Path(self.folder)
        import platformdirs

        return platformdirs.user_data_path("problem-snapshot", appauthor=False) / "pictures"


class PortraitOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is told of the customer's earlier tickets. `file` replaces the shipped rules, `most` tickets are listed at most."""

    file: str | None = None
    most: Many = 10
    # Kinds of ticket system of which several are configured: an id there may be one customer in each. Filled in from
    # `tickets`; the file cannot hold it.
    shared: tuple[str, ...] = ()


class SelfServiceOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When an entry of knowledge answers a P4 ticket: `sure` is the least share that it has of the two that fit best."""

    sure: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.9
