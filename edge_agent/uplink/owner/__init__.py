"""What the owner sees and commands: the control socket's commands, stills and notifications."""
