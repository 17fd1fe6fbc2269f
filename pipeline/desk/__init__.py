"""The service desk around the snapshot: how grave, by when, tickets like it, who takes it, what is known and what it teaches."""
