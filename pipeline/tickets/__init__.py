"""Where tickets come from: one ticket system a file, each of the same shape.

A file turns what its system gives into a `pipeline.values.Ticket` and raises `TicketNotFound`, `Refused` or `UsageError`
where it cannot. `file.py` reads `ticket.json`, from a bundle, a path or standard input.
"""
