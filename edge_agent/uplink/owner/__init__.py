"""The owner's view and commands: the control socket's commands, stills and notifications."""
