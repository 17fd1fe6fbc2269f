"""What a log line says in its own text: header, JSON or logfmt envelope, trace ids, exceptions.

    enrichment     LOGS with what the messages say in the columns that are null
    json_records   a message that is a logger's JSON object
    logfmt         a message of `key=value` pairs
    header_forms   the expressions for what stands before a message
    headers        headers taken off, token by token
    trace_ids      trace and span ids anywhere in the text
    errors         exceptions: traces collapsed, type and message
    numbers        HTTP status and order number
    strings        columns of text, matched and cut

`enrich` works on whole columns. Each header is taken apart token by token (time, level, thread, logger, trace), every token
by one small anchored expression over the first characters of the rows that are still in question, so that shapes
that nobody listed are read as well, and a line costs a few microseconds. Only JSON inside a message and stack traces are
handled row by row.
"""
