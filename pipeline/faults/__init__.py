"""What can be wrong with a payment: the taxonomy, the channels' codes and states, and the rules' thresholds.

The data files and where they come from are described in README.md beside this module. Everything is read when first
asked for, and once.
"""

from __future__ import annotations

from pipeline.faults.states import (
    CHANNEL_MONEY,
    ENDED_WITHOUT_MONEY,
    NORMAL_STATES,
    OPEN,
    PAID_LIKE,
    StateFact,
    is_shop_system,
    look_up_state,
    normal_state,
)
from pipeline.faults.tables import (
    CodeFact,
    CodeTable,
    Fault,
    codes,
    fault_name,
    seed_class,
    tables_sha256,
    taxonomy,
)
from pipeline.faults.thresholds import Thresholds

__all__ = [
    "CHANNEL_MONEY",
    "ENDED_WITHOUT_MONEY",
    "NORMAL_STATES",
    "OPEN",
    "PAID_LIKE",
    "CodeFact",
    "CodeTable",
    "Fault",
    "StateFact",
    "Thresholds",
    "codes",
    "fault_name",
    "is_shop_system",
    "look_up_state",
    "normal_state",
    "seed_class",
    "tables_sha256",
    "taxonomy",
]
