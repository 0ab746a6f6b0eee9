"""Secrets on disk: private keys, passphrases, camera passwords, and the check of their readers."""
