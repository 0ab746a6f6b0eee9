"""One module a command: its words, its help, and what it prints. The work is done elsewhere."""
