"""Programs built from their Go modules, for services that nobody packages."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

from tests.services import Unavailable, can_install, install_packages, last_lines, run

_BUILD = threading.Lock()


def built(module: str, package: str, version: str, kept: Path, seconds: float) -> Path:
    """The program of `package` of `module`, built once and kept as the file `kept`. Raises `Unavailable` where that cannot be done."""
    if kept.exists():
        return kept
    # One at a time: each takes all processors, and has its time.
    with _BUILD, tempfile.TemporaryDirectory(prefix=f"problem-snapshot-{kept.name}-") as folder:
        # As a tool of a module: installed by name, Go would refuse the replacements in the module's own go.mod.
        (Path(folder) / "go.mod").write_text("module build\n\ngo 1.24\n", encoding="utf-8")
        program = Path(folder) / kept.name
        for arguments in (
            ("get", "-tool", f"{module}/{package}@{version}"),
            ("build", "-trimpath", "-ldflags=-s -w", "-o", str(program), f"{module}/{package}"),
        ):
            try:
                done = run("env", "CGO_ENABLED=0", "GOFLAGS=", go(), "-C", folder, *arguments, timeout=seconds)
            except subprocess.TimeoutExpired as error:
                reason = f"go {arguments[0]} took more than {seconds} s"
                raise Unavailable(reason) from error
            if done.returncode:
                reason = f"go {arguments[0]} failed: {last_lines(done, 1)[:300]}"
                raise Unavailable(reason)
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(program, kept.with_suffix(".new"))
        kept.with_suffix(".new").rename(kept)
    return kept


def go() -> str:
    """The Go compiler, installed where need be. Raises `Unavailable`."""
    found = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if found is None and can_install():
        install_packages("golang-go", "ca-certificates")
        found = shutil.which("go")
    if found is None:
        reason = "no Go to build it with"
        raise Unavailable(reason)
    return found
