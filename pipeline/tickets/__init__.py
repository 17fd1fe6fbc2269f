"""Where tickets come from, and where snapshots go back to: one ticket system a file, each of the shape in `system.py`.

`file.py` reads `ticket.json`, from a bundle, a path or standard input. A new system needs a file with its `Options`
(tagged by `kind`) and its class, a name in `TicketOptions` and a case in `open_system`.
"""

from __future__ import annotations
