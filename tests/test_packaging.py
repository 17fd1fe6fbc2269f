"""What is installed is what was meant: locked by hash, without addresses, with all data files."""

from __future__ import annotations

import re
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements.lock", "requirements-dev.lock")
DATA = {".csv", ".json", ".toml", ".j2", ".html"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def locked(lock: str) -> list[tuple[Requirement, list[str]]]:
    """Each requirement of a lock with its hashes."""
    text = (ROOT / lock).read_text(encoding="utf-8").replace("\\\n", " ")
    rows = [line.split(" --hash=") for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(Requirement(row[0].strip()), [part.strip() for part in row[1:]]) for row in rows]


def pinned(lock: str) -> dict[str, str]:
    """Name -> version of what the lock installs on this machine."""
    here = default_environment()
    return {
        canonicalize_name(requirement.name): next(iter(requirement.specifier)).version
        for requirement, _ in locked(lock)
        if requirement.marker is None or requirement.marker.evaluate(here)
    }


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_download_address(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*(--(index|extra|find|trusted)|-[ief]\b)|\s@\s", text, re.MULTILINE)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_of_a_lock_is_one_version_with_its_hashes(lock: str) -> None:
    rows = locked(lock)
    assert len(rows) > 20
    loose = [str(requirement) for requirement, _ in rows if not re.fullmatch(r"==[^*,]+", str(requirement.specifier))]
    assert not loose
    bare = [str(requirement) for requirement, hashes in rows if not hashes]
    assert not bare
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for _, hashes in rows for digest in hashes)


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        pytest.param("requirements.lock", PROJECT["project"]["dependencies"], id="run"),
        pytest.param(
            "requirements-dev.lock",
            PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["dev"],
            id="dev",
        ),
    ],
)
def test_a_lock_is_as_new_as_pyproject(lock: str, wanted: list[str]) -> None:
    """Each declared dependency is locked at a version that its bounds allow; else run `make lock`."""
    versions = pinned(lock)
    wrong = [
        line
        for line, requirement in ((line, Requirement(line)) for line in wanted)
        if versions.get(canonicalize_name(requirement.name)) is None
        or not requirement.specifier.contains(versions[canonicalize_name(requirement.name)])
    ]
    assert not wrong, "run `make lock`"


def test_tests_run_on_the_versions_that_users_get() -> None:
    users, ours = pinned("requirements.lock"), pinned("requirements-dev.lock")
    assert {name: ours.get(name) for name in users} == users


@pytest.mark.parametrize("lock", LOCKS)
def test_drain3_is_locked_as_the_fork_that_beam_can_live_with(lock: str) -> None:
    versions = pinned(lock)
    assert "drain3" not in versions
    assert versions["drain3-improved"].startswith("0.10.")
    assert int(versions["jsonpickle"].partition(".")[0]) >= 3
    assert tuple(map(int, versions["apache-beam"].split(".")[:2])) >= (2, 77)


def test_every_dependency_has_a_floor() -> None:
    """Without one a resolver may go back years to make two of them fit."""
    declared = PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["dev"]
    assert not [line for line in declared if ">=" not in line]


def test_git_ignores_the_lock_that_would_hold_addresses() -> None:
    assert "uv.lock" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built here and now."""
    from hatchling.build import build_wheel

    folder = tmp_path_factory.mktemp("wheel")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return zipfile.ZipFile(folder / build_wheel(str(folder)))


def test_the_wheel_holds_every_source_and_data_file(wheel: zipfile.ZipFile) -> None:
    packed = set(wheel.namelist())
    wanted = {"cli.py"} | {
        str(path.relative_to(ROOT))
        for package in ("parsers", "pipeline", "snapshots")
        for path in (ROOT / package).rglob("*")
        if path.suffix in DATA | {".py"}
    }
    assert not wanted - packed
    assert {Path(name).suffix for name in packed if name.startswith("pipeline/")} >= {".py", ".csv"}


def test_the_wheel_holds_nothing_else(wheel: zipfile.ZipFile) -> None:
    top = {name.partition("/")[0] for name in wheel.namelist()}
    assert top == {"cli.py", "parsers", "pipeline", "snapshots", "problem_snapshot-0.1.0.dist-info"}
    assert not [name for name in wheel.namelist() if "__pycache__" in name or "/tests/" in name]


def test_the_wheel_carries_the_examples_inside_pipeline(wheel: zipfile.ZipFile) -> None:
    beside = {
        f"pipeline/{path.relative_to(ROOT)}"
        for path in (ROOT / "examples").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {name for name in wheel.namelist() if name.startswith("pipeline/examples/")} == beside


def test_the_wheel_brings_the_command_and_the_licence(wheel: zipfile.ZipFile) -> None:
    info = "problem_snapshot-0.1.0.dist-info"
    assert "problem-snapshot = cli:main" in wheel.read(f"{info}/entry_points.txt").decode()
    assert b"Apache License" in wheel.read(f"{info}/licenses/LICENSE")
    assert b"License-Expression: Apache-2.0" in wheel.read(f"{info}/METADATA")
