"""An RTCC's state in a database: gateways, requests, drafts, answers, deliveries; SQLite, or PostgreSQL by URL."""
