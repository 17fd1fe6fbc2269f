"""What commands share, and the groups of commands that `cli.py` adds to its own: options become one typed call."""
