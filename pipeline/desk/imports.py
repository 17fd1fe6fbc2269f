"""Entries out of other knowledge bases: CSV, single HTML pages, and the HTML export of a Confluence space.

HTML becomes Markdown by markdownify (MIT, on Beautiful Soup). Its headings become an entry's sections where they are those of
`entry.py`; what stands before the first is the problem, and a page without such headings is all solution. A Confluence
space export (`Space settings > Export space > HTML`) is a folder or a .zip of pages with `<title>SPACE : Page</title>` and the
text in `<div id="main-content">`; index.html and attachments are left out.

A file is anybody's: it is read up to a size and to a depth of nested tags, an archive up to a number of files and of bytes, in
memory and never unpacked. What goes beyond, or cannot be read, is a row of `skipped` and stops nothing else.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from pipeline.desk.entry import (
    LISTS,
    SECTIONS,
    Entry,
    Facts,
    Language,
    Told,
    language_of,
    plain_line,
    read_entry,
    section_names,
    write_entry,
)
from pipeline.desk.seeds import REVIEWED
from pipeline.errors import UsageError

MAX_PAGE = 4 << 20
MAX_FILES, MAX_TOTAL = 10_000, 512 << 20
# An archive that grows more than this when it is opened is no export.
_MAX_RATIO = 200
# Converters call themselves for each level; no page that people read is nested so deep.
_MAX_DEPTH = 120
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
_VOID = frozenset("area base br col embed hr img input link meta source track wbr".split())  # noqa: SIM905
_TITLE = re.compile(r"(?is)<title[^>]{0,200}>([^<]{0,500})")
_HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*$")
_LISTED = re.compile(r"^\s*(?:[*+-]|\d+[.)])\s+")


@dataclass
class Imported:
    """Entries, and `skipped`: what was left out, and why."""

    entries: list[Entry] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def read_export(path: Path, today: date, owner: str = "", columns: Mapping[str, str] = {}) -> Imported:
    """The entries in a .csv, .html or .zip file, or in a folder of pages; drafts until somebody accepts them.

    `columns` maps our names to the CSV's own (`steps_en = Answer`). Raises `UsageError` where the file is none of these or
    cannot be opened.
    """
    kind = path.suffix.lower()
    try:
        if path.is_dir():
            return _pages(_folder_pages(path), today, owner)
        if kind == ".csv":
            return _read_csv(path, today, owner, columns)
        if kind in {".html", ".htm"}:
            return _pages(iter([(path.name, _start(path, MAX_PAGE + 1))]), today, owner)
        if kind == ".zip":
            return _pages(_zip_pages(path), today, owner)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise UsageError(f"{path}: is no .zip that can be read: {error}") from error
    raise UsageError(f"{path}: give a .csv, an .html page, or a Confluence HTML export (.zip or folder)")


def _start(path: Path, size: int) -> bytes:
    """The file's first `size` bytes."""
    with path.open("rb") as file:
        return file.read(size)


# ---- HTML


def _folder_pages(folder: Path) -> Iterator[tuple[str, bytes | str]]:
    root = folder.resolve()
    pages = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".html", ".htm"})
    for path in pages[:MAX_FILES]:
        name = path.relative_to(folder).as_posix()
        if not path.resolve().is_relative_to(root):
            yield name, "a link that leads out of the folder"
        else:
            yield name, _start(path, MAX_PAGE + 1)
    if len(pages) > MAX_FILES:
        yield f"{len(pages) - MAX_FILES:,} files", f"beyond the first {MAX_FILES:,}"


def _zip_pages(path: Path) -> Iterator[tuple[str, bytes | str]]:
    with zipfile.ZipFile(path) as archive:
        pages = [one for one in archive.infolist() if one.filename.lower().endswith((".html", ".htm"))]
        total = 0
        for one in pages[:MAX_FILES]:
            # What the directory says may be a lie: reading stops at the cap whatever it says.
            if one.file_size > _MAX_RATIO * max(1, one.compress_size) and one.file_size > MAX_PAGE // 8:
                yield one.filename, "grows out of all proportion when it is unpacked"
                continue
            try:
                with archive.open(one) as file:
                    data = file.read(MAX_PAGE + 1)
            except (RuntimeError, zipfile.BadZipFile, OSError, ValueError) as error:
                yield one.filename, f"cannot be unpacked: {error}"
                continue
            total += len(data)
            if total > MAX_TOTAL:
                yield "the rest of the archive", f"beyond {MAX_TOTAL >> 20} MB"
                return
            yield one.filename, data
        if len(pages) > MAX_FILES:
            yield f"{len(pages) - MAX_FILES:,} files", f"beyond the first {MAX_FILES:,}"


def _pages(pages: Iterator[tuple[str, bytes | str]], today: date, owner: str) -> Imported:
    found = Imported()
    for name, data in pages:
        if isinstance(data, str):
            found.skipped.append(f"{name}: {data}")
        elif Path(name).name.lower() != "index.html":
            try:
                _add(found, _of_page(name, data, today, owner), name)
            except UsageError as error:
                found.skipped.append(f"{name}: {error}")
    return found


def _add(found: Imported, entry: Entry, name: str) -> None:
    """Keeps an entry that reads back as it was written: what does not is skipped, whatever it was."""
    again = read_entry(write_entry(entry), name)
    known = {one.id for one in found.entries}
    if again.id in known:
        digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:8]
        again = msgspec.structs.replace(again, facts=msgspec.structs.replace(again.facts, id=f"{again.id}-{digest}"))
        if again.id in known:
            raise UsageError("is there twice")
    found.entries.append(again)


def _of_page(name: str, data: bytes, today: date, owner: str) -> Entry:
    if len(data) > MAX_PAGE:
        raise UsageError(f"larger than {MAX_PAGE >> 20} MB")
    html = _decoded(data)
    titled = _TITLE.search(html)
    title = html_unescape(titled[1]) if titled else ""
    # Confluence puts the space's name before the page's.
    title = " ".join(title.split(" : ", 1)[-1].split())
    lines = html_to_markdown(html).splitlines()
    headings = [found for line in lines if (found := _HEADING.match(line.strip()))]
    title = title or (headings[0][2] if headings else Path(name).stem)
    told, language = _of_markdown(title, lines)
    if not told.steps and not told.problem:
        raise UsageError("has no text")
    return Entry(facts=_facts(title, name, today, owner), **{language: told})


def html_unescape(text: str) -> str:
    """Character references as characters; a number of thousands of digits stays as it is."""
    from html import unescape

    return re.sub(r"&#?\w{1,32};", lambda found: unescape(found[0]), text)


def html_to_markdown(html: str) -> str:
    """HTML as Markdown, links and pictures as their text. Raises `UsageError` where tags are nested too deep.

    >>> html_to_markdown("<h2>Steps</h2><ol><li>Restart <b>it</b></li></ol>").split()
    ['##', 'Steps', '1.', 'Restart', '**it**']
    """
    import warnings

    from bs4 import BeautifulSoup, MarkupResemblesLocatorWarning
    from markdownify import MarkdownConverter

    if _depth(html) > _MAX_DEPTH:
        raise UsageError(f"tags are nested more than {_MAX_DEPTH} deep")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MarkupResemblesLocatorWarning)
        warnings.simplefilter("ignore", UserWarning)
        try:
            page = BeautifulSoup(html, "html.parser")
            for hidden in page.find_all(["script", "style", "template", "noscript", "iframe", "object", "head"]):
                hidden.decompose()
            for contents in page.find_all(class_="toc-macro"):
                contents.decompose()
            body = page.find(id="main-content") or page.body or page
            made: str = MarkdownConverter(heading_style="ATX", strip=["a", "img"]).convert_soup(body)
        except (RecursionError, AssertionError, ValueError, LookupError) as error:
            raise UsageError(f"cannot be read as HTML ({type(error).__name__})") from error
    return made


def _depth(html: str) -> int:
    """The most open tags at once; also counts `<` that begin no tag that ends, on which parsers spend quadratic time."""
    if html.count("<") - html.count(">") > _MAX_DEPTH * 4:
        return html.count("<")
    deepest = depth = 0
    for closing, name in _TAG.findall(html):
        if name.lower() in _VOID:
            continue
        depth = max(0, depth - 1) if closing else depth + 1
        deepest = max(deepest, depth)
    return deepest


def _decoded(data: bytes) -> str:
    declared = re.search(rb"(?i)charset\s*=\s*[\"']?([a-z0-9_-]{1,30})", data[:2048])
    for name in (declared[1].decode("ascii") if declared else "utf-8", "utf-8", "gb18030"):
        try:
            return data.decode(name).replace("\0", "")
        except (UnicodeDecodeError, LookupError):
            continue
    return data.decode("utf-8", "replace").replace("\0", "")


def _of_markdown(title: str, lines: list[str]) -> tuple[Told, Language]:
    """What the sections of a page say, and in which language."""
    names, part = section_names(), ""
    parts: dict[str, list[str]] = {}
    languages: list[Language] = []
    fresh = True
    for raw in lines:
        line = raw.strip()
        heading = _HEADING.match(line)
        if heading:
            name = heading[2].strip("*_: ：").lower()
            if name in names:
                part, named = names[name]
                languages.append(named)
                fresh = True
                continue
        if not line:
            fresh = True
            continue
        text = _LISTED.sub("", heading[2] if heading else line)
        held = parts.setdefault(part, [])
        if fresh or _LISTED.match(raw) or not held:
            held.append(text)
        else:
            held[-1] += f" {text}"
        fresh = bool(heading)
    before = parts.pop("", [])
    # A page without our headings is an answer as it stands.
    (parts.setdefault("problem", []) if parts else parts.setdefault("steps", [])).extend(before)
    whole = f"{title} {' '.join(' '.join(held) for held in parts.values())}"
    language = languages[0] if languages else language_of(whole)
    values: dict[str, Any] = {
        name: tuple(map(plain_line, held)) if name in LISTS else plain_line(" ".join(held))
        for name, held in parts.items()
    }
    return Told(title=plain_line(title), **values), language


def _facts(title: str, origin: str, today: date, owner: str, **more: Any) -> Facts:
    return Facts(
        id=more.pop("id", "") or _id_of(title),
        owner=more.pop("owner", "") or owner,
        origin=f"import: {origin}"[:300],
        status="draft",
        since=today,
        review_by=more.pop("review_by", None) or today + REVIEWED,
        **more,
    )


def _id_of(title: str) -> str:
    """A name out of a title; a Chinese one gives its hash."""
    words = "-".join(re.findall(r"[a-z0-9]+", title.lower()))[:60].strip("-")
    digest = hashlib.sha256(title.encode("utf-8", "replace")).hexdigest()[:8]
    return f"import.{words}-{digest}" if words else f"import.{digest}"


# ---- CSV


_TEXTS = ("title", *(part for part in SECTIONS if part != "codes"))
_FACT_COLUMNS = (
    "id", "module", "problem", "fault_class", "fault_subclass", "owner", "video", "review_by", "check_minutes", "versions",
    "channels", "tickets",
)  # fmt: skip
_LIST_FACTS = frozenset({"versions", "channels", "tickets"})
# `problem` is a section's text and a fact's name: as a fact it is written so.
_RENAMED = {"problem": "problem_key"}


def _read_csv(path: Path, today: date, owner: str, columns: Mapping[str, str]) -> Imported:
    data = _start(path, MAX_TOTAL // 8 + 1)
    if len(data) > MAX_TOTAL // 8:
        raise UsageError(f"{path}: larger than {MAX_TOTAL >> 23} MB; split it")
    text = _decoded(data.removeprefix(b"\xef\xbb\xbf"))
    ours = {f"{name}{suffix}" for name in _TEXTS for suffix in ("", "_en", "_zh")} | {
        _RENAMED.get(n, n) for n in _FACT_COLUMNS
    }
    if unknown := sorted(set(columns) - ours):
        raise UsageError(f"--column {unknown[0]}: no such column; there are {', '.join(sorted(ours))}")
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=False)
    names = {name: columns.get(name, name) for name in ours}
    if not any(names[f"title{suffix}"] in (reader.fieldnames or ()) for suffix in ("", "_en", "_zh")):
        raise UsageError(f"{path}: has no column title, title_en or title_zh; --column title=NAME says which it is")
    found = Imported()
    rows = enumerate(reader, 2)
    while True:
        try:
            number, row = next(rows)
        except StopIteration:
            return found
        except csv.Error as error:
            found.skipped.append(f"the rest of {path.name}: {error}")
            return found
        if len(found.entries) >= MAX_FILES:
            found.skipped.append(f"{path.name}: rows beyond the first {MAX_FILES:,}")
            return found
        try:
            _add(
                found,
                _of_row({name: (row.get(own) or "").strip() for name, own in names.items()}, path.name, today, owner),
                str(number),
            )
        except (UsageError, msgspec.ValidationError, ValueError) as error:
            found.skipped.append(f"{path.name}, row {number}: {error}")


def _of_row(row: dict[str, str], origin: str, today: date, owner: str) -> Entry:
    told: dict[str, Told] = {}
    for language in ("en", "zh"):
        values = {name: row[f"{name}_{language}"] for name in _TEXTS if row[f"{name}_{language}"]}
        if not values and row["title"] and language_of(row["title"]) == language:
            values = {name: row[name] for name in _TEXTS if row[name]}
        if values:
            if "title" not in values:
                raise UsageError(f"has no title in {language}")
            told[language] = Told(**{name: _cell(name, value) for name, value in values.items()})
    if not told:
        raise UsageError("has no title")
    facts: dict[str, Any] = {}
    for name in _FACT_COLUMNS:
        value = row[_RENAMED.get(name, name)]
        if value:
            facts[name] = re.split(r"\s*[;\n]\s*", value) if name in _LIST_FACTS else value
    if "problem" in facts:
        facts["problem"] = plain_line(facts["problem"])
    title = next(iter(told.values())).title
    made = _facts(title, origin, today, owner, **facts)
    # Texts of the file become dates and numbers here, or are refused.
    return Entry(
        facts=msgspec.convert(msgspec.to_builtins(made), Facts, strict=False), en=told.get("en"), zh=told.get("zh")
    )


def _cell(part: str, value: str) -> Any:
    """What a cell says: a line an item where the part is a list."""
    if part in LISTS:
        return tuple(plain_line(_LISTED.sub("", line)) for line in value.splitlines() if line.strip())
    return plain_line(value)
