"""Benchmarks are run by hand, and not often: what they take of the program, of the tests and of each other has to be there."""

from __future__ import annotations

import ast
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
PROGRAMS = sorted(FOLDER.glob("*.py"))
OURS = {"cli", "parsers", "pipeline", "snapshots", "tests", *(path.stem for path in PROGRAMS)}


def taken(program: str) -> Iterator[str]:
    """The full name of all that a program imports of ours, and of what it then reads of a module of ours."""
    tree = ast.parse(program)
    named: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            named |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
        elif isinstance(node, ast.Import):
            named |= {one.asname or one.name: one.name for one in node.names}
    ours = {name: full for name, full in named.items() if full.partition(".")[0] in OURS}
    yield from ours.values()
    modules = {name for name, full in ours.items() if isinstance(pkgutil.resolve_name(full), ModuleType)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            yield f"{ours[node.value.id]}.{node.attr}"


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_what_a_benchmark_takes_is_there(path: Path, monkeypatch: pytest.MonkeyPatch):
    # As for a program that is run from its folder.
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in taken(path.read_text(encoding="utf-8")):
        pkgutil.resolve_name(name)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_a_benchmark_needs_no_argument(path: Path):
    """`make bench` gives it none."""
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument":
            given = {word.arg: ast.unparse(word.value) for word in call.keywords}
            if ast.literal_eval(call.args[0]).startswith("-"):
                assert given.get("required") != "True", ast.unparse(call)
            else:
                assert given.get("nargs") in {"'?'", "'*'"}, ast.unparse(call)


def test_what_is_gone_is_told():
    program = "from tests import services\nservices.running\nservices.gone\n"
    *there, gone = taken(program)
    assert there == ["tests.services", "tests.services.running"]
    with pytest.raises(AttributeError, match="gone"):
        pkgutil.resolve_name(gone)
