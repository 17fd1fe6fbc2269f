"""Who may import whom: `cli -> pipeline -> parsers, snapshots`, and nobody else claims those four names."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = frozenset({"cli", "pipeline", "parsers", "snapshots"})
# What of ours each may import, itself apart.
ALLOWED = {
    "cli": {"pipeline", "parsers", "snapshots"},
    "pipeline": {"parsers", "snapshots"},
    "parsers": set(),
    "snapshots": set(),
}
# Beside the code in a checkout, and never installed with it.
NEVER = {"tests", "benchmarks", "examples", "docs"}


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """The top-level names that a file imports anywhere in it, also inside functions, each with its line."""
    package = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # A relative import stays inside its package: `ruff` lets no dots climb out of it.
            yield (node.module or "").partition(".")[0] if not node.level else package, node.lineno
        elif (
            isinstance(node, ast.Call)
            and getattr(node.func, "attr", getattr(node.func, "id", "")) in {"import_module", "__import__"}
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield str(node.args[0].value).partition(".")[0], node.lineno


def files(name: str) -> list[Path]:
    """The Python files of one of the four."""
    single = ROOT / f"{name}.py"
    return [single] if single.exists() else sorted((ROOT / name).rglob("*.py"))


@pytest.mark.parametrize("name", sorted(OURS))
def test_imports_point_one_way(name: str) -> None:
    assert files(name), f"{name} has no Python file"
    forbidden = (OURS | NEVER) - ALLOWED[name] - {name}
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {imported}"
        for path in files(name)
        for imported, line in imports(path)
        if imported in forbidden
    ]
    assert not wrong, "\n".join(wrong)


def test_an_import_inside_a_function_or_by_its_name_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_architecture.ROOT", tmp_path)
    (tmp_path / "parsers").mkdir()
    path = tmp_path / "parsers" / "made_up.py"
    path.write_text(
        "def f():\n    from pipeline.run import x\n    import cli\n    importlib.import_module('snapshots.model')\n",
        encoding="utf-8",
    )
    assert {name for name, _ in imports(path)} == {"pipeline", "cli", "snapshots"}


def test_every_folder_of_a_package_says_what_it_is() -> None:
    """Each has an `__init__.py` with a docstring."""
    folders = {path.parent for name in OURS - {"cli"} for path in files(name)}
    silent = [
        str(folder.relative_to(ROOT))
        for folder in sorted(folders)
        if not (folder / "__init__.py").exists()
        or not ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    ]
    assert not silent


def test_there_is_no_fifth_import_name() -> None:
    """What is installed is the four, and the examples, which go inside `pipeline`."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"][
        "wheel"
    ]
    installed = {name.removesuffix(".py") for name in wheel["only-include"]}
    assert installed - set(wheel["sources"]) == OURS
    assert set(wheel["sources"].values()) == {"pipeline/examples"}
    stray = {path.stem for path in ROOT.glob("*.py")} | {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert stray - NEVER <= OURS


def test_no_dependency_claims_one_of_our_names() -> None:
    owners = packages_distributions()
    assert owners["pyarrow"] == ["pyarrow"]
    claimed = {name: set(owners.get(name, ())) - {"problem-snapshot"} for name in OURS}
    assert not {name: dists for name, dists in claimed.items() if dists}


def test_drain3_comes_from_the_maintained_fork_alone() -> None:
    assert set(packages_distributions()["drain3"]) == {"drain3-improved"}
