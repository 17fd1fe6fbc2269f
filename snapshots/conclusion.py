"""The sentences of a comparison: whether the diagnosis moved, what moved it, and whether the inputs were the same."""

from __future__ import annotations

from collections.abc import Sequence

from snapshots.comparison import Change, FindingChange, Inputs, Replayed
from snapshots.model import Diagnosis, ProblemSnapshot, Text
from snapshots.words import Language, class_name, subclass_name, term

_MADE_BY = {
    "tool_version": Text(en="another tool version", zh="工具版本不同"),
    "tables_sha256": Text(en="other fault tables", zh="故障表不同"),
    "settings_sha256": Text(en="other settings", zh="设置不同"),
}


def conclusion(
    before: ProblemSnapshot,
    after: ProblemSnapshot,
    findings: Sequence[FindingChange],
    inputs: Inputs,
    *,
    same: tuple[bool, bool],
    replay: Replayed | None,
) -> list[Text]:
    """The few sentences, in the order in which a reader asks. `same` is of the diagnosis, and of the evidence."""
    same_diagnosis, same_evidence = same
    lines = []
    if before.ticket.id != after.ticket.id:
        lines.append(
            Text(
                en=f"These are snapshots of different tickets: {before.ticket.id} and {after.ticket.id}.",
                zh=f"这是两个不同工单的快照：{before.ticket.id} 与 {after.ticket.id}。",
            )
        )
    lines.append(_verdict(before.diagnosis, after.diagnosis, same_diagnosis=same_diagnosis))
    lines.append(_moved_by(findings, same_diagnosis=same_diagnosis, same_evidence=same_evidence))
    lines.append(inputs.statement)
    if replay:
        lines += replay.statements
        lost = {row.ref for row in replay.records if row.state in {"gone", "changed", "unreachable"}}
        bare = sum(row.change == "gone" and any(e.ref in lost for e in row.evidence) for row in findings)
        if bare:
            en = f"{counted(bare, 'finding that is gone cites', 'findings that are gone cite')} such records."
            lines.append(Text(en=en, zh=f"消失的发现中有 {bare} 条引用了这些记录。"))
    return lines


def _verdict(was: Diagnosis, now: Diagnosis, *, same_diagnosis: bool) -> Text:
    (en_was, en_share_was), (zh_was, zh_share_was) = _answer(was, "en"), _answer(was, "zh")
    (en, en_share), (zh, zh_share) = _answer(now, "en"), _answer(now, "zh")
    if same_diagnosis:
        return Text(en=f"Same diagnosis: {en}, {en_share}.", zh=f"诊断相同：{zh}，{zh_share}。")
    if (was.abstained, was.fault_subclass, en_was) != (now.abstained, now.fault_subclass, en):
        return Text(
            en=f"The diagnosis moved: {en_was}, {en_share_was} → {en}, {en_share}.",
            zh=f"诊断变化：{zh_was}，{zh_share_was} → {zh}，{zh_share}。",
        )
    if was.confidence != now.confidence:
        return Text(
            en=f"The answer stays {en}; how sure: {en_share_was} → {en_share}.",
            zh=f"结论仍为{zh}；把握：{zh_share_was} → {zh_share}。",
        )
    return Text(
        en=f"The answer stays {en}, {en_share}, but not all of the diagnosis is the same.",
        zh=f"结论仍为{zh}，{zh_share}，但诊断并非完全相同。",
    )


def _answer(d: Diagnosis, language: Language) -> tuple[str, str]:
    """The answer in words, the coarse class first, and how sure it is."""
    name, share = _name(d, language)
    return (f"{term(d.seed_class, language)} · {name}" if d.seed_class else name), share


def _name(d: Diagnosis, language: Language) -> tuple[str, str]:
    share = share_words(d.confidence, language)
    if not d.abstained and d.fault_class:
        sub = subclass_name(d.fault_class, d.fault_subclass, language)
        whole = class_name(d.fault_class, language)
        return (f"{whole} › {sub}" if sub else whole), share
    undecided = "not decided" if language == "en" else "未定"
    first = max(d.candidates, key=lambda one: one.probability, default=None)
    if first is None:
        return undecided, share
    leads = class_name(first.fault_class, language)
    share = share_words(first.probability, language)
    return (f"{undecided} ({leads} leads)" if language == "en" else f"{undecided}（{leads}居首）"), share


def share_words(share: float | None, language: Language) -> str:
    """A probability to a tenth of a percent, since small moves count here; it never claims certainty.

    >>> share_words(0.943, "en"), share_words(0.99999, "en"), share_words(None, "zh")
    ('94.3 %', 'over 99.9 %', '未列入')
    """
    if share is None:
        return "not considered" if language == "en" else "未列入"
    if share > 0.999:
        return "over 99.9 %" if language == "en" else "99.9 % 以上"
    if share < 0.001:
        return "under 0.1 %" if language == "en" else "不足 0.1 %"
    return f"{100 * share:.1f} %"


_CAME = {
    "new": ("the new finding", "新发现"),
    "gone": ("the finding that is gone", "消失的发现"),
    "changed": ("the changed finding", "变化的发现"),
}


def _moved_by(findings: Sequence[FindingChange], *, same_diagnosis: bool, same_evidence: bool) -> Text:
    first = next(iter(findings), None)
    if first is None:
        if same_diagnosis:
            if same_evidence:
                return Text(en="Every finding and every cited record is the same.", zh="所有发现与引用记录均相同。")
            return Text(
                en="Every finding is the same; other records are cited beside them.",
                zh="所有发现相同，仅其他引用记录不同。",
            )
        return Text(
            en="No finding changed: the same findings are counted otherwise.", zh="没有发现变化：同样的发现计权不同。"
        )
    if not first.weight_change:
        n = len(findings)
        en = f"No finding changed in weight; {n} came, went or {'says' if n == 1 else 'say'} something else"
        return Text(
            en=f'{en}, first "{first.statement.en}".',
            zh=f"没有发现的权重变化；{n} 条发现出现、消失或表述不同，首先是“{first.statement.zh}”。",
        )
    en_came, zh_came = _CAME[first.change]
    en = f'Most weight was moved by {en_came} "{first.statement.en}" ({first.weight_change:+.2f}'
    zh = f"影响最大的是{zh_came}“{first.statement.zh}”（{first.weight_change:+.2f}"
    whose = first.candidate.fault_class if first.candidate else first.supports
    if whose:
        # The sign says which way.
        en += f" for {class_name(whose, 'en')}"
        zh += f"，对{class_name(whose, 'zh')}"
    if first.candidate:
        shares = (first.candidate.before, first.candidate.after)
        en += ", " + " → ".join(share_words(share, "en") for share in shares)
        zh += "，" + " → ".join(share_words(share, "zh") for share in shares)
    known = first.evidence and not (first.records_new or first.records_gone)
    if known:
        return Text(en=f"{en}); both documents cite its records.", zh=f"{zh}）；两份文档都引用了它的记录。")
    return Text(en=f"{en}).", zh=f"{zh}）。")


def inputs_statement(
    verdict: str, reasons: Sequence[Text], provenance: Sequence[Change], *, same_document: bool
) -> Text:
    """Whether the inputs were the same, why one may think so, and what else made the difference."""
    made = [_MADE_BY[change.name] for change in provenance if change.name in _MADE_BY]
    en_made, zh_made = ", ".join(one.en for one in made), "、".join(one.zh for one in made)
    if same_document:
        return Text(en="It is the same document.", zh="两者是同一文档。")
    en_made = en_made or "the same tool version, tables and settings"
    zh_made = zh_made or "工具版本、故障表与设置均相同"
    if verdict == "same":
        return Text(en=f"Same inputs as far as the documents tell; {en_made}.", zh=f"就文档所载，输入相同；{zh_made}。")
    en, zh = "; ".join(one.en for one in reasons), "；".join(one.zh for one in reasons)
    if verdict == "other":
        return Text(en=f"Other inputs: {en}. Made with {en_made}.", zh=f"输入不同：{zh}。生成条件：{zh_made}。")
    return Text(
        en=f"Whether the inputs are the same cannot be told from the documents: {en}. Made with {en_made}.",
        zh=f"仅凭文档无法判断输入是否相同：{zh}。生成条件：{zh_made}。",
    )


def counted(n: int, one: str, many: str) -> str:
    """`n` with the words for one or for many.

    >>> counted(1, "record is", "records are"), counted(0, "record is", "records are")
    ('1 record is', '0 records are')
    """
    return f"{n} {one if n == 1 else many}"
