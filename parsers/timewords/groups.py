"""Atoms that stand together and mean one time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import re2

from parsers.timewords.atoms import Atom, atoms_of
from parsers.timewords.grammar import compiled

_GLUE = compiled(
    r"[\s,、(]*(?:(?:on|at|around|about|approximately|approx\.?|roughly|circa|ca\.?|in|the|of|near|by|some ?time|early"
    r"|late|t|大概|大约|约|约莫|差不多|在|于|是|的|左右|前后|快|将近|那天|不到|到)[\s,、)]*)*[\s)]*"
)
_CUE_DATE = compiled(r"(?:\b(?:on|since|from|date|dated|of)|在|于|日期|时间|从|自|是)\s*[::]?\s*$")


@dataclass
class Group:
    """Atoms that stand together and mean one time."""

    start: int
    end: int
    date: Atom | None = None
    part: Atom | None = None
    clock: Atom | None = None

    def add(self, atom: Atom) -> bool:
        """Takes `atom` in where there is room for its kind; else says False."""
        slot = {"date": "date", "day": "date", "daypart": "date", "week": "date", "part": "part"}.get(
            atom.kind, "clock"
        )
        if slot == "date" and atom.kind == "week" and self.date is not None:
            self.end = atom.end  # "11-23 周一": the weekday only repeats the date
            return True
        if getattr(self, slot) is not None:
            # A written date is surer than the weekday or the "yesterday" before it.
            kinds = (self.date.kind if self.date else "", atom.kind)
            if slot != "date" or (kinds[0] != "week" and kinds != ("day", "date")):
                return False
        if atom.kind == "daypart" and self.part is not None:
            return False
        setattr(self, slot, atom)
        self.end = atom.end
        return True


def pieces_of(text: str) -> list[Group | Atom]:
    """Atoms joined into groups across glue; spans and weeks stay single."""
    pieces: list[Group | Atom] = []
    for atom in atoms_of(text):
        if atom.kind in ("span", "long"):
            pieces.append(atom)
            continue
        last = pieces[-1] if pieces else None
        if (
            isinstance(last, Group)
            and atom.start - last.end <= 30
            and _GLUE.fullmatch(text[last.end : atom.start])
            and not (last.clock is not None and atom.kind in ("day", "date") and "," in text[last.end : atom.start])
            and last.add(atom)
        ):
            continue
        group = Group(atom.start, atom.end)
        group.add(atom)
        pieces.append(group)
    return [p for p in pieces if isinstance(p, Atom) or _worth(text, p)]


def _worth(text: str, group: Group) -> bool:
    """Whether a group is a time: "10-20" or "11/23" alone is one only after a word such as "on"."""
    atom = group.date
    if atom is None or "sep" not in atom.fields or group.clock is not None or group.part is not None:
        return True
    if {atom.fields["a"], atom.fields["b"]} == {"24", "7"} or re2.match(
        r"\s*[A-Za-z%个分小天条件]", text[atom.end :][:4]
    ):
        return False
    return bool(_CUE_DATE.search(text[max(0, atom.start - 12) : atom.start])) or (
        atom.fields["sep"] == "/" and len(atom.fields["b"]) == 2 and len(atom.fields["a"]) == 2
    )


def with_day_of(group: Group, other: Group) -> Group:
    """`group` with the day and the part of the day that it leaves to `other`."""
    part = group.part or (other.part if group.clock and "ampm" not in group.clock.fields else None)
    return Group(group.start, group.end, group.date or other.date, part, group.clock)


def with_clock(group: Group, fields: dict[str, str]) -> Group:
    """`group` with another reading of its clock."""
    clock = replace(group.clock, fields=fields) if group.clock else None
    return Group(group.start, group.end, group.date, group.part, clock)
