"""The package on a real machine: Debian with systemd as first process, a TPM, power cuts; ``scripts/test-machine``.

Everything lies in a network namespace of its own: what the machine can reach is this side of its virtual cable.
"""
