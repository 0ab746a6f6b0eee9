"""The resident's page: what the gateway does, and the brakes, for browsers at home. A process of its own."""
