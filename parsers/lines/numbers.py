"""HTTP status and order number, where the text calls them so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parsers.filling import NOTHING, Fill
from parsers.lines.strings import matching, matching_among

STATUS_SIGN = r"(?i)http|status|(?:get|post|put|patch|delete|head|options) [/h]|response_code|状态码|\" [1-5]\d\d "
_STATUS_FORMS = (
    r"\bHTTP/\d(?:\.\d)?\"? (?P<code>[1-5]\d\d)\b",
    r"(?i)(?:http[_ -]?)?(?:status(?:[_ -]?code)?|response_code|http_code|状态码)\\?[\"']?\s?[:=：]\s?\\?[\"']?(?P<code>[1-5]\d\d)(?:[^\d.]|$)",
    r"(?i)\bHTTP(?: ?status)?(?: code)?[ :=]{1,2}(?P<code>[1-5]\d\d)(?:[^\d]|$)",
    r"\b(?:GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS) (?:/|https?:)\S*\"? (?:-> |=> |HTTP )?(?P<code>[1-5]\d\d)(?:[^\d.]|$)",
    r"(?i)\bstatus(?: code)? (?P<code>[1-5]\d\d)(?:[^\d.]|$)",
)


def read_statuses(body: Any, telling: Any, fill: Fill) -> None:
    """The HTTP status of an answer, where the text says one."""
    rows = np.flatnonzero(matching_among(body, STATUS_SIGN, telling))
    for pattern in _STATUS_FORMS:
        if not len(rows):
            return
        part = body.take(pa.array(rows))
        hits = matching(part, pattern)
        if hits.any():
            got = pc.extract_regex(part.filter(pa.array(hits)), pattern)
            fill.put("http.response.status_code", rows[hits], pc.struct_field(got, 0).cast(pa.int32()))
            rows = rows[~hits]


ORDER_SIGN = r"(?i)order|订单|订单号|业务单|訂單"
_ORDER_FORM = (
    r"(?i)(?P<other>(?:pay(?:ment)?|refund|channel|sub|mch_?refund|支付|退款|渠道|子)[ _-]?)?"
    r"(?:(?:^|[^a-z])(?:mch|merchant|biz)?_?order(?:[_ -]?(?:id|no|number|num|sn|ref))?|(?:业务|商户)?订单(?:编?号|ID)?|业务单|訂單(?:編號)?)"
    r"\\?[\"']?\s*[:=：#]?\s*\\?[\"'\[【(（]?(?P<order>[A-Z]{0,8}[_-]?\d[0-9A-Za-z_-]{5,62}[0-9A-Za-z])"
)


def read_order_ids(body: Any, telling: Any, picked: Any, fill: Fill) -> None:
    """The merchant's order number where the text calls it so; a payment's or refund's number is not one."""
    null = picked.column("labels.order_id").is_null().to_numpy()
    rows = np.flatnonzero(matching_among(body, ORDER_SIGN, telling & null))
    if not len(rows):
        return
    got = pc.extract_regex(body.take(pa.array(rows)), _ORDER_FORM)
    other, order = pc.struct_field(got, 0), pc.struct_field(got, 1)
    fill.put("labels.order_id", rows, pc.if_else(pc.equal(other, ""), order, NOTHING))
