"""Every signed document, for both ends of the protocol. Pure: no file, no socket, no clock, no SQL."""
