"""The private note that goes on a ticket: what failed, where, how sure, what to do first, and the records that say so.

    note_blocks(snapshot, language, links)  -> Blocks    what is said, in reading order
    write(blocks, form, marker, limit)      -> str       how a ticket system takes it

A tired engineer reads it in ten seconds at the top of a ticket, so it holds little, and says how much it leaves out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from snapshots.model import PaymentAttempt, ProblemSnapshot, Text
from snapshots.render.blocks import (
    Block,
    Blocks,
    Heading,
    Items,
    Line,
    Links,
    Paragraph,
    Part,
    Run,
    first_parts,
    plain,
    plain_url,
)
from snapshots.render.clean import clean, shorten
from snapshots.render.figures import count
from snapshots.render.forms import Form, write_form
from snapshots.render.note_desk import desk_part
from snapshots.render.reader import Reader
from snapshots.render.shapes import Proof, View
from snapshots.render.view import ticket_zone
from snapshots.words import Language, label, text_in

FINDINGS = 4
QUESTIONS = 3
UNCHECKED = 4
AGAINST = 2
CAUSES = 3
CLAIMS = 3
ATTEMPTS = 3
OWN = 4
SENTENCE = 240
QUOTE = 200
POINTER = 88
# A word that is longer tells nothing to the eye, and would widen a narrow column.
_LONG_WORD = re.compile("[^\\s\u2e80-\uffef]{57,}")
_MARKER = re.compile(r"problem-snapshot:[0-9a-f]{16}")


@dataclass(frozen=True)
class Touched:
    """How many are touched by the same problem, where that is known from beyond this ticket: None is not known.

    `first` names the ticket that came first, where this one is another; `first_url` opens it. `own` is what this ticket
    has that the first one's snapshot does not: the key of a word (order, channel, code) and its value.
    """

    tickets: int | None = None
    customers: int | None = None
    orders: int | None = None
    channels: int | None = None
    first: str = ""
    first_url: str = ""
    own: tuple[tuple[Literal["order", "channel", "code"], str], ...] = ()


def marker_of(system: str, ticket_id: str) -> str:
    """The marker of a ticket's note, the same for every run: a name that nobody else gives, and that tells nothing.

    >>> marker_of("helpdesk", "TK-1042")
    'problem-snapshot:3ea8c15816135972'
    """
    return "problem-snapshot:" + hashlib.sha256(f"{system}\0{ticket_id}".encode()).hexdigest()[:16]


def note_blocks(
    snapshot: ProblemSnapshot,
    language: Language,
    links: Links | None = None,
    *,
    touched: Touched | None = None,
) -> Blocks:
    """What the note says, in `language`; times are in the ticket's own zone. `links` lead on, each where it is given."""
    reader = _NoteReader(clean(snapshot), language, links or Links())
    return reader.blocks(touched or Touched())


def waiting_blocks(language: Language, reason: str, again: str) -> Blocks:
    """A note that stands in for one: no source could be read, why, and when it is tried again (a time with its zone)."""
    lines = (
        (Run(label("not_yet", language), "strong"),),
        plain(prose(reason, 320)),
        plain(label("again_at", language, when=again)),
    )
    return Blocks(language, (Part("head", label("not_yet", language), (Paragraph(lines),)),))


def card_blocks(
    snapshot: ProblemSnapshot,
    language: Language,
    links: Links | None = None,
    *,
    touched: Touched | None = None,
    said: Text | None = None,
) -> Blocks:
    """The same in fewer words, for a chat: which ticket, what failed, what to do, and what the strongest findings say.

    What is `said` of the ticket stands above all, with the link that acknowledges it.
    """
    reader = _NoteReader(clean(snapshot), language, links or Links())
    blocks = reader.card(touched or Touched())
    return replace(blocks, parts=(_said_part(said, language, links or Links()), *blocks.parts)) if said else blocks


def _said_part(said: Text, language: Language, links: Links) -> Part:
    line = (Run(text_in(said, language)),)
    name = label("acknowledge", language)
    below = (Paragraph(((Run(name, "link", links.acknowledge),),)),) if links.acknowledge else ()
    return Part("said", name, (Heading(line, 1), *below))


def write(
    blocks: Blocks,
    form: Form,
    marker: str = "",
    limit: int | None = None,
    size: Callable[[str], int] = len,
) -> str:
    """The note in one form, ending in one newline, with `marker` once: hidden where what hides it is kept.

    Past `limit` (characters, or what `size` counts) whole parts are left out from the end, and their number and names
    are told; the full document then goes along as a file. Raises `ValueError` for a marker that is none, and where
    not even the first part has room.
    """
    if marker and not _MARKER.fullmatch(marker):
        raise ValueError(f"{marker!r} is no marker: problem-snapshot: and 16 hex digits")
    for kept in range(len(blocks.parts), min(1, len(blocks.parts)) - 1, -1):
        text = write_form(first_parts(blocks, kept), form, marker)
        if limit is None or size(text) <= limit:
            return text
    raise ValueError(f"a note of at most {limit} cannot hold even its first part in {form}: {size(text)}")


def fact(name: str, *value: Run, language: Language) -> Line:
    """A line that names what it tells."""
    return (Run(name, "strong"), Run("：" if language == "zh" else ": "), *value)


def _between(runs: Sequence[Run]) -> Line:
    """The runs on one line, set apart."""
    return tuple(run for n, one in enumerate(runs) for run in ((Run(" · "), one) if n else (one,)))


def prose(text: str, limit: int = SENTENCE) -> str:
    """A sentence no longer than it can be taken in, its overlong words cut in their middle."""
    return shorten(_LONG_WORD.sub(lambda found: shorten(found[0], 56), text), limit)


class _NoteReader(Reader):
    """The same reader as the document's, saying less."""

    def __init__(self, snapshot: ProblemSnapshot, language: Language, links: Links) -> None:
        super().__init__(snapshot, language, ticket_zone(snapshot))
        self.links = links
        # What stands between a name and what it names, between things of one kind, and between sentences.
        self.colon, self.comma, self.semicolon = ("：", "，", "；") if language == "zh" else (": ", ", ", "; ")

    def blocks(self, touched: Touched) -> Blocks:
        """The parts by what matters most."""
        view = self.view()
        parts = [
            Part("head", view.verdict, (self._title(view), *self._first(view), self._facts(view, touched))),
            self._questions(view),
            desk_part(self.s, self.language, self.links.intake, prose, self.clock),
            self._list("proof", view.proof_title, [self._found(proof) for proof in self._strongest()], ordered=True),
            self._list("against", self.say("against"), [(plain(prose(c.statement)),) for c in view.against[:AGAINST]]),
            self._list("unchecked", self.say("unchecked"), self._not_seen(view), none=self.say("no_unchecked")),
        ]
        return Blocks(self.language, tuple(part for part in parts if part.blocks), self._foot(view))

    def card(self, touched: Touched) -> Blocks:
        """What a chat is told."""
        view = self.view()
        ticket = fact(self.say("ticket"), Run(prose(f"{view.ticket} {view.title}", 160)), language=self.language)
        head = (self._title(view), Paragraph((ticket,)), *self._first(view), self._facts(view, touched, short=True))
        claims = [(plain(prose(proof.statement)),) for proof in self._strongest()[:CLAIMS]]
        parts = [
            Part("head", view.verdict, head),
            self._questions(view),
            self._list("proof", view.proof_title, claims),
        ]
        named = (("open_page", self.links.page), ("open_ticket", self.links.ticket))
        ways = [Run(self.say(name), "link", url) for name, url in named if url]
        made = plain(prose(f"{self.say('snapshot_id')} {view.snapshot_id}"))
        foot = (*([Paragraph((_between(ways),))] if ways else []), Paragraph((made,), small=True))
        return Blocks(self.language, tuple(part for part in parts if part.blocks), foot)

    # The head.

    def _title(self, view: View) -> Heading:
        said = [view.severity, view.verdict]
        title = " · ".join(part for part in said if part)
        name = view.name or view.seed
        return Heading(plain(prose(f"{title}{self.colon}{name}" if name else title)), 1)

    def _first(self, view: View) -> list[Block]:
        return [Paragraph(((Run(prose(view.summary, 320), "strong"),),))] if view.summary else []

    def _facts(self, view: View, touched: Touched, *, short: bool = False) -> Paragraph:
        action = prose(view.action or self.say("no_action"), 320)
        sure = f"{view.percent}{self.semicolon}{prose(view.runner_up, 160)}"
        causes = self.comma.join(f"{prose(cause.name, 80)} {cause.percent}" for cause in view.causes[:CAUSES])
        rows = [
            (self.say("meanwhile" if view.abstained else "first"), Run(action, "strong")),
            (self.say("owner"), Run(prose(view.owner, 120) or self.say("no_owner"))),
            *((name, Run(prose(value))) for name, value in view.places[:1]),
            (self.say("leading"), Run(causes or self.say("no_leading")))
            if view.abstained
            else (self.say("sure"), Run(sure)),
            *((name, Run(prose(value))) for name, value in view.places[1:]),
            (self.say("payments"), Run(self._payments())),
            (self.say("touched"), Run(self._touched(touched))),
            (self.say("same_cause"), self._first_ticket(touched)),
            (self.say("own"), Run(self._own(touched))),
            (self.say("when"), Run(self._when(view))),
        ]
        left = {self.say("payments"), self.say("when")} if short else set()
        kept = [(name, value) for name, value in rows if value.text and name not in left]
        return Paragraph(tuple(fact(name, value, language=self.language) for name, value in kept))

    def _when(self, view: View) -> str:
        utc = (f"（{view.utc}）" if self.language == "zh" else f" ({view.utc})") if view.utc else ""
        return self.semicolon.join(part for part in (view.when + utc, view.window) if part)

    def _payments(self) -> str:
        """The last state of each attempt, callback and refund of the ticket's orders, on one line."""
        last: dict[tuple[str, str], PaymentAttempt] = {}
        for row in self.s.payment_attempts:
            if row.entity != "order":
                last[row.entity, row.entity_id] = row
        told = []
        for row in list(last.values())[-ATTEMPTS:]:
            kind = self.term(row.entity) if row.entity != "attempt" else ""
            parts = (kind, prose(row.entity_id, 48), self.state(row.state, row.raw_state), row.code)
            told.append(prose(" ".join(part for part in parts if part), 120))
        told += [self.say("and_more", count=len(last) - ATTEMPTS)] if len(last) > ATTEMPTS else []
        return self.semicolon.join(told)

    def _first_ticket(self, touched: Touched) -> Run:
        name = prose(touched.first, 120)
        return Run(name, "link", plain_url(touched.first_url)) if name and touched.first_url else Run(name)

    def _own(self, touched: Touched) -> str:
        shown = [f"{self.say(f'own_{key}')} {value}" for key, value in touched.own[:OWN]]
        if len(touched.own) > OWN:
            shown.append(f"+{count(len(touched.own) - OWN)}")
        return prose(self.comma.join(shown))

    def _touched(self, touched: Touched) -> str:
        """How many, as far as it is known: by the caller, else by the orders and channels that this document is about."""
        scope = self.s.scope
        numbers = {
            "tickets": touched.tickets,
            "customers": touched.customers,
            "orders": touched.orders or (len(scope.focus_orders) if len(scope.focus_orders) > 1 else None),
            "channels": touched.channels or (len(scope.channels) if len(scope.channels) > 1 else None),
        }
        return " · ".join(self.say(f"touched_{what}", count=count(n)) for what, n in numbers.items() if n is not None)

    # The parts.

    def _list(
        self, key: str, name: str, items: Sequence[tuple[Line, ...]], *, ordered: bool = False, none: str = ""
    ) -> Part:
        blocks: tuple[Block, ...] = ()
        if items:
            blocks = (Heading(plain(name)), Items(tuple(items), ordered))
        elif none:
            blocks = (Paragraph((fact(name, Run(none), language=self.language),)),)
        return Part(key, name, blocks)

    def _questions(self, view: View) -> Part:
        if not view.abstained:
            return Part("missing", "", ())
        items: list[tuple[Line, ...]] = []
        for question in view.missing[:QUESTIONS]:
            what = " ".join(part for part in (prose(question.what, 120), prose(question.window, 80)) if part)
            asked = plain(prose(self.say("ask", question=question.question), 320))
            items.append(((Run(what, "strong"),), asked) if what else (asked,))
        more = len(view.missing) - QUESTIONS
        items += [(plain(self.say("and_more", count=more)),)] if more > 0 else []
        return self._list("missing", self.say("missing"), items, none=self.say("none"))

    def _strongest(self) -> list[Proof]:
        """The strongest findings, each with its first record."""
        found = self._supporting(self.s.diagnosis)[:FINDINGS]
        return [self._proof(finding.evidence[0], finding, said=False) for finding in found]

    def _found(self, proof: Proof) -> tuple[Line, ...]:
        ref = Run(prose(proof.ref, 24), "ref", self.links.record(proof.ref))
        told = [proof.moment.clock if proof.moment else "", prose(proof.service, 60)]
        beside = "".join(f" · {part}" for part in told if part)
        where = (ref, Run(f"{beside} · "), Run(shorten(proof.pointer, POINTER), "code"))
        lines: list[Line] = [plain(prose(proof.statement))]
        lines += [(Run(shorten(proof.quote, QUOTE), "code"),)] if proof.quote.strip() else []
        return (*lines, where)

    def _not_seen(self, view: View) -> list[tuple[Line, ...]]:
        lines = [prose(line) for line in view.unchecked]
        more = len(lines) - UNCHECKED
        kept = [*lines[:UNCHECKED], *([self.say("and_more", count=more)] if more > 0 else [])]
        return [(plain(line),) for line in kept]

    # The foot.

    def _foot(self, view: View) -> tuple[Block, ...]:
        named = (("open_page", self.links.page), ("open_document", self.links.document))
        ways = [Run(self.say(name), "link", url) for name, url in named if url]
        command = Run(shorten(f"{self.s.provenance.tool} show {view.snapshot_id}", 160), "code")
        opened = fact(self.say("open"), *_between([*ways, command]), language=self.language)
        made = f"{self.say('snapshot_id')} {view.snapshot_id} · {view.tool}"
        return (Paragraph((opened,)), Paragraph((plain(prose(made)),), small=True))


__all__ = [
    "Blocks",
    "Form",
    "Links",
    "Touched",
    "card_blocks",
    "first_parts",
    "marker_of",
    "note_blocks",
    "write",
]
