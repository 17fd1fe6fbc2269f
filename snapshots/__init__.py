"""The snapshot document: its model, schema, renderers, store and verification."""
