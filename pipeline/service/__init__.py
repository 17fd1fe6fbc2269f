"""The hook: a delivery is verified, stored, answered, and worked off later by as many processes as there are.

    app.py       the addresses; a delivery is verified on its raw bytes and handed to
    intake.py    which stores what arrived together in one transaction, with its job
    ledger.py    deliveries, attempts, tickets and workers: what is known, in SQL
    durable.py   the queue (DBOS): jobs by priority, one at a time per ticket, again after a failure or a crash
    work.py      one job: read the ticket again, take its snapshot, put the note on it
    process.py   the server and its workers as processes; opened.py what they stand on, crew.py how workers are kept running

The ledger and the queue share one database, SQLite or PostgreSQL, so that a delivery and its job are stored together or not at all.
"""
