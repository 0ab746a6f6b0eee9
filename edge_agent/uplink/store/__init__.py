"""The releaser's SQLite file, one module for each group of tables."""
