"""How urgent a ticket is by its words alone, before anything was looked at: only the order of work follows from it."""

from __future__ import annotations

import re

# Smaller is sooner. A ticket that was just opened comes before a change to one that has its note already.
NOW, SOON, USUAL, LATER = 1, 2, 3, 5

# Nobody can pay, or data is in danger: what the definition of P1 says, as customers write it.
_NOW = re.compile(
    r"""\bp1\b | \bsev(erity)?\W?1\b | \b(data|security)\W(breach|leak) | \b(leaked|hacked|stolen)\b
      | \b(all|every|many)\b.{0,40}\b(customers?|users?|orders?|payments?|merchants?|shops?)\b
      | \b(nobody|no\W?one|none\W+of)\b.{0,30}\b(pay|log|order|work) | \b(outage|system\s+down|site\s+(is\s+)?down)\b
      | 全部|所有(客户|用户|订单|商户|人)|大量|大批|大面积|批量|无人能|都(付不了|支付不了|打不开|登不上|失败)
      | 瘫痪|宕机|崩溃|数据泄[露漏]|信息泄[露漏]|盗刷|被盗|资损""",
    re.IGNORECASE | re.VERBOSE,
)
# Money of one customer is at risk.
_SOON = re.compile(
    r"""\bp2\b | \burgent(ly)?\b | \basap\b | \bcharged\s+(twice|two|double)|\bdouble\s+charge | \bmoney\b.{0,30}\b(gone|missing|deducted)
      | \bdeducted\b | \bcan\W?t\s+pay\b | \bcannot\s+pay\b
      | 紧急|加急|尽快|马上|重复扣|多扣|扣了(两|2|多)次|已扣款|扣款成功|钱(没了|不见)|未到账|没到账|无法(支付|付款)|付不了""",
    re.IGNORECASE | re.VERBOSE,
)
_READ = 4000


def priority(text: str, *, opened: bool) -> int:
    """The priority of a job; smaller is sooner. `opened` says that the ticket is new.

    >>> priority("All customers see payment failed", opened=True), priority("发票抬头怎么改", opened=True)
    (1, 3)
    """
    start = text[:_READ]
    if _NOW.search(start):
        return NOW
    if _SOON.search(start):
        return SOON
    return USUAL if opened else LATER
