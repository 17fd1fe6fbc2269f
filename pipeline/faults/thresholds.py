"""How long each order rule waits before it speaks. All in seconds; TOML keys are spelled `T_sync`, `T_cb`, and so on."""

from __future__ import annotations

import msgspec

_MINUTE = 60.0
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR


def _key(name: str) -> str:
    """`t_sync` -> `T_sync`: the names that the rules' description uses."""
    return "T_" + name.removeprefix("t_")


class Thresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename=_key):
    """The waiting times of rules R01-R25, in seconds.

    Values marked "default" have no outside source; set them to what your shop promises.

    t_sync         R01, R11: how long our order may lag behind the channel (default, 5 minutes)
    t_cb           R08: how long a first callback may take (default, 10 minutes; WeChat Pay's own retries run
                   15 s to 6 h, 15 times)
    t_answer       R10: how long our answer to a callback may take (WeChat Pay: five seconds)
    t_refund       R14: working time that a refund may be open (WeChat Pay: 1 to 3 working days to a bank card)
    t_pend         R17: how long an attempt may be processing (default, 30 minutes; UnionPay asks to query at 1, 2, 4, 8,
                   16 and 32 s first)
    t_slow         R17: the same for bank transfers, vouchers and e-checks (default, 5 days)
    t_auth         R21: life of a card authorisation (usual for cards: 7 days)
    t_auth_margin  R21: how long before its end the rule speaks (default, 1 day)
    t_retry        R18: a new number within this time after a time-out is a retry (default, 60 s)
    t_create       R23: a query this soon after the create call may miss the order (default, 5 s)
    t_bill         R22: when the channel's bill of a day is ready, after that day's end (WeChat Pay: 10:00 next day)
    """

    t_sync: float = 5 * _MINUTE
    t_cb: float = 10 * _MINUTE
    t_answer: float = 5.0
    t_refund: float = 3 * _DAY
    t_pend: float = 30 * _MINUTE
    t_slow: float = 5 * _DAY
    t_auth: float = 7 * _DAY
    t_auth_margin: float = _DAY
    t_retry: float = 60.0
    t_create: float = 5.0
    t_bill: float = 10 * _HOUR

    def __post_init__(self) -> None:
        """Refuses negative times. Raises `ValueError` naming the key."""
        for name in self.__struct_fields__:
            if not getattr(self, name) >= 0:
                message = f"{_key(name)} is {getattr(self, name)}; it must be a number of seconds, 0 or more"
                raise ValueError(message)
