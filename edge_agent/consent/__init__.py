"""Request and policy in, verdict out: pure functions that open nothing and read no clock."""
