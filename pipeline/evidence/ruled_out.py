"""Ruled out: lines near the failure that say of a suspect that it was checked and is in order.

"Key fingerprint matches the platform's", "resolver check ok 4 ms", "验签全部通过": an engineer reads such a line as the
end of a suspicion. It speaks against the classes that the suspect stands for, and for no other; only where signatures
fails although the keys are right does it point, weakly, at how our own code builds what is signed.

The statement quotes the clause and claims no more than it. That a callback's signature was right says nothing about the
signature of our own calls; a line with another order's number says nothing about this order.

What ordinary payments say as well is not read: a signal's template is new, has surged, or belongs to this order alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import re2

from pipeline.evidence.case import Case, Signal, clip
from pipeline.faults.wording import read_wording
from pipeline.values import Found, Seen
from snapshots.model import Check, Text

_TIER = {"focus": 1.0, "near": 0.9, "ambient": 0.4}
_CITES = 4
_LONGEST = 2000
_QUOTED = 120


@dataclass(frozen=True)
class _Suspect:
    id: str
    named: str
    against: tuple[str, ...]
    en: str
    zh: str


_CALLS = (
    r"\b(?:calls?|orders?|payments?|merchants?|requests?|charges?|executes?)\b|订单|支付|商户|用户|请求|调用|接口|交易"
)
# In order: the first that a clause names is what it is about.
_SUSPECTS = (
    _Suspect(
        "keys",
        r"\bsign(ature|ed|ing)?\b|\bhmac\b|\b(public|private|api|app|secret|merchant|signing)[ _-]?keys?\b|\bkeys? (pair|check|match)|\bsecrets? (key|check|match)|fingerprint"
        r"|签名|验签|密钥|公钥|私钥|指纹",
        ("signature_cert",),
        "keys and signatures",
        "密钥与签名",
    ),
    _Suspect("certificate", r"\bcert(ificate)?s?\b|证书", ("signature_cert",), "the certificate", "证书"),
    _Suspect(
        "network",
        r"\bdns\b|\bresolv(er|ed|es|e)\b|\bnetwork\b|\bping\b|\btelnet\b|\btcp\b|\btls\b|\bssl\b|connectivity|handshake|\broute\b|\begress\b|firewall"
        r"|域名|解析|网络|连通|握手|防火墙|专线",
        ("interface_fault",),
        "the way to the channel",
        "到渠道的网络",
    ),
    _Suspect(
        "account",
        r"\b(merchant|account|seller|payee) .{0,12}(status|balance|state)\b|\bpermissions?\b|\bkyc\b|商户(号|账户)?(状态|余额|权限)|产品权限|接口权限|已签约",
        ("merchant_account",),
        "the merchant's account",
        "商户账户",
    ),
    _Suspect(
        "configuration",
        r"\bconfig(uration|map)?\b|\bsettings?\b|配置",
        ("param_config",),
        "the configuration",
        "配置",
    ),
    _Suspect(
        "channel",
        r"\bstatus ?page\b|\bother (\w+ ){0,2}(calls?|orders?|payments?|merchants?|requests?|customers?|executes?|charges?|methods?)\b"
        rf"|\b(same (second|minute|moment|time)s?|meanwhile)\b.*({_CALLS})|({_CALLS}).*\b(same (second|minute|moment|time)s?|meanwhile)\b"
        rf"|官方(公告|状态)|其[他它余](接口|订单|商户|用户|调用|支付|请求)|(同一(时刻|时间|分钟|秒)|同时段|同期).*({_CALLS})",
        ("channel_outage", "interface_fault"),
        "the channel and the calls to it",
        "渠道及对其的调用",
    ),
)
_FINE = re2.compile(
    r"(?i)\b(passed|passes|valid|verified|match|matches|matched|consistent|identical|equal|unchanged|healthy|reachable|correct|fine|"
    r"normal|intact|green)\b|一致|通过|正常|无误|相同|吻合|有效|可达|未变|没有问题|无异常|无变化"
)
# Any call that was answered says these: a verdict only where the clause speaks of a check, or of how other calls went.
_WENT_WELL = re2.compile(r"(?i)\b(ok|okay|succeeds?|succeeded|success(ful)?|up|200)\b|成功")
_CHECKING = re2.compile(
    r"(?i)\b(check|re-?check|prob|verif|validat|compar|test|diagnos|inspect|self-?test|resolv|lookup|ping|telnet|handshake|connectivity|fingerprint)"
    r"|核对|校验|核验|检查|检测|探测|验签|比对|对比|诊断|自检|测试|解析|连通|握手|拨测|指纹"
)
_INCOMING = re2.compile(
    r"(?i)callbacks?(?:$|[^_a-z]|_?(?:handler|controller|service|sign))|webhook|\b(?:ipn|itn)\b|notif(?:y|ications?)(?:$|[^_a-z]|_?(?:handler|controller|service|sign))"
    r"|\b(?:inbound|incoming)\b|回调|通知"
)
_UP_TO_THE_CALLER = ("keys", "certificate")
# Numbers as orders and payments have them; those of keys and certificates are taken away before.
_OF_A_KEY = re2.compile(
    r"(?i)(?:fingerprint|serial(?: ?(?:no|number))?|kid|key[ _-]?id|序列号|指纹)[\s:=：]*[\w:+/-]*\d[\w:+/-]*"
)
_NUMBER = re2.compile(
    r"(?i)(?:order|payment|trade|txn|transaction|charge|refund|订单|支付单|交易)(?:[ _-]?(?:no|id|number)|号)?[\s#:=：]{0,3}([a-z0-9_-]*\d{2}[\w-]*)"
    r"|(?:^|[^\w.])([a-z]{1,8}[_-]?\d{6}[\w-]*|\d{10}[\w-]*|(?:pi|ch|py|pay|re|cs|in|txn|order)_\w{8}\w*)"
)
_NOT_FINE = re2.compile(
    r"(?i)\b(not|no|never|cannot|without|wrong|differs?|different|denied|expired|stale|missing|empty|null|none|zero|down|before|until|if|whether|should|must|expect(ed)?|please|ensure)\b|(check|verify|make sure) that|n't\b|fail|error|"
    r"invalid|mismatch|unmatch|inconsisten|refus|reject|incorrect|unreach|unverif|timed? ?out|unsuccess|[45]\d\d\b|"
    r"不|未([^变]|$)|没([^有]|$)|没有[^问]|失败|错误|(^|[^无])异常|拒绝|过期|超时|无法|缺|请|须|应为|是否|如果|待"
)
_OTHERS = re2.compile(
    r"(?i)\bother (?:\w+ ){0,2}(?:calls?|orders?|payments?|requests?|executes?|charges?)\b|其[他它余]"
)
_CLAUSE = re2.compile(r"[;；，,。|()（）\n]+")


def detect(case: Case) -> Seen:
    """One finding for each suspect that a line clears."""
    hits: dict[str, list[tuple[Signal, str]]] = defaultdict(list)
    mine = case.scope.values()
    incoming_failed = _incoming_failed(case)
    for signal in case.signals:
        if signal.tier != "focus" and _names_another(signal.body, mine):
            continue
        incoming = _INCOMING.search(f"{signal.service or ''} {signal.logger or ''} {signal.body}") is not None
        for name, clause in _clauses(signal.body):
            if incoming and not incoming_failed and name in _UP_TO_THE_CALLER:
                continue
            hits[name].append((signal, clause))
    signature_failed = any(
        family.fault_class == "signature_cert" for signal in case.signals for family in read_wording(signal.text)
    )
    found = []
    for suspect in _SUSPECTS:
        said = sorted(hits[suspect.id], key=lambda one: (-_TIER[one[0].tier], one[0].row))
        if not said:
            continue
        best, clause = said[0]
        found.append(
            Found(
                kind=f"ruled_out.{suspect.id}",
                statement=_statement(suspect, best, clause),
                cites=tuple(dict.fromkeys(signal.cited for signal, _ in said))[:_CITES],
                # Right keys and yet a signature that fails: what was signed is built wrongly, by us.
                supports="internal_fault" if suspect.id == "keys" and signature_failed else None,
                subclass="code_exception" if suspect.id == "keys" and signature_failed else None,
                strength=_TIER[best.tier],
                service=best.service,
                channel=case.channel,
                about_focus=best.tier != "ambient",
                at=best.at,
                against=suspect.against,
            )
        )
    return Seen(tuple(found), (_check(case, [one.statement for one in found]),))


def cleared(text: str) -> list[str]:
    """The suspects that `text` says are in order, in our order, each once.

    >>> cleared("order 5 failed; key fingerprint matches the platform's")
    ['keys']
    >>> cleared("webhook signature valid")
    []
    """
    incoming = _INCOMING.search(text) is not None
    about = {name for name, _ in _clauses(text) if not (incoming and name in _UP_TO_THE_CALLER)}
    return [one.id for one in _SUSPECTS if one.id in about]


def _clauses(text: str) -> list[tuple[str, str]]:
    """Each clause that calls a suspect in order, with that suspect's id; of a suspect the first clause."""
    about: dict[str, str] = {}
    for clause in _CLAUSE.split(text[:_LONGEST]):
        fine, went_well = _FINE.search(clause), _WENT_WELL.search(clause)
        if not (fine or went_well) or _NOT_FINE.search(clause):
            continue
        suspect = next(
            (one.id for one, pattern in zip(_SUSPECTS, _PATTERNS, strict=True) if pattern.search(clause)), None
        )
        if suspect and (fine or suspect == "channel" or _CHECKING.search(clause)):
            about.setdefault(suspect, clause.strip())
    return list(about.items())


def _statement(suspect: _Suspect, signal: Signal, clause: str) -> Text:
    """What the line says, in its own words: that it was checked is the line's claim, not ours."""
    service, quote = signal.service or "-", clip(" ".join(clause.split()), _QUOTED)
    en, zh = f"on {suspect.en} a line of {service} says", f"关于{suspect.zh}，{service} 的日志称"
    if suspect.id == "channel" and _OTHERS.search(clause):
        en, zh = (
            f"other calls of the channel went well, says a line of {service}",
            f"{service} 的日志称渠道的其他调用正常",
        )
    return Text(en=f'{en}: "{quote}"', zh=f"{zh}：“{quote}”")


def _incoming_failed(case: Case) -> bool:
    """Whether it is a callback of the ticket's order whose signature failed: then what is said of callbacks counts."""
    if any(call.verified is False for order in case.focus for call in order.callbacks):
        return True
    return any(
        signal.tier == "focus"
        and _INCOMING.search(signal.body) is not None
        and any(family.fault_class == "signature_cert" for family in read_wording(signal.text))
        for signal in case.signals
    )


def _names_another(text: str, mine: Sequence[str]) -> bool:
    """Whether a number like an order's or a payment's stands in `text` that is none of ours."""
    found = (a or b for a, b in re2.findall(_NUMBER, _OF_A_KEY.sub(" ", text[:_LONGEST])))
    return any(number not in mine for number in found)


_PATTERNS = tuple(re2.compile("(?i)" + one.named) for one in _SUSPECTS)


def _check(case: Case, said: list[Text]) -> Check:
    if said:
        statement = Text(en="; ".join(one.en for one in said), zh="；".join(one.zh for one in said))
        return Check(id="ruled_out", outcome="found", statement=statement)
    if case.silent:
        statement = Text(
            en="nothing ruled out: no line of the window names this order",
            zh="未排除任何因素：窗口内没有日志提到该订单",
        )
        return Check(id="ruled_out", outcome="not_evaluated", statement=statement)
    statement = Text(en="no line around the order rules anything out", zh="订单前后没有日志排除任何因素")
    return Check(id="ruled_out", outcome="healthy", statement=statement)
