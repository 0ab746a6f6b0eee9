"""One module a command: its words, its help, and its output. The work is done elsewhere."""
