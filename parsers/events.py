"""Which positions of a Drain cluster tell events apart, and which are parameters.

To Drain all words are alike: `VM started` and `VM paused` are one cluster with a parameter. Here a cluster is parted where a
position says what happened, and what is left to vary becomes a wildcard.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any

from parsers.masking import GLUED, JOINED

# A position that holds at most this many different words tells events apart; with more, it is a parameter.
FEW = 3
# Constants of a program (`NOTPAY`, `SCREEN_ON`) tell events apart up to this many.
FEW_CONSTANTS = 16

# Words for which way a thing went. Lines that differ in one of these are never of one template, however many there are.
_TURN_WORDS = (
    "success successful successfully succeed succeeds succeeded fail fails failed failing failure failures start starts "
    "started starting stop stops stopped stopping pause pauses paused pausing resume resumes resumed resuming restart "
    "restarted restarting begin began begun end ends ended finish finished complete completed completing abort aborted "
    "aborting up down online offline open opens opened opening close closes closed closing connect connected connecting "
    "disconnect disconnected disconnecting enable enables enabled enabling disable disables disabled disabling accept "
    "accepts accepted accepting reject rejects rejected rejecting refuse refuses refused refusing decline declines "
    "declined deny denies denied allow allows allowed grant granted approve approves approved revoke revokes revoked lock "
    "locks locked unlock unlocks unlocked create creates created creating delete deletes deleted deleting destroy "
    "destroys destroyed destroying spawn spawns spawned spawning terminate terminates terminated terminating add adds "
    "added adding remove removes removed removing commit commits committed rollback rolled found missing lost recover "
    "recovered recovering restored restoring valid invalid available unavailable healthy unhealthy login logout paid "
    "unpaid capture captures captured refund refunds refunded refunding cancel cancels canceled cancelled canceling "
    "cancelling expire expires expired sent received timeout timed "
    "成功 失败 开始 结束 完成 启动 停止 暂停 恢复 打开 关闭 通过 拒绝 接受 连接 断开 启用 禁用 上线 下线 创建 删除 "
    "已支付 未支付 有效 无效 正常 异常 超时 冻结 解冻 充足 不足 充值 提现 扣款 退款 允许 禁止 已 未 不 never not"
)
TURNS = frozenset(_TURN_WORDS.split())
_LATIN_TURNS = "|".join(sorted(word for word in TURNS if word.isascii()))
_HAN_TURNS = "|".join(sorted((word for word in TURNS if not word.isascii()), key=len, reverse=True))
_TURN = re.compile(rf"(?i)(?<![\w./\-])(?:{_LATIN_TURNS})(?![\w/\-]|\.\w)|{_HAN_TURNS}")
_LAST_PART = re.compile(r"(?:(?<=[_.\-])|(?<=[a-z0-9])(?=[A-Z]))([A-Za-z][a-z]*|[A-Z]+)\W*$")
# A word, perhaps with a digit in it or a sign behind it, and the punctuation around it.
_WORD = re.compile(rf"{GLUED}?[(\[\"']?[^\W\d_]+[0-9]?[^\W\d_]*[+-]?[)\].,:;!?\"']*$")
# A constant, or the name of an exception, perhaps behind its package or key and in quotes.
_CONSTANT = re.compile(
    rf"{GLUED}?[(\[\"']*(?:[A-Za-z_.:=\"']*[.:=\"'])?"
    r"(?:[A-Z][A-Z_]+[0-9]?|[A-Z]\w*(?:Exception|Error|Failure|Fault|Timeout))[)\].,:;\"'}]*$"
)
# An address that was called, with nothing in it that varies.
_ENDPOINT = re.compile(r"[(\[\"']?https?://[^<>\s]+$")
# Behind one of these stands what happened: many different words there are as many events.
_TELLING = r"(?:code|status|state|reason|result|outcome|event|type|level|phase|cause)"
_TOLD = re.compile(rf"(?i).*{_TELLING}[\"']?[:=]$|.*(?:原因|错误|错误码|状态|结果|类型|阶段)[:：]?$")
_TOLD_WORD = re.compile(rf"{GLUED}?[(\[\"']*[^\W\d]+(?:\.[^\W\d]+)*[)\].,:;\"'}}]*$")
_TELLS = re.compile(rf"(?i)[\w.]*{_TELLING}=[^\W\d]+[)\].,:;\"'}}]*$")
# After one of these stands a name, of a person or a thing, and names are parameters even where there are few of them.
_NAMED = re.compile(
    r"(?i)[(\[\"']?(?:users?|accounts?|customers?|merchants?|clients?|hosts?|tenants?|owners?|names?|named|usernames?|"
    r"for)[:=]?$|"
    r".*(?:用户|账号|商户|客户|主机|名称|姓名)[:：]?$"
)
# A colon that is a token of its own: what it belongs to stands before it.
_COLONS = {":", "：", f"{GLUED}:", f"{GLUED}："}
# Where a value inside a token may begin or end: at punctuation, and at any character of a script without blanks.
_BORDER = re.compile(rf"[^\w<>*.\-{JOINED}]|[\u1100-\u11ff\u2e80-\u2fff\u3040-\ua4cf\uac00-\ud7af\uf900-\ufaff]")


def told_apart(rows: list[list[str]]) -> Iterable[list[list[str]]]:
    """A Drain cluster's rows, parted where a position tells events apart and is no parameter."""
    todo = [(rows, 0)]
    while todo:
        some, first = todo.pop()
        for at in range(first, len(some[0])):
            parted = _parted(some, at)
            if len(parted) > 1:
                # The same position once more: turns were told apart, words may be.
                todo.extend((part, at) for part in parted)
                break
        else:
            yield some


def _parted(rows: list[list[str]], at: int) -> list[list[list[str]]]:
    """`rows` by the turn they take at position `at`, or by their word there, where there are few; else all as one."""
    values = {tokens[at] for tokens in rows}
    if len(values) == 1:
        return [rows]
    turn = {value: turns_of(value) for value in values}
    if len(set(turn.values())) > 1:
        return _grouped(rows, lambda tokens: turn[tokens[at]])
    not_many = len(values) <= FEW_CONSTANTS
    before = rows[0][at - 2 : at] if at > 1 and rows[0][at - 1] in _COLONS else rows[0][max(at - 1, 0) : at]
    told = (
        not_many and before and _TOLD.match("".join(before).replace(GLUED, "")) and all(map(_TOLD_WORD.match, values))
    )
    if told or (not_many and (all(map(_CONSTANT.match, values)) or all(map(_TELLS.match, values)))):
        return _grouped(rows, lambda tokens: tokens[at])
    if any("=" in value or JOINED in value for value in values):
        return [rows]
    named = _NAMED.match(_beginning(values)) or (before and _NAMED.match(before[0]))
    few = len(values) <= FEW and (all(map(_WORD.match, values)) or all(map(_ENDPOINT.match, values)))
    return _grouped(rows, lambda tokens: tokens[at]) if few and not named else [rows]


def names_in_front(shapes: Collection[str]) -> dict[str, str]:
    """What each shape becomes: those that differ in their first token alone, and are many, are one.

    Drain never compares lines whose first tokens differ, so `ann logged in` and `bob logged in` are two clusters to it.
    """
    becomes = {shape: shape for shape in shapes}
    by_rest: dict[str, set[str]] = defaultdict(set)
    for shape in shapes:
        first, _, rest = shape.partition(" ")
        if re.search(r"\w", rest) and not turns_of(first):
            by_rest[rest].add(first)
    for rest, firsts in by_rest.items():
        if len(firsts) > FEW_CONSTANTS:
            becomes.update((f"{first} {rest}", f"{generalised(firsts)} {rest}") for first in firsts)
    return becomes


def _grouped(rows: list[list[str]], key: Any) -> list[list[list[str]]]:
    groups: dict[Any, list[list[str]]] = defaultdict(list)
    for tokens in rows:
        groups[key(tokens)].append(tokens)
    return list(groups.values())


def generalised(values: set[str]) -> str:
    """One token for all of `values`: what they begin and end with, up to a border, and a wildcard between."""
    if len(values) == 1:
        return next(iter(values))
    prefix, suffix = _beginning(values), _beginning({value[::-1] for value in values})[::-1]
    glued = GLUED if all(value.startswith(GLUED) for value in values) else ""
    borders = [border.end() for border in _BORDER.finditer(prefix)]
    prefix = prefix[: max(borders, default=0)] or glued
    border = _BORDER.search(suffix)
    suffix = suffix[border.start() :] if border else ""
    room = min(map(len, values)) - len(prefix)
    return f"{prefix}<*>{suffix[len(suffix) - min(len(suffix), room) :]}"


def turns_of(token: str) -> tuple[str, ...]:
    """The turns that a token takes: words of its own, or its last part, as in `payment_failed` and `PaymentFailed`."""
    found = _TURN.findall(token)
    if not found and (last := _LAST_PART.search(token)) and last[1].lower() in TURNS:
        found = [last[1]]
    return tuple(word.lower() for word in found)


def _beginning(values: set[str]) -> str:
    """What all of `values` begin with: what the first and the last of them, sorted, do."""
    first, last = min(values), max(values)
    same = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    return first[:same]
