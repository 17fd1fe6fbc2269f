"""Ruled out: lines near the failure that say of a suspect that it was checked and is in order.

"Key fingerprint matches the platform's", "resolver check ok 4 ms", "验签全部通过": an engineer reads such a line as the
end of a suspicion. It speaks against the classes that the suspect stands for, and for no other; only where signatures
fail although the keys are right does it point, weakly, at how our own code builds what is signed.

What ordinary payments say as well is not read: a signal's template is new, has surged, or belongs to this order alone.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import re2

from pipeline.evidence.case import Case, Signal
from pipeline.faults.wording import read_wording
from pipeline.values import Found, Seen
from snapshots.model import Check, Text

_TIER = {"focus": 1.0, "near": 0.9, "ambient": 0.4}
_CITES = 4
_LONGEST = 2000


@dataclass(frozen=True)
class _Suspect:
    id: str
    named: str
    against: tuple[str, ...]
    en: str
    zh: str


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
        r"\b(merchant|account|seller|payee) .{0,12}(status|balance|state)\b|\bpermissions?\b|\bproduct\b|\bkyc\b|商户(号|账户)?(状态|余额|权限)|产品权限|接口权限|已签约",
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
        r"|\bsame (second|minute|moment|time)s?\b|\bmeanwhile\b|官方(公告|状态)|其[他它余](接口|订单|商户|用户|调用|支付|请求)|同一(时刻|时间|分钟|秒)|同时段|同期",
        ("channel_outage", "interface_fault"),
        "the channel and the calls to it",
        "渠道及对其的调用",
    ),
)
_FINE = re2.compile(
    r"(?i)\b(ok|okay|passed|passes|valid|verified|match|matches|matched|consistent|identical|equal|unchanged|healthy|reachable|correct|fine|succeeds?|succeeded|"
    r"success(ful)?|normal|intact|green|up|200)\b|一致|通过|正常|无误|相同|吻合|有效|可达|成功|未变|没有问题|无异常|无变化"
)
_NOT_FINE = re2.compile(
    r"(?i)\b(not|no|never|cannot|without|wrong|differs?|different|denied|expired|stale|missing|empty|null|none|zero|down|before|until|if|whether|should|must|expect(ed)?|please|ensure)\b|(check|verify|make sure) that|n't\b|fail|error|"
    r"invalid|mismatch|unmatch|inconsisten|refus|reject|incorrect|unreach|unverif|timed? ?out|unsuccess|[45]\d\d\b|"
    r"不|未([^变]|$)|没([^有]|$)|没有[^问]|失败|错误|(^|[^无])异常|拒绝|过期|超时|无法|缺|请|须|应为|是否|如果|待"
)
_CLAUSE = re2.compile(r"[;；，,。|()（）\n]+")


def detect(case: Case) -> Seen:
    """One finding for each suspect that a line clears."""
    hits: dict[str, list[Signal]] = defaultdict(list)
    for signal in case.signals:
        for name in cleared(signal.body):
            hits[name].append(signal)
    signature_failed = any(
        family.fault_class == "signature_cert" for signal in case.signals for family in read_wording(signal.text)
    )
    found = []
    for suspect in _SUSPECTS:
        signals = sorted(hits[suspect.id], key=lambda s: (-_TIER[s.tier], s.row))
        if not signals:
            continue
        best = signals[0]
        found.append(
            Found(
                kind=f"ruled_out.{suspect.id}",
                statement=Text(
                    en=f"{suspect.en}: checked and in order ({best.service or '-'})",
                    zh=f"{suspect.zh}：已核对，无异常（{best.service or '-'}）",
                ),
                cites=tuple(s.cited for s in signals[:_CITES]),
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
    """
    about = []
    for clause in _CLAUSE.split(text[:_LONGEST]):
        if not _FINE.search(clause) or _NOT_FINE.search(clause):
            continue
        suspect = next(
            (one.id for one, pattern in zip(_SUSPECTS, _PATTERNS, strict=True) if pattern.search(clause)), None
        )
        if suspect:
            about.append(suspect)
    return [one.id for one in _SUSPECTS if one.id in about]


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
