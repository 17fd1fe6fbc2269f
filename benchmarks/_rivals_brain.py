"""Runs Brain on some systems; started by _rivals.py with the interpreter of .venv-rivals, not by hand.

    python _rivals_brain.py TASKS.json RESULTS.json

It imports nothing of this project: logparser3 and the project's dependencies do not share an environment.
"""

from __future__ import annotations

import contextlib
import io
import json
import pathlib
import sys
import tempfile
from importlib.metadata import version
from typing import Any


def run(task: dict[str, Any]) -> dict[str, list[str]]:
    """The lines that Brain read from one log file, and per line its template's id and text."""
    from logparser.Brain import LogParser

    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
        parser = LogParser(
            logname=task["system"],
            log_format=task["log_format"],
            indir=task["folder"],
            outdir=scratch,
            threshold=task["threshold"],
            delimeter=task["delimiters"],  # so spelt there
            rex=task["masks"],
        )
        parser.parse(task["file"])
    columns = {"lines": "Content", "ids": "EventId", "texts": "EventTemplate"}
    return {name: [str(value) for value in parser.df_log[column]] for name, column in columns.items()}


def main(arguments: list[str]) -> int:
    """Read the tasks, write the results."""
    if len(arguments) != 2:
        print("_rivals_brain: started by mining_accuracy.py --rivals; nothing to do by hand")
        return 0
    tasks = json.loads(pathlib.Path(arguments[0]).read_text(encoding="utf-8"))
    results = {task["system"]: run(task) for task in tasks}
    answer = {"version": f"logparser3 {version('logparser3')}", "systems": results}
    pathlib.Path(arguments[1]).write_text(json.dumps(answer), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
