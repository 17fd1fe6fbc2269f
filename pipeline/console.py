"""The terminal: data on stdout, notes for people on stderr, files written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, Self

import click

from pipeline.errors import SnapshotError, UsageError


def say(text: str) -> None:
    """A note for the person, on stderr."""
    click.echo("".join(c if c.isprintable() or c == "\n" else " " for c in text), err=True)


def emit(text: str) -> None:
    """Writes data to standard output: UTF-8, whatever the terminal believes, so that a file made of it is right."""
    if sys.stdout is None:
        raise SnapshotError("standard output is closed; use --out FILE")
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode("utf-8", "replace") + (b"" if text.endswith("\n") else b"\n"))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise SnapshotError(f"standard output: {error.strerror}") from error


def quiet_stdout() -> None:
    """Lets the interpreter flush what is left without a second complaint."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def standard_input() -> BinaryIO | None:
    """Standard input as bytes; `None` where it is closed."""
    return sys.stdin.buffer if sys.stdin is not None else None


def on_one_line(text: str) -> str:
    """Text of a document or a source on one line, without anything that a terminal would obey."""
    from snapshots.render.clean import clean_text

    return " ⏎ ".join(clean_text(text).splitlines())


def line_of(error: BaseException) -> str:
    """The error's sentence on at most two lines, without control characters that its values may have brought along."""
    lines = ["".join(c if c.isprintable() else " " for c in line).rstrip() for line in str(error).splitlines()]
    text = "\n".join([line for line in lines if line.strip()][:2]) or type(error).__name__
    return text if len(text) <= 1000 else text[:1000] + " ..."


def write_file(path: Path, text: str) -> None:
    """Writes a file whole or not at all. Raises `UsageError` where that cannot be done."""
    import tempfile  # only where a file is asked for

    try:
        if path.exists() and not path.is_file():
            # A device or a pipe cannot be replaced, only written to.
            path.write_text(text, encoding="utf-8")
            return
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            try:
                file.write(text)
                file.close()
                Path(file.name).chmod(0o666 & ~_umask())
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def terminal_width() -> int:
    """The columns there are for text, within what is good to read."""
    import shutil  # only where there is a terminal

    return max(60, min(shutil.get_terminal_size((100, 24)).columns, 120))


def columns(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows as text in columns, two spaces apart. A Chinese character takes two places."""

    def places(text: str) -> int:
        return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)

    table = [
        [" ".join("".join(c if c.isprintable() else " " for c in cell).split()) for cell in row]
        for row in [heads, *rows]
    ]
    widths = [max(map(places, column)) for column in zip(*table, strict=True)]
    lines = (
        "  ".join(cell + " " * (w - places(cell)) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in table
    )
    return "\n".join(lines)


class Counter:
    """Says on stderr how many of how many are done: on a terminal on one line that is wiped, with `verbose` one line each."""

    def __init__(self, verbose: bool) -> None:
        """Nothing is said before the first is done."""
        self._verbose = verbose
        self._terminal = sys.stderr is not None and sys.stderr.isatty() and not verbose
        self._begun = time.monotonic()

    def __enter__(self) -> Self:
        """Starts the clock."""
        self._begun = time.monotonic()
        return self

    def __exit__(self, *_error: object) -> None:
        """Wipes the line."""
        if self._terminal:
            click.echo("\r\x1b[K", nl=False, err=True)

    def __call__(self, done: int, of: int) -> None:
        """One more is done."""
        line = f"{time.monotonic() - self._begun:5.1f} s  {done} of {of} cases"
        if self._terminal:
            click.echo(f"\r\x1b[K{line}", nl=False, err=True)
        elif self._verbose:
            say(line)


class Meter:
    """Says on stderr how far a long run is and how long it will take: on a terminal on one line, else one every half minute."""

    def __init__(self, unit: str) -> None:
        """`unit` is what is counted, such as `tickets`."""
        self._unit = unit
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._begun = time.monotonic()
        self._next = self._begun + 1

    def __enter__(self) -> Self:
        """Starts the clock."""
        self._begun = time.monotonic()
        return self

    def __exit__(self, *_error: object) -> None:
        """Wipes the line."""
        if self._terminal:
            click.echo("\r\x1b[K", nl=False, err=True)

    def __call__(self, done: int, of: int, before: int) -> None:
        """So many are done, `before` of them when the clock was started."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (1 if self._terminal else 30)
        line = f"{eta_line(now - self._begun, done, of, before)} {self._unit}"
        if self._terminal:
            click.echo(f"\r\x1b[K{line}", nl=False, err=True)
        else:
            say(line)


def eta_line(seconds: float, done: int, of: int, before: int) -> str:
    """How far, how fast, how long still: by the mean of what was done since the start.

    >>> eta_line(90, 400, 1000, 100)
    '40 %, 3.3/s, 3:00 left: 400 of 1,000'
    >>> eta_line(1, 0, 1000, 0)
    '0 %: 0 of 1,000'
    """
    share, rate = f"{100 * done // of if of else 100} %", (done - before) / seconds if seconds else 0.0
    told = f"{done:,} of {of:,}"
    if not rate:
        return f"{share}: {told}"
    left = round((of - done) / rate)
    clock = f"{left // 60}:{left % 60:02d}" if left < 3600 else f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"
    return f"{share}, {rate:.1f}/s, {clock} left: {told}"


class Progress:
    """Says on stderr what is being done: with `verbose` each step, otherwise on a terminal once it took a second."""

    def __init__(self, verbose: bool) -> None:
        """Nothing is said before the first step."""
        self._verbose = verbose
        self._shown = verbose or (sys.stderr is not None and sys.stderr.isatty())
        self._begun = time.monotonic()
        self._latest = ""
        self._lock = threading.Lock()
        self._timer = threading.Timer(1.0, self._late)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        """Starts the clock."""
        if self._shown and not self._verbose:
            self._timer.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Says no more."""
        self._timer.cancel()
        with self._lock:
            self._shown = False

    def __call__(self, step: str) -> None:
        """The step that begins now."""
        with self._lock:
            self._latest = step
            if self._verbose or time.monotonic() - self._begun >= 1.0:
                self._print()

    def _late(self) -> None:
        with self._lock:
            self._print()

    def _print(self) -> None:
        if self._shown and self._latest:
            say(f"{time.monotonic() - self._begun:5.1f} s  {self._latest}")
            self._latest = ""
