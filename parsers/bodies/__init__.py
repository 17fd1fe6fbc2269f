"""The answers of payment gateways inside log messages.

    replies    the answers in a text
    shapes     JSON, XML, mappings as languages print them, and loose text, as (field, value) pairs
    fields     which fields hold a code, a message, a trade number
    channels   whose answer it is

A gateway's answer comes as JSON, as XML, as a language's way to print a mapping, or as loose `field=value` text. Whatever the
shape, the wanted fields are few and their names are known, so each shape is brought to (field, value) pairs and read by one
set of rules. Nothing is executed or expanded: XML is read by a linear-time expression, so entities stay what they are.
"""
