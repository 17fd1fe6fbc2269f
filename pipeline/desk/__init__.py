"""The service desk around the snapshot: tickets like it, who should take it, what is known, and what a solved one teaches."""
