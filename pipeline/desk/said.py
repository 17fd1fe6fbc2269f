"""What the system said of a ticket: the marks of its snapshot by which two incidents are known as one kind.

Each mark is `kind:value`. `kind` is one of `MARKS`; a mark is there once, however often it was said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from snapshots.model import Finding, ProblemSnapshot, Template, Text
from snapshots.words import class_name, subclass_name

# A candidate class that is less probable says nothing.
_LEAST = 0.1
_CANDIDATES = 3
_WORD = re.compile(r"[A-Za-z_][A-Za-z_.]{2,}|[\u3400-\u9fff]{2,}")

MARKS = {
    "code": Text(en="code {0}", zh="返回码 {0}"),
    "class": Text(en="fault class {0}", zh="故障类别 {0}"),
    "subclass": Text(en="fault {0}", zh="故障子类 {0}"),
    "culprit": Text(en="culprit service {0}", zh="问题服务 {0}"),
    "service": Text(en="service {0}", zh="服务 {0}"),
    "operation": Text(en="operation {0}", zh="操作 {0}"),
    "channel": Text(en="channel {0}", zh="渠道 {0}"),
    # What kind of finding it is has a name for us only: those who read are shown the findings themselves.
    "finding": Text(en="a like finding", zh="同类发现"),
    "line": Text(en="`{0}` in a rare log line", zh="少见日志中的“{0}”"),
}


def marks_of(snapshot: ProblemSnapshot) -> list[str]:
    """The marks of a snapshot, in a fixed order."""
    return list(dict.fromkeys([*_diagnosed(snapshot), *_found(snapshot.findings), *_rare(snapshot.templates)]))


def _diagnosed(snapshot: ProblemSnapshot) -> Iterator[str]:
    diagnosis = snapshot.diagnosis
    for candidate in diagnosis.candidates[:_CANDIDATES]:
        if candidate.probability >= _LEAST:
            yield f"class:{candidate.fault_class}"
            if candidate.fault_subclass:
                yield f"subclass:{candidate.fault_class}/{candidate.fault_subclass}"
    if diagnosis.culprits:
        yield f"culprit:{diagnosis.culprits[0].service}"
    place = diagnosis.location
    for kind, value in (("service", place.service), ("operation", place.operation), ("channel", place.channel)):
        if value:
            yield f"{kind}:{value}"
    for channel in snapshot.scope.channels:
        yield f"channel:{channel}"


def _found(findings: list[Finding]) -> Iterator[str]:
    for finding in findings:
        if finding.about_focus:
            yield f"finding:{finding.kind}"
            if finding.code:
                # One code means one thing at one channel; another channel's equal code is half as telling.
                yield f"code:{finding.code}"
                if finding.channel:
                    yield f"code:{finding.channel} {finding.code}"


def _rare(templates: list[Template]) -> Iterator[str]:
    """The words of templates that are new or more frequent and carry the ticket's own lines."""
    for template in templates:
        if template.change in {"new", "surged"} and template.focus_count:
            for word in _WORD.findall(template.text):
                yield f"line:{word.lower()}"


def cited_by(snapshot: ProblemSnapshot) -> dict[str, tuple[str, ...]]:
    """Which findings of the snapshot its marks come from, by mark."""
    found: dict[str, tuple[str, ...]] = {}
    for finding in snapshot.findings:
        for mark in _found([finding]):
            found[mark] = (*found.get(mark, ()), finding.id)
    return found


def told(marks: Sequence[str]) -> list[str]:
    """Those of `marks` that tell a reader something, in their order.

    Short words of log lines, kinds of findings, and what another mark says more exactly are left out.

    >>> told(["line:for", "code:alipay A", "code:A", "class:pending", "subclass:pending/processing", "finding:span.slow"])
    ['code:alipay A', 'subclass:pending/processing']
    """
    held = [mark.partition(":")[::2] for mark in marks]
    codes = {value.rpartition(" ")[2] for kind, value in held if kind == "code" and " " in value}
    classes = {value.partition("/")[0] for kind, value in held if kind == "subclass"}
    culprits = {value for kind, value in held if kind == "culprit"}
    again: Mapping[str, set[str]] = {"code": codes, "class": classes, "service": culprits}
    return [
        f"{kind}:{value}"
        for kind, value in held
        if kind != "finding"
        and value not in again.get(kind, ())
        and not (kind == "line" and value.isascii() and len(value) < _SHORT)
    ]


_SHORT = 4


def say(mark: str) -> Text:
    """A mark in words.

    >>> say("code:alipay ACQ.SYSTEM_ERROR").en, say("subclass:interface_fault/dns_failed").zh
    ('code alipay ACQ.SYSTEM_ERROR', '故障子类 域名解析失败')
    """
    kind, _, value = mark.partition(":")
    words, en, zh = MARKS[kind], value, value
    if kind == "class":
        en, zh = class_name(value, "en"), class_name(value, "zh")
    elif kind == "subclass":
        fault, _, sub = value.partition("/")
        en, zh = subclass_name(fault, sub, "en"), subclass_name(fault, sub, "zh")
    return Text(en=words.en.format(en), zh=words.zh.format(zh))
