"""Traffic: what the traces as a whole did before the trouble and during it, for tickets that name no single order.

`spans` reads the tables into arrays and finds the moment of change; `latency` says whose time grew, `paths` who left the
usual path. `pipeline/evidence/culprit.py` makes findings of it.
"""
