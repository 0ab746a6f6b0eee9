"""Builds the Debian package. Run by ``scripts/package``, which lays the locked build tools beside it."""
