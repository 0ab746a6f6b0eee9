"""Coded pictures and sound as bytes: what is committed to, and the container that a record holds."""
