"""What the documents say is what the program does."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from pathlib import Path

from cli import commands

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readmes_output_is_the_programs():
    """The first screen of the README is a real run. After a wanted change: paste the new output."""
    block = re.search(r"```console\n\$ problem-snapshot ([^\n]+)\n(.*?)```", README, re.DOTALL)
    assert block is not None
    code = "from cli import main; main()"
    run = subprocess.run(
        [sys.executable, "-c", code, *block[1].split(), "--no-store"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8", "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    # The id is a hash of everything in the document: it changes with each table and version.
    assert re.sub(r"ps-[0-9a-f]{20}", "ps-", run.stdout) == re.sub(r"ps-[0-9a-f]{20}", "ps-", block[2])


def test_every_command_of_the_readme_is_one():
    """And each command has a help text with an example."""
    named = set(re.findall(r"^(?:\$ )?problem-snapshot ([a-z]+)", README, re.MULTILINE))
    assert named <= set(commands.commands)
    for name, command in commands.commands.items():
        assert "problem-snapshot" in (command.help or ""), name


def test_the_examples_of_the_templates_page_run():
    """Each block of Python in it is a session that gives what it says."""
    failed, tried = doctest.testfile(str(ROOT / "docs" / "templates.md"), module_relative=False)
    assert (failed, tried > 5) == (0, True)


def test_every_link_of_the_documents_leads_somewhere():
    """Relative links name files that are here."""
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_exit_code_is_in_the_readme():
    """The codes that the error tree carries are told."""
    from pipeline import errors

    codes = {error.exit_code for error in vars(errors).values() if isinstance(error, type)}
    told = README.split("## Exit codes", 1)[1].split("##", 1)[0]
    assert all(re.search(rf"\b{code} [`\w]", told) for code in codes | {8, 9, 10, 11, 12})
