"""Bytes and text to Arrow tables. Pure: nothing in this package opens a file, a socket or a clock."""
