"""A worker process of Beam's FnApiRunner: Beam's own, without its log on the terminal.

The runner starts it with `python -m pipeline.batching.beam_worker`; where and what it serves is in its environment. Errors
of the work go back to the runner, and what warnings say is in the snapshots' ledgers.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Serves the runner until it has no more work."""
    from pipeline.processes import quiet

    # Before Beam is imported: what it logs then would bring a handler for the terminal along.
    quiet()
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main(sys.argv)


if __name__ == "__main__":
    main()
