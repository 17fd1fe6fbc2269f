"""Elasticsearch documents, one JSON object a line, to the LOGS table.

    parsing    documents as LOGS, from lines, from values that were read already, from Parquet
    slabs      the lines of a file in groups
    reader     what is wanted of a document, and how its names may be spelled
    objects    lines read together by Arrow, sorted by kind, or in smaller parts
    schemas    the schema of the wanted fields in some lines
    singly     lines read one by one
    logs       the leaves of documents as the columns of LOGS

The lines are read by Arrow's JSON reader in slabs. Its schema holds only the wanted fields that occur in the slab, each
in the spelling and JSON type that occurs there; everything else is skipped while reading. Where a field is a number here
and a string there, the lines are sorted by that and each kind is read alone. A slab that does not agree with itself even so
is read again in smaller parts, and in the end line by line, so that one odd line costs no other.
"""
