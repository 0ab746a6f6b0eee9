"""The way out: signed requests in, encrypted bundles and signed answers out, and the ledger of both."""
