"""The append-only ledger of verdicts and releases."""
