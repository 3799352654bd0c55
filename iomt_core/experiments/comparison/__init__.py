"""Comparison of A and B: two scenarios, two policies or both, on the same episode seeds."""
