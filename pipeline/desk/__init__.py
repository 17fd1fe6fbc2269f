"""The service desk around the snapshot: tickets that were like this one, and who should take it."""
