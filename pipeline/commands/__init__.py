"""The commands, a file for each occasion, and what they share: options become one typed call. `cli.py` puts them together."""
