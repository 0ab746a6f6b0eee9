"""Grants carried out: build, upload, hand over the key; each step decided again."""
