"""``scripts/demo --city``: many gateways, PostgreSQL and an object store, while parts of the city are killed."""
