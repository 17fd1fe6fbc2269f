"""Who should take a ticket: a queue, handlers in order with reasons, or the queue's lead where nobody is sure enough.

    queue        learnt from closed tickets; of similar ones' votes for a ticket older than what was learnt; else by rules
    handler      P(solves it) from what he solved (`skills.py`), by rules until there is enough; times the room that he has
    room         (most_open - open) / most_open, divided by his load where that is above the mean of those who are there; who
                 has more than one and a half times their mean is passed over. Load is what he took in seven days

Each way says in its reasons which it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pipeline.desk.cause import cause_of
from pipeline.desk.learnt import LEAST
from pipeline.desk.options import DeskOptions, HandlerOptions
from pipeline.desk.query import Query
from pipeline.desk.similar import UNSAID, Scored
from pipeline.desk.skills import Share, Skill, Skills
from snapshots.model import ProblemSnapshot, RoutedHandler, RoutedQueue, Routing, SimilarTicket, Text
from snapshots.words import class_name

# So many handlers and queues are told.
_TOLD = 3
# Whoever has more than this many times the mean load of those who are there takes no further ticket.
FLOODED = 1.5
# Load is what was taken in so many days. So many tickets are added to each, so that the first ones weigh little.
_DAYS = 7.0
_FIRST = 2.0
# With fewer closed tickets in all, rules speak before votes do.
FEW = LEAST
# With fewer closed tickets of a kind, rules speak for a handler.
ENOUGH = 3.0
_VOTES = 20
# A closed ticket whose score is so high is of the same trouble, whatever was located then.
_MUCH_ALIKE = 0.5
# What a rule is worth: somebody named for a kind of ticket solves it more often than not.
_NAMED = 0.7
_NOT_NAMED = 0.4
_FROM: dict[str, Text] = {
    "learnt": Text(en="learnt from closed tickets", zh="由已关闭工单学得"),
    "votes": Text(en="by the most similar closed tickets", zh="按最相似的已关闭工单"),
    "rules": Text(en="by the settings' rules, since too few tickets are closed", zh="已关闭工单太少，按配置规则"),
}


@dataclass(frozen=True)
class About:
    """What a ticket is about, as far as is known: fault classes with their probabilities, service, channel, owner."""

    classes: Mapping[str, float] = field(default_factory=dict)
    service: str | None = None
    channel: str | None = None
    owner: str | None = None

    def names(self) -> set[str]:
        """All of it, as the rules of queues and handlers name it."""
        likely = [name for name, probability in self.classes.items() if probability >= _VOTE_OF_CLASS]
        return {name for name in (*likely, self.service, self.channel, self.owner) if name}


_VOTE_OF_CLASS = 0.3


def about(snapshot: ProblemSnapshot | None) -> About:
    """What the snapshot says that its ticket is about."""
    if snapshot is None:
        return About()
    diagnosis = snapshot.diagnosis
    channel = diagnosis.location.channel or next(iter(snapshot.scope.channels), None)
    classes = {one.fault_class: one.probability for one in reversed(diagnosis.candidates)}
    return About(classes, diagnosis.location.service, channel, diagnosis.owner)


def votes(ranked: Sequence[Scored], column: str = "category") -> dict[str, float]:
    """The shares of the most similar tickets' categories (or of another column), each vote the square of its score."""
    cast: dict[str, float] = {}
    for one in ranked[:_VOTES]:
        if name := one.like.row.get(column):
            cast[name] = cast.get(name, 0.0) + one.score**2
    total = sum(cast.values())
    return {name: vote / total for name, vote in cast.items()} if total else {}


def held(ranked: Sequence[Scored]) -> float:
    """How much closed tickets say of a ticket at all, 0 to 1: one is always the most similar, and some queue the likeliest.

    Where the likest is less alike than what would be told as similar, queues are less probable by that share.
    """
    return min(1.0, max(map(_alike, ranked[:_VOTES]), default=0.0) / UNSAID)


def _alike(one: Scored) -> float:
    """How alike a ticket is by itself, whatever else could be compared: by what the system said, or by words and meaning."""
    like = one.like
    return max(like.said, (like.words + like.meaning) / 2 if like.meaning else like.words)


def by_rules(facts: About, options: DeskOptions) -> dict[str, float]:
    """The queues that the settings name for what the ticket is about, shared equally."""
    names = facts.names()
    fitting = {name: len(names & set(queue.skills)) for name, queue in options.queues.items()}
    total = sum(fitting.values())
    return {name: count / total for name, count in fitting.items() if count} if total else {}


def route(
    query: Query,
    queues: Mapping[str, float],
    way: str,
    facts: About,
    skills: Skills,
    options: DeskOptions,
    *,
    categories: Mapping[str, float],
    line: Text,
    tickets: int,
) -> Routing:
    """The routing of a ticket. `queues` are probabilities, `way` where they come from (a key of `_FROM`)."""
    likely = sorted(queues.items(), key=lambda one: (-one[1], one[0]))
    best = likely[0] if likely else None
    told = [RoutedQueue(queue=name, probability=round(share, 4)) for name, share in likely[:_TOLD]]
    sure = best is not None and best[1] >= options.sure
    named = [] if best is None else [best[0]]
    loads = _Loads(skills, query.at)
    offered, passed = _offered(query, named if sure else [name for name, _ in likely[:_TOLD]], skills, loads, options)
    handlers = _ranked(query, offered, (categories, dict(likely[:_TOLD])), facts, loads, skills, options)
    reason, abstained = _verdict(handlers, best, way, passed, options, sure=sure)
    return Routing(
        abstained=abstained,
        reason=reason,
        line=line,
        queue=best[0] if best and sure else None,
        queues=told,
        handlers=handlers[:_TOLD],
        lead=_lead(best[0] if best else None, options),
        tickets=tickets,
    )


def _lead(queue: str | None, options: DeskOptions) -> str | None:
    own = options.queues.get(queue or "")
    return (own.lead if own else None) or options.lead


class _Loads:
    """What each handler has open, and what he took lately beside those who are there."""

    def __init__(self, skills: Skills, at: datetime) -> None:
        self.open = skills.loads(at)
        self._taken = skills.taken(at, _DAYS)
        self._mean = 0.0

    def among(self, there: Iterable[str]) -> None:
        """Sets whom loads are compared with."""
        taken = [self._taken.get(name, 0) for name in there]
        self._mean = sum(taken) / len(taken) if taken else 0.0

    def ratio(self, name: str) -> float:
        """What he took, in means."""
        return (self._taken.get(name, 0) + _FIRST) / (self._mean + _FIRST)

    def taken(self, name: str) -> int:
        """What he took."""
        return self._taken.get(name, 0)


def _offered(
    query: Query, queues: Sequence[str], skills: Skills, loads: _Loads, options: DeskOptions
) -> tuple[dict[str, HandlerOptions], dict[str, str]]:
    """Who works one of `queues` now and has room; and why the others are passed over: away, full, flooded."""
    known = options.handlers or {name: HandlerOptions() for name in skills.handlers(query.at)}
    mine = {name: one for name, one in known.items() if not one.queues or set(one.queues) & set(queues) or not queues}
    there = {name: one for name, one in mine.items() if one.works(query.at)}
    loads.among(there)
    passed = dict.fromkeys(mine.keys() - there.keys(), "away")
    for name, one in there.items():
        if loads.open.get(name, 0) >= one.most_open:
            passed[name] = "full"
        elif loads.ratio(name) > FLOODED:
            passed[name] = "flooded"
    return {name: one for name, one in sorted(there.items()) if name not in passed}, passed


def _ranked(
    query: Query,
    offered: Mapping[str, HandlerOptions],
    kinds: tuple[Mapping[str, float], Mapping[str, float]],
    facts: About,
    loads: _Loads,
    skills: Skills,
    options: DeskOptions,
) -> list[RoutedHandler]:
    categories = kinds[0]
    facets: dict[str, Mapping[str, float]] = {"category": categories, "fault_class": facts.classes}
    if facts.service:
        facets["service"] = {facts.service: 1.0}
    if facts.channel:
        facets["channel"] = {facts.channel: 1.0}
    known = skills.of({name: values for name, values in facets.items() if values}, query.at)
    likely = {name for kind in kinds for name, share in kind.items() if share >= options.sure}
    rows = []
    for name, own in offered.items():
        skill, reasons, tickets = _skill(known.get(name), set(own.skills), facts.names() | likely)
        open_, taken = loads.open.get(name, 0), loads.taken(name)
        room = (own.most_open - open_) / own.most_open / max(1.0, loads.ratio(name))
        reasons.append(
            Text(
                en=f"{open_} of at most {own.most_open} tickets open, {taken} taken in {_DAYS:.0f} days",
                zh=f"在手 {open_} 单，上限 {own.most_open} 单，近 {_DAYS:.0f} 天接 {taken} 单",
            )
        )
        rows.append(
            RoutedHandler(
                handler=name,
                score=round(skill * room, 4),
                skill=round(skill, 4),
                open=open_,
                reasons=reasons,
                tickets=list(tickets),
            )
        )
    return sorted(rows, key=lambda one: (-one.score, one.open, one.handler))


def _skill(known: Skill | None, named: set[str], wanted: set[str]) -> tuple[float, list[Text], tuple[str, ...]]:
    """The probability that he solves it, why, and closed tickets that say so.

    Rules count until enough tickets of the kind are closed.
    """
    both = sorted(named & wanted)
    rule = _NAMED if both else _NOT_NAMED
    told = [Text(en=f"named for {', '.join(both)}", zh=f"配置中负责 {'、'.join(both)}")] if both else []
    if known is None or not known.shares:
        told.append(Text(en="has closed no ticket of this kind", zh="未处理过同类工单"))
        return rule, told, ()
    trust = min(1.0, known.closed / ENOUGH) if named else 1.0
    counted = [share for share in known.shares if share.closed >= 0.5][:2]
    told += [_record(share) for share in counted] or [_none_of(known.shares[0])]
    return trust * known.probability + (1 - trust) * rule, told, counted[0].tickets if counted else ()


def _record(share: Share) -> Text:
    of = _facet(share)
    return Text(
        en=f"{of.en}: {share.solved:.0f} of {share.closed:.0f} stayed solved",
        zh=f"{of.zh}：关闭 {share.closed:.0f} 单，{share.solved:.0f} 单未再打开",
    )


def _none_of(share: Share) -> Text:
    of = _facet(share)
    return Text(en=f"{of.en}: has closed none yet", zh=f"{of.zh}：尚未关闭过")


def _facet(share: Share) -> Text:
    """Which tickets are counted; a fault class by its name."""
    en, zh = share.value, share.value
    if share.facet == "fault_class":
        en, zh = class_name(share.value, "en"), class_name(share.value, "zh")
    return Text(en=f"{share.facet.replace('_', ' ')} {en}", zh=f"{_FACET_ZH[share.facet]} {zh}")


_FACET_ZH = {"category": "类别", "fault_class": "故障类别", "service": "服务", "channel": "渠道"}


def _verdict(
    handlers: Sequence[RoutedHandler],
    best: tuple[str, float] | None,
    way: str,
    passed: Mapping[str, str],
    options: DeskOptions,
    *,
    sure: bool,
) -> tuple[Text, bool]:
    """Why this one, or why nobody: the sentence, and whether it goes to the lead."""
    if best is None:
        return Text(
            en="no closed ticket is like this one and no rule names its kind; its lead decides",
            zh="没有相似的已关闭工单，也没有规则指明队列，由负责人决定",
        ), True
    queue, share = best
    if not sure:
        return Text(
            en=f"the likeliest queue is {queue} with only {share:.0%} ({_FROM[way].en}); its lead decides",
            zh=f"最可能的队列 {queue} 概率仅 {share:.0%}（{_FROM[way].zh}），由负责人决定",
        ), True
    if not handlers:
        why = _passed(passed)
        return Text(
            en=f"queue {queue} ({share:.0%}): nobody is free ({why.en}); its lead decides",
            zh=f"队列 {queue}（{share:.0%}）：无人可接（{why.zh}），由负责人决定",
        ), True
    first = handlers[0]
    if first.skill < options.sure:
        return Text(
            en=f"queue {queue} ({share:.0%}): nobody there is likely to solve it (at best {first.handler}, {first.skill:.0%}); its lead decides",
            zh=f"队列 {queue}（{share:.0%}）：在岗人员解决把握都不大（最高 {first.handler}，{first.skill:.0%}），由负责人决定",
        ), True
    return Text(
        en=f"queue {queue} ({share:.0%}, {_FROM[way].en}); {first.handler} solves such a ticket with {first.skill:.0%} probability",
        zh=f"队列 {queue}（概率 {share:.0%}，{_FROM[way].zh}）；{first.handler} 解决此类工单的概率为 {first.skill:.0%}",
    ), False


_WHY = {
    "away": Text(en="off shift", zh="不在班"),
    "full": Text(en="as many open as they may have", zh="在手已满"),
    "flooded": Text(en="took half as many again as their colleagues", zh="近期接单明显多于同事"),
}


def _passed(passed: Mapping[str, str]) -> Text:
    counts = {why: sum(one == why for one in passed.values()) for why in _WHY}
    some = {why: count for why, count in counts.items() if count}
    if not some:
        return Text(en="nobody works this queue", zh="该队列没有处理人")
    return Text(
        en=", ".join(f"{count} {_WHY[why].en}" for why, count in some.items()),
        zh="，".join(f"{count} 人{_WHY[why].zh}" for why, count in some.items()),
    )


def preliminary(snapshot: ProblemSnapshot | None, title: str, alike: Iterable[SimilarTicket]) -> Text:
    """Problem - cause - solution on one line: out of the snapshot where it located a fault, else out of what was like it.

    The problem is what the customer calls it. Beside a located fault only a ticket of that fault, or one that is much like
    this one, says how it was solved.
    """
    diagnosis = snapshot.diagnosis if snapshot else None
    located = bool(diagnosis and not diagnosis.abstained and diagnosis.class_name)
    solutions = (one for one in alike if one.solution and not one.reopened and _close(one))
    if diagnosis and located:
        solutions = (one for one in solutions if one.fault_class == diagnosis.fault_class or one.score >= _MUCH_ALIKE)
    first = next(solutions, None)
    solved = Text(en="", zh="")
    if first:
        solved = Text(en=f"{first.solution} (as {first.id} was solved)", zh=f"{first.solution}（参照 {first.id}）")
    if snapshot and diagnosis and located:
        action = diagnosis.first_action or solved
        more = solved if diagnosis.first_action and first else Text(en="", zh="")
        why = cause_of(snapshot)
        return Text(
            en=_line(title, why.en, "; ".join(filter(None, (action.en, more.en))), "unknown"),
            zh=_line(title, why.zh, "；".join(filter(None, (action.zh, more.zh))), "未知"),
        )
    cause = (first.cause or "") if first else ""
    supposed = Text(en=f"perhaps {cause}", zh=f"可能是{cause}") if cause else solved
    return Text(
        en=_line(title, supposed.en if cause else "", solved.en, "unknown"),
        zh=_line(title, supposed.zh if cause else "", solved.zh, "未知"),
    )


def _close(one: SimilarTicket) -> bool:
    """Whether it is like the ticket by itself, and not for its category alone: else its solution is a guess."""
    read = one.words if one.meaning is None else (one.words + one.meaning) / 2
    return max(one.said or 0.0, read) >= UNSAID


def _line(problem: str, cause: str, solution: str, unknown: str) -> str:
    return " - ".join(part.strip().rstrip(".。") or unknown for part in (problem, cause, solution))
