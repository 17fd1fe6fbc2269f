"""Tests. `make test` runs them all; what real services need is in `tests/services`."""
