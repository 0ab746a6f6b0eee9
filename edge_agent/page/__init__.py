"""The resident's page: the gateway's state and the brakes, for browsers at home. A process of its own."""
