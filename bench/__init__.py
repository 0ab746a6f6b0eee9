"""Measurements against named peers, in the same run; ``scripts/bench NAME``."""
