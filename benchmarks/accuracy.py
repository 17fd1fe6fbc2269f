"""The accuracy on the evaluation cases, by the evaluation's own script: per class, kind and language, with intervals.

Goal of this version (in-sample, see docs/accuracy.md): precision with alternates at least .89 at a coverage of at least .37,
no control called a fault, no failed run.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
PRECISION, COVERAGE = 0.89, 0.37


def main() -> int:
    """Print the report and the verdict."""
    script, cases = SHARED / "eval" / "eval_cases.py", SHARED / "data" / "cases" / "dev"
    if not script.exists():
        print("accuracy: the evaluation cases are not beside this checkout: MISSED")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "report.json"
        command = pathlib.Path(sys.executable).with_name("problem-snapshot")
        take = f"{command} take {{id}} --bundle {{bundle}} --output json --no-store"
        subprocess.run([sys.executable, str(script), str(cases), "--cmd", take, "--json", str(out)], check=False)
        report = json.loads(out.read_text(encoding="utf-8"))
    scores = report["scores"]
    precision, coverage = scores["precision_located_alt"], scores["coverage"]
    holds = (
        precision >= PRECISION
        and coverage >= COVERAGE
        and scores["control_no_fault_claimed"] == 1.0
        and scores["failures"] == 0
    )
    print(
        f"accuracy: precision {precision:.3f} (goal {PRECISION}), coverage {coverage:.3f} (goal {COVERAGE}), ratio to the simple "
        f"reference's coverage {coverage / COVERAGE:.2f}, in-sample: {'holds' if holds else 'MISSED'}"
    )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
