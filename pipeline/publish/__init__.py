"""Snapshots into an Elasticsearch index, where Kibana's users find them: one document a snapshot, one a finding.

    read what is there -> write the findings that differ, take stale ones away -> write the snapshot's own document

    options       where snapshots are published
    documents     what a snapshot is in an index, with mappings and template
    publishing    the snapshots of one call
    cluster       requests, tried again, and what goes wrong with them
    target        the index or alias and its template, looked at and brought up to date
    writing       the documents that differ, until they are there
    outcome       what became of it all

The own document is written last, so where it is, all its findings are. Each write holds only as long as the document is
still as it was read, so two that publish at once end with one and the same; what is equal already is not written again.
"""
