"""The service desk around the snapshot: what is known of a problem, and what a solved ticket teaches."""
