"""The pieces of a text that the grammar finds, less those that the words around them show to be no time."""

from __future__ import annotations

from dataclasses import dataclass

import re2

from parsers.timewords.grammar import HEDGE_AFTER, PART_ZH, compiled, grammar


@dataclass(frozen=True)
class Atom:
    """One recognised piece. `kind` is one of the grammar's: date, day, daypart, part, week, clock, clock2, span or long."""

    kind: str
    start: int
    end: int
    fields: dict[str, str]


_CUE_HOUR_ZH = compiled(r"(?:大概|大约|约|差不多|时间|在|于|是|从|自|到|至|快|将近)\s*[::]?\s*$")
_NOT_HOUR_AFTER = compiled(
    r"\s*(?:积分|优惠|折|建议|问题|要求|原因|意见|数|击|开|进|单|说明|个|条|都|也|小|名|评|赞|不|付|支付|提交|确认|就|了|一下"
    r"|的|几)"
)
_GREETING = compiled(r"(?:good\s*$)")
_BARE_OK = compiled(
    r"\s*(?:$|[.,;!?)。](?:\D|$)|\s(?:on|today|yesterday|this|last|in the|local|and|when|but|i|we|my)\b)|^[^\x00-\x7F]"
)
_FUTURE_BEFORE = compiled(
    r"(?:\b(?:in|within|next|by|until|every|each|another|takes?|took|waits?|waited)\s*$)|(?:每|下|再过|等待?|超时|限时|有效期)\s*$"
)


def _stands_alone(text: str, start: int, end: int, joiners: str = ".:/-¥+") -> bool:
    """Whether no digit run, word, version or address goes on at either edge of `text[start:end]`."""
    first, last = text[start], text[end - 1]
    before = text[start - 1] if start else " "
    after = text[end] if end < len(text) else " "
    after2 = text[end + 1] if end + 1 < len(text) else " "
    if first.isascii() and first.isalnum():
        if before.isascii() and ((before.isalnum() and not (before in "Tt" and first.isdigit())) or before in "_#$€£"):
            return False
        if (
            first.isdigit()
            and before in joiners
            and start >= 2
            and text[start - 2].isalnum()
            and text[start - 2].isascii()
        ):
            return False
    if last.isascii() and last.isalnum() and after.isascii():
        if after == "_" or (after.isalnum() and not (after in "Tt" and after2.isdigit())):
            return False
        if last.isdigit() and after in ".:/%" and after2.isdigit():
            return False
        if last.isdigit() and after == "%":
            return False
    return True


def atoms_of(text: str) -> list[Atom]:
    """Every atom of `text` in order, none overlapping another; where two do, the longer one stays."""
    found: list[Atom] = []
    for kind, pattern in grammar():
        for match in pattern.finditer(text):
            start, end = match.span()
            while end > start and text[end - 1] in " T" and kind == "date":
                end -= 1
            fields = {k: v for k, v in match.groupdict().items() if v is not None}
            # The second half of "10:00-10:30" follows a dash; half of a phone number or a date must not.
            if end > start and _stands_alone(text, start, end, ".:/¥+" if kind == "clock" else ".:/-¥+"):
                found.append(Atom(kind, start, end, fields | {"": text[start:end]}))
    found.sort(key=lambda a: (a.start - a.end, a.start))
    taken: list[Atom] = []
    covered = bytearray(len(text))
    for atom in found:
        if not any(covered[atom.start : atom.end]):
            # What is no time after all still hides the shorter readings inside it ("every Monday").
            covered[atom.start : atom.end] = b"\x01" * (atom.end - atom.start)
            if _plausible(text, atom):
                taken.append(atom)
    return sorted(taken, key=lambda a: a.start)


def _plausible(text: str, atom: Atom) -> bool:  # noqa: PLR0911 - one case a kind of atom
    """Whether an atom that matched by shape is a time here, judged by the words around it."""
    before, after = text[max(0, atom.start - 16) : atom.start], text[atom.end : atom.end + 16]
    fields = atom.fields
    if atom.kind == "part":
        greeting_zh = fields["p"] in ("早上", "上午", "中午", "下午", "晚上", "早晨") and after[:1] == "好"
        bare = fields[""].lower() in ("night", "lunch", "dinner", "breakfast", "morning", "evening", "afternoon")
        joined = before.rstrip().lower().endswith(("yesterday", "day", "since", "last", "this", "today"))
        return not greeting_zh and not _GREETING.search(before) and (not bare or joined)
    if atom.kind == "clock" and "zh" in fields:
        if before.endswith(tuple("第有快早晚差每同.减送扣加得返")) and not before.endswith(("今晚", "昨晚", "今早")):
            return before.endswith(("快", "晚", "早")) and "一" not in fields["h"]
        if "mi" in fields or "s" in fields:
            return not (fields.get("mi") == "半" and fields["zh"] in "时時")
        after_part = bool(
            re2.search(rf"(?:{PART_ZH}|[今昨前][晚早夜]|晚|[天日号])(?:大概|大约|约|的|快|差不多)?\s*$", before)
        )
        hedged = bool(HEDGE_AFTER.match(after))
        cue = after_part or hedged or bool(_CUE_HOUR_ZH.search(before))
        if fields["h"] in "零〇一" and not cue:  # "一点": a little, or "as soon as one taps"
            return False
        if fields["zh"] in "时時" and not (cue and after_part) and not fields["h"].isdigit():
            return False
        return cue or not _NOT_HOUR_AFTER.match(after)
    if atom.kind in ("clock", "clock2") and "bare" in fields:
        return bool(_BARE_OK.match(after)) or "ampm" in fields
    if atom.kind == "span":
        return not _FUTURE_BEFORE.search(before) and not (
            "age" in fields and re2.match(r"(?i)\s*(?:timeout|delivery|trial|warranty|内|后|之内|以内)", after)
        )
    if atom.kind == "week":
        return fields.get("rel", "").lower().rstrip("个") not in (
            "next",
            "every",
            "each",
            "下",
            "每",
        ) and not fields.get("plural")
    if atom.kind == "date" and "alone" in fields:
        return not before.endswith(("第", "No.", "no.", "#", "年", "-"))
    if atom.kind == "date" and fields.get("mon", "").lower() == "may":
        return fields["mon"][0] == "M"
    return True
