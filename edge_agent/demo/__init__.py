"""Simulated camera, broker and scenario for trials and tests. The product never imports it."""
