"""The bundle: a folder or `.zip` that holds an incident, and the export of any other source into one.

    ticket.json                      the ticket
    logs/*.ndjson[.gz]               Elasticsearch hits, `_id` and `_index` beside the fields   (also *.parquet, *.log)
    traces/*.json[.gz]               OTLP/JSON, Jaeger's JSON, or span documents one a line
    orders.csv[.gz]                  the history of orders
    manifest.json                    sha256 of each file, redaction report, tool version

Any of them may be absent. A bundle was cut to its incident when it was made, so that a question is always answered with
everything in it. What is damaged is read as far as it goes, and the ledger says how far that was.

    layout      the names of a bundle's parts
    archive     a folder or a zip that is open
    unpacking   a file's bytes, whatever goes wrong
    tally       what the files of one question came to
    logs        a file of logs in stretches
    records     the records that evidence points to
    source      the class that the flow asks
    tickets     which tickets are where
    writing     a bundle of what was collected
    words       counts, lists, times and reasons as messages write them
"""
