"""Pictures decoded and looked at, in a child process: health and motion."""
