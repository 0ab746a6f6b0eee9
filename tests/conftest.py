"""Fixtures that every test may ask for: the real peers, each in its own module under ``tests/peers``."""

pytest_plugins = ["tests.peers.mosquitto", "tests.peers.proxy", "tests.peers.uploads"]
