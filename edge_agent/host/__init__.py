"""The machine: files, clocks, sockets and limits, for every process and command."""
