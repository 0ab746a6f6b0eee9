"""The recorder's side of a ring: GOPs in."""
