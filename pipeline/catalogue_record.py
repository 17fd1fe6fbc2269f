"""What a snapshot says of the catalogue that its templates were compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pipeline.contrast import Change, Contrast
from pipeline.evidence.case import clip
from snapshots.model import Absent, CatalogueRecord, Check, Text, Usual

if TYPE_CHECKING:
    from pipeline.learning.usual import Known

# Templates without a line in the window that are listed, and the lines that must be usual of one to be told.
_ABSENT, _LEAST = 5, 1.0
# So much of a template stands in a sentence; the record has more of it.
_SHOWN = 90


def usual_of(change: Change) -> Usual | msgspec.UnsetType:
    """The document's form of what is usual of a template; unset where no catalogue says it."""
    usual = change.usual
    if usual is None:
        return msgspec.UNSET
    return Usual(
        template_id=usual.template,
        seen=round(usual.seen, 1),
        lines=round(usual.lines, 2),
        times=usual.times,
        by=usual.by,
    )


def catalogue_record(contrast: Contrast, known: Known) -> CatalogueRecord:
    """Which catalogue was used, from when to when and of how many lines, and what it says of all templates together."""
    compared = contrast.compared
    usual = list(compared.by_template.values()) if compared else []
    absent = [(text, lines) for text, lines in (compared.absent if compared else ()) if lines >= _LEAST]
    manifest = known.manifest
    return CatalogueRecord(
        digest=manifest.digest,
        start=manifest.start,
        end=manifest.end,
        lines=manifest.lines,
        templates=len(usual),
        never_seen=sum(one.by == "never_seen" for one in usual),
        unknown_services=list(compared.unknown_services) if compared else [],
        absent=[Absent(text=text, lines=round(lines, 2)) for text, lines in absent[:_ABSENT]],
        absent_templates=len(absent),
    )


def catalogue_check(record: CatalogueRecord) -> Check:
    """The same as a statement for people."""
    start, end = (record.start or "-")[:10], (record.end or "-")[:10]
    unseen = (
        f"{record.never_seen:,} of them {'was' if record.never_seen == 1 else 'were'}"
        if record.never_seen
        else "none was"
    )
    en = (
        f"{record.templates:,} templates compared with the catalogue {record.digest[:12]} ({record.lines:,} lines, {start} to {end}); "
        f"{unseen} never seen in it"
    )
    zh = (
        f"{record.templates:,} 个模板已与模板目录 {record.digest[:12]} 对照（{record.lines:,} 行，{start} 至 {end}），"
        + (f"其中 {record.never_seen:,} 个从未在目录中出现" if record.never_seen else "没有一个是从未出现过的")
    )
    if record.absent:
        first = record.absent[0]
        text = clip(first.text, _SHOWN)
        some = (
            "1 that is usual at this hour has no line here:"
            if record.absent_templates == 1
            else (f"{record.absent_templates:,} that are usual at this hour have no line here, such as")
        )
        en += f"; {some} `{text}` ({first.lines:,.0f} usual)"
        zh += f"；该时段常见的模板中有 {record.absent_templates:,} 个在此没有日志，如 `{text}`（通常 {first.lines:,.0f} 行）"
    if record.unknown_services:
        names = ", ".join(record.unknown_services[:5])
        more = len(record.unknown_services) - 5
        en += f"; the catalogue does not have {names}" + (f" and {more} more" if more > 0 else "")
        zh += f"；目录中没有 {names}" + (f" 等另外 {more} 个服务" if more > 0 else "")
    return Check(
        id="catalogue", outcome="healthy" if record.templates else "not_evaluated", statement=Text(en=en, zh=zh)
    )
