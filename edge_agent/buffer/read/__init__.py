"""The releaser's side of a ring: records out, for a grant or for the owner."""
