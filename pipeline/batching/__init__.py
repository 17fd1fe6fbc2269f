"""Many tickets at once: plain functions that any engine can call.

    tickets   where the tickets come from: files, bundles, the store, a ticket system
    plan      what is to be done, written down before it is begun, and cut into units of work
    units     what a worker does with a unit: the snapshot of each ticket, its document, a line in the journal
    results   documents and dead letters, each whole or not there; the Parquet dataset of a day
    rows      a document as one row of nested columns, and back
    summary   what came of it all; summary_page shows it
    backfill  the snapshots to Elasticsearch and onto tickets
    run       the whole of it, with progress, interruption and what is left

`pipeline/batch.py` is the same on Apache Beam, `beam_worker` one of its processes. No other file here imports Beam.
"""
