"""Secrets on disk: private keys, passphrases, camera passwords, and the check of who may read them."""
