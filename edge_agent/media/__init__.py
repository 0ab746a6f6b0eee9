"""Coded pictures and sound as bytes: the bytes that are committed to, and the container that a record holds."""
