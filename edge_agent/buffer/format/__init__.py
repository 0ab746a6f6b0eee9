"""The bytes of a ring (docs/FORMAT.md). Pure."""
