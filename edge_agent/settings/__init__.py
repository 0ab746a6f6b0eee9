"""The configuration file ``edge-agent.yaml``: its members, its types, and the lines that a complaint leads to."""
