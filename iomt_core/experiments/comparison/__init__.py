"""A beside B: two scenarios, two policies or both, on the same episode seeds."""
