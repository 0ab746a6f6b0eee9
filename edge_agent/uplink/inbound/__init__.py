"""Requests in: verified, decided, registered, answered."""
