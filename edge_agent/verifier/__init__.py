"""Judges a bundle offline, for the RTCC, the owner or a court (docs/evidence.md)."""
