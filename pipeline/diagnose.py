"""Diagnose: from findings to ranked fault classes, or to an abstention that says what would decide.

`pipeline/judge.py` does the sums. A class is named only where its probability reaches the class's threshold. The coarse
class (interface fault, parameter configuration, other) may be said where the class itself cannot.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from pipeline.evidence.case import Case, clip
from pipeline.faults import fault_name, seed_class, taxonomy
from pipeline.faults.tables import SeedClass
from pipeline.judge import GAP, NO_FAULT, Weights, probabilities, seed_shares, weights
from pipeline.values import Found, Seen
from snapshots.model import Candidate, Culprit, Diagnosis, Location, Missing, Text, Window
from snapshots.words import term

_SHOWN = 5
# Characters of a log line that a summary repeats.
_QUOTED = 160
# What a candidate lists against it at most.
_AGAINST = 6
# What speaks for another class speaks against this one, unless the other is as good as out.
_RIVAL = 0.01


def diagnose(case: Case, seen: Seen, ids: Sequence[str]) -> Diagnosis:
    """Rank the fault classes; `ids[i]` is the number that `seen.found[i]` has in the document."""
    table = weights(case.settings.weights)
    votes = _votes(seen, ids, table)
    probability = probabilities(seen.found, case.channel, table)

    ranked = sorted(votes, key=lambda name: (-probability[name], name))
    candidates = [_candidate(name, votes, seen, ids, probability) for name in ranked[:_SHOWN]]
    top = ranked[0] if ranked else None
    confidence = probability[top] if top else 0.0
    located = top is not None and confidence >= table.threshold(top)
    gaps = [found for found in seen.found if found.kind.startswith(GAP)]
    seed = _seed(probability, table.seed)
    if not located or top is None:
        return Diagnosis(
            abstained=True,
            confidence=round(confidence, 4),
            summary=_undecided_summary(candidates, gaps),
            seed_class=seed,
            candidates=candidates,
            missing=_missing(case, seen, candidates),
            location=_location(case, votes.get(top, []) if top else []),
            culprits=_culprits(votes[top], confidence) if top and top not in NO_FAULT else [],
            owner="us (support)",
            first_action=Text(
                en="Get the evidence named as missing, then take the snapshot again",
                zh="补齐上述缺失的证据，然后重新生成快照",
            ),
        )
    mine = votes[top]
    best = max(mine, key=lambda vote: vote[0])[2]
    subclass = candidates[0].fault_subclass
    fault = taxonomy().get((top, subclass or ""))
    return Diagnosis(
        abstained=False,
        confidence=round(confidence, 4),
        summary=_summary(best, seen),
        fault_class=top,
        fault_subclass=subclass,
        seed_class=seed_class(top),
        class_name=fault_name(top, None),
        candidates=candidates,
        missing=_missing(case, seen, candidates) if gaps else [],
        location=_location(case, mine),
        culprits=[] if top in NO_FAULT else _culprits(mine, confidence),
        owner=fault.owner if fault else None,
        first_action=fault.first_action if fault else None,
    )


# ---- the candidates

_Vote = tuple[float, str, Found]


def _votes(seen: Seen, ids: Sequence[str], table: Weights) -> dict[str, list[_Vote]]:
    votes: dict[str, list[_Vote]] = defaultdict(list)
    for found, name in zip(seen.found, ids, strict=True):
        weight = table.of(found)
        if found.supports and weight > 0:
            votes[found.supports].append((weight, name, found))
    return {name: sorted(mine, key=lambda vote: (-vote[0], vote[1])) for name, mine in votes.items()}


def _candidate(
    name: str,
    votes: Mapping[str, list[_Vote]],
    seen: Seen,
    ids: Sequence[str],
    probability: Mapping[str, float],
) -> Candidate:
    by_subclass: dict[str, float] = defaultdict(float)
    for weight, _, found in votes[name]:
        if found.subclass:
            # An outer code names a group: whatever says more exactly what it was decides the subclass.
            by_subclass[found.subclass] += weight * (0.5 if found.kind == "channel_code.outer" else 1.0)
    subclass = min(by_subclass, key=lambda s: (-by_subclass[s], s), default=None)
    against = [one for found, one in zip(seen.found, ids, strict=True) if name in found.against]
    likely = {other for other in votes if other != name and probability[other] >= _RIVAL}
    rivals = [vote for other in likely for vote in votes[other][:1]]
    against += [vote[1] for vote in sorted(rivals, key=lambda vote: (-vote[0], vote[1]))]
    return Candidate(
        fault_class=name,
        fault_subclass=subclass,
        probability=round(probability[name], 4),
        findings=[vote[1] for vote in votes[name]],
        against=list(dict.fromkeys(against))[:_AGAINST],
    )


def _seed(probability: Mapping[str, float], threshold: float) -> SeedClass | None:
    shares = seed_shares(probability)
    best = min(shares, key=lambda s: (-shares[s], s), default=None)
    return best if best and shares[best] >= threshold else None


# ---- the words


def _summary(best: Found, seen: Seen) -> Text:
    """The strongest finding in its own words, with the line it comes from, and how the other orders fared."""
    en, zh = best.statement.en, best.statement.zh
    if best.cites and best.cites[0].kind == "log":
        quote = clip(best.cites[0].quote, _QUOTED)
        if quote not in en:
            en, zh = f'{en}: "{quote}"', f"{zh}：“{quote}”"
    en, zh = _sentence(en), zh.rstrip("。") + "。"
    for check in seen.checks:
        if check.id == "cohort" and check.outcome != "not_evaluated":
            en, zh = f"{en} {_sentence(check.statement.en)}", f"{zh}{check.statement.zh}。"
    return Text(en=en, zh=zh)


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."


def _undecided_summary(candidates: Sequence[Candidate], gaps: Sequence[Found]) -> Text:
    if not candidates:
        en, zh = "Not decided: no finding points at a fault", "未定：没有发现指向任何故障的证据"
    else:
        first = candidates[0]
        name = fault_name(first.fault_class, first.fault_subclass)
        share = round(100 * first.probability)
        en = f"Not decided: {name.en} leads with {share} %, which is not enough"
        zh = f"未定：{name.zh}居首（{share}%），不足以下结论"
    if gaps:
        en += "; " + "; ".join(gap.statement.en for gap in gaps[:3])
        zh += "；" + "；".join(gap.statement.zh for gap in gaps[:3])
    return Text(en=en + ".", zh=zh + "。")


# ---- where


def _location(case: Case, mine: Sequence[_Vote]) -> Location:
    def first(name: str) -> str | None:
        return next((value for _, _, found in mine if (value := getattr(found, name)) and value != "-"), None)

    channel = first("channel")
    return Location(
        service=first("service"),
        operation=first("operation"),
        host=first("host"),
        channel=case.channel if channel in (None, "network") else channel,
    )


def _culprits(mine: Sequence[_Vote], of: float) -> list[Culprit]:
    """The services of the findings by their weight; the probabilities of all add up to `of`."""
    weight_of: dict[str, float] = defaultdict(float)
    for weight, _, found in mine:
        if found.service and found.service != "-":
            weight_of[found.service] += weight
    total = sum(weight_of.values())
    ordered = sorted(weight_of, key=lambda s: (-weight_of[s], s))
    return [Culprit(service=name, probability=round(of * weight_of[name] / total, 4)) for name in ordered[:_SHOWN]]


# ---- what would decide


def _missing(case: Case, seen: Seen, candidates: Sequence[Candidate]) -> list[Missing]:
    window = Window(start=_z(case.scope.window.start), end=_z(case.scope.window.end))
    gaps = [found for found in seen.found if found.kind.startswith(GAP)]
    if any(found.kind == f"{GAP}source" and found.code == "logs" for found in gaps):
        # Why there is no line is known, and asked about already.
        gaps = [found for found in gaps if found.kind != f"{GAP}no_logs"]
    missing = [_from_gap(found, window) for found in gaps]
    for found in seen.found:
        if found.kind == "channel_code.unknown":
            question = Text(
                en=f"What does {found.channel} mean by {found.code}? Ask the channel's support or its documents.",
                zh=f"{found.channel} 的返回码 {found.code} 是什么含义？请查渠道文档或询问渠道支持。",
            )
            missing.append(Missing(source="channel", question=question, kind="unknown_code"))
    if not missing:
        missing.append(_what_would_decide(case, candidates, window))
    return missing


def _from_gap(found: Found, window: Window) -> Missing:
    what = found.kind.removeprefix(GAP)
    if what in ("silent_service", "skipped_service"):
        question = Text(
            en=f"What did {found.service} log in this window? Its lines carry the channel's answer.",
            zh=f"{found.service} 在该时间窗口记录了什么？渠道应答在其日志中。",
        )
        return Missing(source="logs", service=found.service, window=window, question=question, kind=found.kind)
    if what == "no_order" and found.code:
        question = Text(
            en=f"Can you get the order events of {found.code}? They are not among those that were found.",
            zh=f"能否取得订单 {found.code} 的订单事件？已取得的数据中没有。",
        )
        return Missing(source="orders", window=window, question=question, kind=found.kind)
    if what == "source" and found.code:
        question = Text(
            en=f"Can you get the {term(found.code, 'en')} again? {_sentence(found.statement.en)}",
            zh=f"能否重新取得{term(found.code, 'zh')}？{found.statement.zh}。",
        )
        return Missing(source=found.code, window=window, question=question, kind=found.kind)
    if what == "no_order":
        question = Text(
            en="Which order number or payment time is it? No order of this customer is known here.",
            zh="订单号或支付时间是多少？此处没有该客户的订单。",
        )
        return Missing(source="orders", window=window, question=question, kind=found.kind)
    question = Text(
        en=f"Can you get the logs of this window? {_sentence(found.statement.en)}",
        zh=f"能否取得该时间窗口的日志？{found.statement.zh}。",
    )
    return Missing(source="logs", window=window, question=question, kind=found.kind)


def _what_would_decide(case: Case, candidates: Sequence[Candidate], window: Window) -> Missing:
    if not case.focus_spans.num_rows and not any(s.tier == "focus" for s in case.signals):
        question = Text(
            en="Which order or trace is it? Nothing in the logs or traces carries an identifier of this ticket.",
            zh="是哪个订单或链路？日志与链路中没有出现该工单的任何标识。",
        )
        return Missing(source="ticket", window=window, question=question)
    channel = case.channel or "the channel"
    names = " / ".join(fault_name(c.fault_class, None).en for c in candidates[:2])
    zh_names = " / ".join(fault_name(c.fault_class, None).zh for c in candidates[:2])
    between = f" It would decide between {names}." if names else ""
    zh_between = f"可据此区分 {zh_names}。" if zh_names else ""
    question = Text(
        en=f"What exactly did {channel} answer to this payment (code and message)?{between}",
        zh=f"{case.channel or '渠道'} 对该笔支付的应答码和应答信息是什么？{zh_between}",
    )
    return Missing(source="logs", window=window, question=question)


def _z(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
